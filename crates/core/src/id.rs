//! The names of things: environments, workloads, and the epochs that tell answers apart.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The configured name of one connection to a runtime.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentName(Arc<str>);

/// A workload's identity, `environment/name`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(Arc<str>);

/// Tells the answer to one question from the answer to an earlier one: a stale epoch changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl EnvironmentName {
    /// Takes any name; whether it is a legal one is the configuration's question.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for EnvironmentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl WorkloadId {
    /// The workload `name` of `environment`. The environment's name has no slash; the workload's may.
    pub fn new(environment: &EnvironmentName, name: &str) -> Self {
        Self(format!("{environment}/{name}").into())
    }

    /// Reads `environment/name`.
    pub fn parse(id: &str) -> Option<Self> {
        let (environment, name) = id.split_once('/')?;
        (!environment.is_empty() && !name.is_empty()).then(|| Self(id.into()))
    }

    /// The part before the first slash.
    pub fn environment(&self) -> &str {
        self.0.split_once('/').map_or("", |(environment, _)| environment)
    }

    /// The part after the first slash: what people call the workload.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
