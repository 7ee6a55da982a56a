//! The registry: the immutable, versioned table of environments, workloads and routes, built from
//! the file and from labels.

mod assemble;
mod listeners;
mod needs;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::routes::Pattern;
use dormouse_core::{EnvironmentName, Policy, WorkloadId};
use dormouse_providers::{LaunchSpec, Target};
use dormouse_proxy::{Held, Loading, Scheme};

use crate::config::{EnvironmentSpec, Gateway, Listen, Origin};
use crate::labels::Labels;

pub use assemble::{assemble, assemble_after};

/// What the runtimes show: the labels of everything, by environment. An environment that has not
/// been listed yet is absent.
pub type Found = BTreeMap<EnvironmentName, BTreeMap<Target, Labels>>;

/// Everything that is configured. Swapped whole, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// Counts up with every registry of one process.
    pub version: u64,
    /// The gateway's own settings.
    pub gateway: Gateway,
    /// The connections to runtimes.
    pub environments: BTreeMap<EnvironmentName, EnvironmentSpec>,
    /// The workloads.
    pub workloads: BTreeMap<WorkloadId, WorkloadSpec>,
    /// What there is to say about how file and labels fit together.
    pub findings: Vec<Finding>,
}

/// One workload, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSpec {
    /// Its id.
    pub id: WorkloadId,
    /// The environment it lives in.
    pub environment: EnvironmentName,
    /// What its runtime calls it.
    pub target: Target,
    /// What to run, for workloads that are processes.
    pub launch: Option<Arc<LaunchSpec>>,
    /// What its owner wants of its lifecycle. `ports` names every port of its routes, the main one
    /// first.
    pub policy: Arc<Policy>,
    /// The routes that lead to it.
    pub routes: Vec<RouteSpec>,
    /// The addresses of its own that lead to it.
    pub listeners: Vec<ListenerSpec>,
    /// Its loading page.
    pub loading: Arc<Loading>,
    /// The bounds of its waiting room.
    pub held: Held,
    /// A connection of its listeners that has been silent for this long stops counting as a use;
    /// never when absent.
    pub connection_idle: Option<Duration>,
    /// Why it can be neither woken nor rested: what is wrong with its definition.
    pub misconfigured: Option<String>,
    /// Where its definition comes from.
    pub origin: Origin,
    /// Where its definition stands.
    pub place: Place,
}

/// A route to one port of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// What it matches.
    pub pattern: Pattern,
    /// The workload's own port; its default port when absent.
    pub port: Option<u16>,
    /// How the upstream is spoken to.
    pub scheme: Scheme,
}

/// An address of a workload's own, and the port behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSpec {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where; never a unix socket.
    pub listen: Listen,
    /// The workload's own port.
    pub port: u16,
    /// Where the address is written.
    pub place: Place,
}

/// What a listener of a workload's own passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl ListenerSpec {
    /// What no two listeners can have.
    pub fn address(&self) -> (Protocol, Listen) {
        (self.protocol, self.listen.clone())
    }
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Its key in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Registry {
    /// The workload called `name`: its id, or its name where only one environment has it.
    pub fn find(&self, name: &str) -> Option<&WorkloadSpec> {
        if let Some(spec) = WorkloadId::parse(name).and_then(|id| self.workloads.get(&id)) {
            return Some(spec);
        }
        let mut named = self.workloads.values().filter(|spec| spec.id.name() == name);
        match (named.next(), named.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
