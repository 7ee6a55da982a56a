//! The readers of addresses: what to listen on, where an engine is, which networks are trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use dormouse_providers::ProviderError;
use dormouse_providers::docker::{DockerEndpoint, TlsOptions};
use ipnet::IpNet;

use super::report::{Flaw, quote};
use super::tree::Node;
use super::values;

/// An address to bind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A port of every address of this machine, whichever families it has.
    Everywhere(u16),
    /// One address.
    At(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where a Docker-compatible engine answers: a text that its provider takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerAddress(String);

impl Listen {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Everywhere(_) => false,
            Self::At(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Its port; unix sockets have none.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Everywhere(port) => Some(*port),
            Self::At(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Whether two sockets of one protocol cannot be bound to both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Unix(_), _) | (_, Self::Unix(_)) => false,
            (Self::Everywhere(one), other) | (other, Self::Everywhere(one)) => {
                other.port() == Some(*one)
            }
            (Self::At(one), Self::At(other)) => {
                one.port() == other.port() && ips_overlap(one.ip(), other.ip())
            }
        }
    }
}

/// What is bound to `::` takes IPv4 too.
fn ips_overlap(one: IpAddr, other: IpAddr) -> bool {
    let covers =
        |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    one == other || covers(one, other) || covers(other, one)
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::At(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl DockerAddress {
    /// The engine behind a unix socket.
    pub(crate) fn unix(path: &str) -> Self {
        Self(format!("unix://{path}"))
    }

    /// Why TLS cannot be spoken to it.
    pub(crate) fn tls_misfit(&self) -> Option<ProviderError> {
        let endpoint = DockerEndpoint::parse(&self.0);
        endpoint.and_then(|endpoint| endpoint.with_tls(TlsOptions::default())).err()
    }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `:8080` or `127.0.0.1:9900`.
pub(crate) fn listen(node: &Node) -> Result<Listen, Flaw> {
    let text = values::filled(node)?;
    let not_one = || {
        let flaw = Flaw::new(format!("is not an address: {}", quote(&text)));
        flaw.hint("say \":8080\" for every address, or one such as \"127.0.0.1:8080\"")
    };
    match text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        Some(port) => parse_port(port).map(Listen::Everywhere).ok_or_else(not_one),
        None => text.parse().map(Listen::At).map_err(|_| not_one()),
    }
}

/// What [`listen`] takes, or the path of a unix socket.
pub(crate) fn listen_or_unix(node: &Node) -> Result<Listen, Flaw> {
    let text = values::filled(node)?;
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    if path.starts_with('/') {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    listen(node).map_err(|flaw| {
        flaw.hint(
            "say \"127.0.0.1:9900\", or the path of a unix socket, such as \"/run/dormouse.sock\"",
        )
    })
}

/// `10.0.0.0/8`, or one address.
pub(crate) fn network(node: &Node) -> Result<IpNet, Flaw> {
    let text = values::filled(node)?;
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().map(|network| network.trunc()).or_else(|_| address()).map_err(|_| {
        Flaw::new(format!("is not a network: {}", quote(&text)))
            .hint("say \"10.0.0.0/8\", \"fd00::/8\" or one address")
    })
}

/// The address of an engine, in the words of its provider.
pub(crate) fn docker(node: &Node) -> Result<DockerAddress, Flaw> {
    let text = values::filled(node)?;
    match DockerEndpoint::parse(&text) {
        Ok(_) => Ok(DockerAddress(text)),
        Err(error) => Err(Flaw::new(format!("is wrong: {error}")).hint(
            "say \"unix:///var/run/docker.sock\", \"http://host:2375\", \"https://host:2376\" or \
             \"ssh://user@host\"",
        )),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Spot, Value};
    use super::*;

    fn node(text: &str) -> Node {
        let spot = Spot::File { path: std::path::Path::new("t.toml").into(), span: 0..0 };
        Node { value: Value::Text(text.into()), spot }
    }

    #[test]
    fn addresses_to_bind_show_as_they_were_written() {
        for text in [":8080", "127.0.0.1:9900", "[::1]:80", "0.0.0.0:0"] {
            assert_eq!(listen(&node(text)).unwrap().to_string(), text);
        }
        for text in ["", ":", "8080", ":99999", "localhost:80", ":+80", "/run/x.sock", "::1:80"] {
            assert!(listen(&node(text)).is_err(), "{text}");
        }
        let sockets = ["/run/d.sock", "unix:///run/d.sock"].map(|t| listen_or_unix(&node(t)));
        assert!(sockets.iter().all(|l| *l == Ok(Listen::Unix("/run/d.sock".into()))));
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        let local = |text: &str| listen_or_unix(&node(text)).unwrap().is_local();
        assert!(local("127.9.9.9:1") && local("[::1]:1") && local("/x"));
        assert!(!local(":1") && !local("0.0.0.0:1") && !local("[::]:1") && !local("10.0.0.1:1"));
    }

    #[test]
    fn addresses_overlap_where_one_of_them_takes_the_others_connections() {
        let overlap = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| listen(&node(text)).unwrap());
            assert_eq!(one.overlaps(&other), other.overlaps(&one), "{one} {other}");
            one.overlaps(&other)
        };
        for (one, other) in [
            (":80", ":80"),
            (":80", "127.0.0.1:80"),
            (":80", "[::1]:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert!(overlap(one, other), "{one} {other}");
        }
        for (one, other) in [
            (":80", ":81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "[::1]:80"),
        ] {
            assert!(!overlap(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_network_may_be_one_address() {
        let read = |text: &str| network(&node(text)).map(|network| network.to_string()).ok();
        assert_eq!(read("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("10.1.2.3").as_deref(), Some("10.1.2.3/32"));
        assert_eq!(read("fd00::/8").as_deref(), Some("fd00::/8"));
        assert_eq!(read("10.0.0.0/33"), None);
    }
}
