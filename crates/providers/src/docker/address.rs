//! Where a running container can be reached, seen from where dormouse runs; always from the
//! engine's own inspect, never from a label.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::json::{BindingJson, ContainerJson, NetworkSettingsJson};
use super::vantage::Vantage;
use crate::{Address, Transport, Via};

/// Every way to reach what runs in the network of `container`, best first.
pub(super) fn addresses(
    container: &ContainerJson,
    vantage: &Vantage,
    preferred: Option<&str>,
) -> Vec<Address> {
    if container.host_config.network_mode == "host" {
        return host_address(vantage).into_iter().collect();
    }
    let networks = &container.network_settings;
    let own = own_addresses(networks, vantage, preferred);
    let published = published(networks, vantage);
    if vantage.is_inside() {
        own.into_iter().chain(published).collect()
    } else {
        published.into_iter().chain(own).collect()
    }
}

/// The lowest TCP port that the container declares or publishes.
pub(super) fn default_port(container: &ContainerJson) -> Option<u16> {
    let declared = container.config.exposed_ports.keys();
    declared.chain(container.network_settings.ports.keys()).filter_map(|port| tcp_port(port)).min()
}

/// Host networking: the container shares the ports of the engine's machine.
fn host_address(vantage: &Vantage) -> Option<Address> {
    let ip = vantage.unspecified()?;
    Some(Address::Own { ip, via: Via::Direct })
}

fn own_addresses(
    networks: &NetworkSettingsJson,
    vantage: &Vantage,
    preferred: Option<&str>,
) -> Vec<Address> {
    let mut ranked: Vec<_> = networks
        .networks
        .iter()
        .map(|(name, network)| {
            let unasked = !preferred.is_some_and(|wanted| is_network(name, wanted));
            let apart = !vantage.shares(&network.0.network_id);
            ((unasked, apart), &network.0)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut own = Vec::new();
    for ip in ranked.iter().flat_map(|(_, network)| [&network.ip_v4, &network.ip_v6]) {
        let Some(ip) = usable(ip) else { continue };
        let address = Address::Own { ip, via: Via::Direct };
        if !own.contains(&address) {
            own.push(address);
        }
    }
    own
}

fn published(networks: &NetworkSettingsJson, vantage: &Vantage) -> Vec<Address> {
    let mut published = Vec::new();
    for (port, bindings) in &networks.ports {
        let Some((port, transport)) = port_of(port) else { continue };
        for binding in &bindings.0 {
            let Some(at) = published_at(&binding.0, vantage) else {
                continue;
            };
            let address = Address::Published { port, transport, at };
            if !published.contains(&address) {
                published.push(address);
            }
        }
    }
    published
}

fn published_at(binding: &BindingJson, vantage: &Vantage) -> Option<SocketAddr> {
    let port = binding.host_port.parse().ok().filter(|port| *port != 0)?;
    let bound = binding.host_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let ip = if bound.is_unspecified() {
        vantage.unspecified()?
    } else if bound.is_loopback() {
        vantage.loopback(bound)?
    } else {
        bound
    };
    Some(SocketAddr::new(ip, port))
}

/// `name`, or `name` as Compose writes it, behind the project's.
fn is_network(name: &str, wanted: &str) -> bool {
    name == wanted || name.strip_suffix(wanted).is_some_and(|project| project.ends_with('_'))
}

fn tcp_port(text: &str) -> Option<u16> {
    port_of(text).filter(|(_, transport)| *transport == Transport::Tcp).map(|(port, _)| port)
}

/// `80/tcp`, `53/udp`, or `80` alone, which is TCP too.
fn port_of(text: &str) -> Option<(u16, Transport)> {
    let (port, transport) = match text.split_once('/') {
        Some((port, "tcp")) => (port, Transport::Tcp),
        Some((port, "udp")) => (port, Transport::Udp),
        Some(_) => return None,
        None => (text, Transport::Tcp),
    };
    Some((port.parse().ok().filter(|port| *port != 0)?, transport))
}

fn usable(ip: &str) -> Option<IpAddr> {
    ip.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn container(text: &str) -> ContainerJson {
        serde_json::from_str(text).unwrap()
    }

    fn check(json: &str, vantage: &Vantage, preferred: Option<&str>, expected: &[&str]) {
        let container = container(json);
        let found = addresses(&container, vantage, preferred);
        let found: Vec<String> = found
            .iter()
            .map(|address| match address {
                Address::Own { ip, via } => format!("{ip} {via:?}"),
                Address::Published { port, transport: Transport::Tcp, at } => {
                    format!("{port}@{at}")
                }
                Address::Published { port, transport: Transport::Udp, at } => {
                    format!("{port}/udp@{at}")
                }
            })
            .collect();
        assert_eq!(found, expected, "{json}");
    }

    const HOST: Vantage = Vantage::Host { own_first: true };
    const TWO_NETWORKS: &str = r#"{"NetworkSettings": {
        "Networks": {"a": {"NetworkID": "n1", "IPAddress": "10.1.0.2", "GlobalIPv6Address": "fd00::2"},
                     "shop_back": {"NetworkID": "n2", "IPAddress": "10.2.0.2"},
                     "none": {"IPAddress": ""}},
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                  "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
                  "82/tcp": [{"HostIp": "192.168.1.5", "HostPort": "8082"}, {"HostIp": "", "HostPort": "0"}],
                  "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}],
                  "54/sctp": [{"HostIp": "0.0.0.0", "HostPort": "54"}],
                  "90/tcp": null}}}"#;

    #[test]
    fn from_the_engines_host_own_addresses_come_first() {
        let expected = [
            "10.1.0.2 Direct",
            "fd00::2 Direct",
            "10.2.0.2 Direct",
            "53/udp@127.0.0.1:5353",
            "80@127.0.0.1:8080",
            "81@127.0.0.1:8081",
            "82@192.168.1.5:8082",
        ];
        check(TWO_NETWORKS, &HOST, None, &expected);
    }

    #[test]
    fn a_named_network_comes_first() {
        for name in ["back", "shop_back"] {
            let container = container(TWO_NETWORKS);
            let first = addresses(&container, &HOST, Some(name)).remove(0);
            let ip = "10.2.0.2".parse().unwrap();
            assert_eq!(first, Address::Own { ip, via: Via::Direct }, "{name}");
        }
    }

    #[test]
    fn from_a_container_shared_networks_come_first_and_loopback_is_out_of_reach() {
        let vantage = Vantage::Container {
            networks: BTreeSet::from(["n2".to_owned()]),
            gateway: Some("10.2.0.1".parse().unwrap()),
        };
        let expected = [
            "10.2.0.2 Direct",
            "10.1.0.2 Direct",
            "fd00::2 Direct",
            "53/udp@10.2.0.1:5353",
            "80@10.2.0.1:8080",
            "82@192.168.1.5:8082",
        ];
        check(TWO_NETWORKS, &vantage, None, &expected);
    }

    #[test]
    fn from_another_machine_published_ports_come_first() {
        let vantage = Vantage::Remote { ip: Some("192.0.2.7".parse().unwrap()) };
        let expected = [
            "53/udp@192.0.2.7:5353",
            "80@192.0.2.7:8080",
            "82@192.168.1.5:8082",
            "10.1.0.2 Direct",
            "fd00::2 Direct",
            "10.2.0.2 Direct",
        ];
        check(TWO_NETWORKS, &vantage, None, &expected);
    }

    #[test]
    fn host_networking_is_the_engines_machine() {
        let json = r#"{"HostConfig": {"NetworkMode": "host"}}"#;
        check(json, &HOST, None, &["127.0.0.1 Direct"]);
        let remote = Vantage::Remote { ip: Some("192.0.2.7".parse().unwrap()) };
        check(json, &remote, None, &["192.0.2.7 Direct"]);
        check(json, &Vantage::Remote { ip: None }, None, &[]);
    }

    #[test]
    fn the_default_port_is_the_lowest_of_tcp() {
        let port = |json: &str| default_port(&container(json));
        assert_eq!(port(TWO_NETWORKS), Some(80));
        assert_eq!(
            port(r#"{"Config": {"ExposedPorts": {"9000/tcp": {}, "53/udp": {}, "x": {}}}}"#),
            Some(9000)
        );
        assert_eq!(port("{}"), None);
    }

    #[test]
    fn a_port_of_udp_is_published_apart_from_that_of_tcp() {
        let json = r#"{"NetworkSettings": {"Ports": {
            "53/tcp": [{"HostIp": "0.0.0.0", "HostPort": "1053"}],
            "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "2053"}]}}}"#;
        let addresses = addresses(&container(json), &HOST, None);
        let seen = crate::Sighting {
            addresses,
            ..crate::Sighting::absent(std::time::Instant::now().into())
        };
        let at =
            |found: Vec<crate::Candidate>| found.iter().map(|it| it.at.port()).collect::<Vec<_>>();
        assert_eq!(at(seen.candidates(53)), [1053]);
        assert_eq!(at(seen.udp_candidates(53)), [2053]);
    }
}
