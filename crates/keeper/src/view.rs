//! What the loop answers when somebody asks how things stand.

use std::net::SocketAddr;
use std::sync::Arc;

use dormouse_core::fleet::Explanation;
use dormouse_core::{EnvironmentName, Policy};
use dormouse_providers::Target;

use crate::gate::LeaseCounts;
use crate::story::StoryLine;
use crate::witness::WakeTimes;

/// Everything about one workload at one moment.
#[derive(Clone, Debug)]
pub struct WorkloadView {
    /// The core's explanation. Its timestamps are on the keeper's clock.
    pub explanation: Explanation,
    /// What the runtime calls it.
    pub target: Target,
    /// Its policy.
    pub policy: Arc<Policy>,
    /// Leases open, by kind.
    pub leases: LeaseCounts,
    /// Callers that wait for the gate to open.
    pub waiting: u32,
    /// The pin, if there is one.
    pub pin: Option<PinView>,
    /// The story of the current or last wake.
    pub story: Vec<StoryLine>,
    /// How long the last wake that ended took.
    pub last_wake_times: Option<WakeTimes>,
    /// Where it is reached, while its gate is open.
    pub upstream: Vec<(u16, SocketAddr)>,
}

/// A pin as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinView {
    /// Milliseconds since the Unix epoch; for good when absent.
    pub until_ms: Option<u64>,
    /// Why.
    pub reason: String,
}

/// One environment at one moment.
#[derive(Clone, Debug)]
pub struct EnvironmentView {
    /// Its name.
    pub name: EnvironmentName,
    /// Whether it answers; not known before the first answer.
    pub reachable: Option<bool>,
    /// Why it does not.
    pub last_error: Option<String>,
    /// When it began or stopped answering, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Workloads defined on it.
    pub workloads: usize,
    /// Full listings received.
    pub resyncs: u64,
}
