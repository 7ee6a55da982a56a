//! The house in a few numbers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workload::Phase;

/// The house in a few numbers. Counts without a moment are since the start of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// The version of dormouse.
    pub version: String,
    /// When the process started.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// Workloads that are defined.
    pub workloads: usize,
    /// Workloads that are waking, ready, or about to rest.
    pub awake: usize,
    /// Workloads that are asleep.
    pub asleep: usize,
    /// Workloads in each phase.
    pub phases: PhaseTotals,
    /// Callers that wait for a workload to be ready.
    pub waiting: u64,
    /// Requests that were answered.
    pub requests: u64,
    /// Wakes that ended, well or not.
    pub wakes: u64,
    /// Rests that ended, well or not.
    pub rests: u64,
    /// The environments.
    pub environments: EnvironmentTotals,
}

/// Workloads in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PhaseTotals {
    /// See [`Phase::Unknown`].
    pub unknown: usize,
    /// See [`Phase::Asleep`].
    pub asleep: usize,
    /// See [`Phase::Waking`].
    pub waking: usize,
    /// See [`Phase::Ready`].
    pub ready: usize,
    /// See [`Phase::Draining`].
    pub draining: usize,
    /// See [`Phase::Settling`].
    pub settling: usize,
    /// See [`Phase::Failed`].
    pub failed: usize,
    /// See [`Phase::Misconfigured`].
    pub misconfigured: usize,
    /// See [`Phase::Gone`].
    pub gone: usize,
}

/// How many environments there are, and how many answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentTotals {
    /// All of them.
    pub total: usize,
    /// Those that answer.
    pub up: usize,
}

impl PhaseTotals {
    /// Counts one more workload.
    pub fn count(&mut self, phase: Phase) {
        let total = match phase {
            Phase::Unknown => &mut self.unknown,
            Phase::Asleep => &mut self.asleep,
            Phase::Waking => &mut self.waking,
            Phase::Ready => &mut self.ready,
            Phase::Draining => &mut self.draining,
            Phase::Settling => &mut self.settling,
            Phase::Failed => &mut self.failed,
            Phase::Misconfigured => &mut self.misconfigured,
            Phase::Gone => &mut self.gone,
        };
        *total += 1;
    }
}
