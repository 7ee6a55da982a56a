//! The registry: the immutable, versioned table of environments, workloads and routes, built from
//! the file and from labels.

mod assemble;
mod needs;
mod routes;

use std::collections::BTreeMap;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::routes::Pattern;
use dormouse_core::{EnvironmentName, Policy, WorkloadId};
use dormouse_providers::{LaunchSpec, Target};
use dormouse_proxy::{Held, Loading, Scheme};

use crate::config::{EnvironmentSpec, Gateway, Origin};
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
    pub launch: Option<LaunchSpec>,
    /// What its owner wants of its lifecycle. `ports` names every port of its routes, the main one
    /// first.
    pub policy: Policy,
    /// The routes that lead to it.
    pub routes: Vec<RouteSpec>,
    /// Its loading page.
    pub loading: Loading,
    /// The bounds of its waiting room.
    pub held: Held,
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
