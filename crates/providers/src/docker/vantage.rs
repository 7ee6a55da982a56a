//! Where dormouse stands towards an engine: on its host, in one of its containers, or elsewhere.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use tokio::time::{Instant, timeout_at};

use super::client::CallError;
use super::endpoint::DockerEndpoint;
use super::engine::Engine;
use super::json::ContainerJson;

/// Where dormouse stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Vantage {
    /// On the machine of the engine.
    Host {
        /// Whether containers' own addresses lead anywhere from here; they do not where the engine
        /// lives in a namespace or a virtual machine of its own.
        own_first: bool,
    },
    /// In a container of that engine.
    Container {
        /// The ids of our own networks.
        networks: BTreeSet<String>,
        /// The way to the engine's host.
        gateway: Option<IpAddr>,
    },
    /// On another machine.
    Remote {
        /// The engine's machine, where its name could be resolved.
        ip: Option<IpAddr>,
    },
}

impl Vantage {
    /// Finds out. Whatever cannot be found out is left out.
    pub(super) async fn find(engine: &Engine, deadline: Instant) -> Self {
        if let Some(own) = own_container(engine, deadline).await {
            return own;
        }
        match engine.endpoint() {
            DockerEndpoint::Unix(path) => {
                Self::Host { own_first: !is_walled(&path.to_string_lossy()) }
            }
            DockerEndpoint::Http { host, .. } | DockerEndpoint::Https { host, .. } => {
                Self::of_host(host, deadline).await
            }
            DockerEndpoint::Ssh(target) => Self::of_host(target.host(), deadline).await,
        }
    }

    /// Whether containers' own addresses lead there.
    pub(super) fn is_inside(&self) -> bool {
        match self {
            Self::Host { own_first } => *own_first,
            Self::Container { .. } => true,
            Self::Remote { .. } => false,
        }
    }

    /// Where to reach what the engine's machine offers on all of its addresses.
    pub(super) fn unspecified(&self) -> Option<IpAddr> {
        match self {
            Self::Host { .. } => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::Container { gateway, .. } => *gateway,
            Self::Remote { ip } => *ip,
        }
    }

    /// Where to reach what the engine's machine offers on its own loopback.
    pub(super) fn loopback(&self, bound: IpAddr) -> Option<IpAddr> {
        match self {
            Self::Host { .. } => Some(bound),
            Self::Container { .. } | Self::Remote { .. } => None,
        }
    }

    /// Whether we are in that network too.
    pub(super) fn shares(&self, network_id: &str) -> bool {
        match self {
            Self::Container { networks, .. } => networks.contains(network_id),
            Self::Host { .. } | Self::Remote { .. } => false,
        }
    }

    async fn of_host(host: &str, deadline: Instant) -> Self {
        let resolved = timeout_at(deadline, tokio::net::lookup_host((host, 0))).await;
        let found = resolved.into_iter().flatten().flatten();
        let ips: Vec<IpAddr> = found.map(|at| at.ip()).collect();
        if ips.iter().any(IpAddr::is_loopback) {
            return Self::Host { own_first: cfg!(target_os = "linux") };
        }
        let v4_first = ips.iter().find(|ip| ip.is_ipv4()).or(ips.first());
        Self::Remote { ip: v4_first.copied().filter(|ip| !ip.is_unspecified()) }
    }
}

/// Sockets of engines that keep their containers behind a wall: rootless ones and Docker Desktop.
fn is_walled(socket: &str) -> bool {
    !cfg!(target_os = "linux") || socket.starts_with("/run/user/") || socket.contains("/.docker/")
}

/// The container that this process runs in, if it runs in one of that engine.
async fn own_container(engine: &Engine, deadline: Instant) -> Option<Vantage> {
    let mounts = tokio::fs::read_to_string("/proc/self/mountinfo").await.ok()?;
    let id = own_id(&mounts)?;
    match engine.inspect(&id, deadline).await {
        Ok(own) if own.host_config.network_mode != "host" => Some(from_within(&own)),
        Ok(_) | Err(CallError::Refused { .. }) => None,
        Err(error) => {
            tracing::debug!(%error, "Cannot tell whether this is a container of the engine");
            None
        }
    }
}

fn from_within(own: &ContainerJson) -> Vantage {
    let networks = &own.network_settings.networks;
    Vantage::Container {
        networks: networks
            .values()
            .map(|network| network.0.network_id.clone())
            .filter(|id| !id.is_empty())
            .collect(),
        gateway: networks
            .values()
            .filter_map(|network| network.0.gateway.parse().ok())
            .find(|gateway: &IpAddr| !gateway.is_unspecified()),
    }
}

/// An engine mounts the hosts file of each container from a folder named by the container's id. On
/// a host, such folders may be mounted too, but never *on* `/etc/hosts`.
fn own_id(mountinfo: &str) -> Option<String> {
    let mounted = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (point == "/etc/hosts" || point == "/etc/hostname").then(|| root.to_owned())
    };
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let roots = mountinfo.lines().filter_map(mounted);
    roots.filter_map(|root| root.split('/').find(is_id).map(str::to_owned)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_container_is_read_from_what_is_mounted_on_the_hosts_file() {
        let id = "0123456789abcdef".repeat(4);
        let inside = format!(
            "10 9 8:1 / / rw - overlay o rw\n\
             11 10 8:1 /var/lib/docker/containers/{id}/hosts /etc/hosts rw - ext4 /dev/a rw\n"
        );
        assert_eq!(own_id(&inside), Some(id.clone()));
        let outside = format!(
            "12 9 8:1 /var/lib/docker/containers/{id}/mounts/shm /mnt/shm rw - ext4 /dev/a rw\n"
        );
        assert_eq!(own_id(&outside), None);
        assert_eq!(own_id("x\n\n1 2 3 / /etc/hosts\n"), None);
    }
}
