//! What the loop tells whoever counts: wakes, rests and phases, each exactly once.

use std::time::Duration;

use dormouse_core::WorkloadId;
use dormouse_core::lifecycle::WakeCause;
use dormouse_core::policy::Rest;

/// Counts what happens. Called from the keeper's loop: it must not block.
pub trait Witness: Send + Sync + 'static {
    /// A workload entered another phase.
    fn moved(&self, _id: &WorkloadId, _from: &'static str, _to: &'static str) {}

    /// A wake ended; `outcome` is `ready` or the slug of the failure.
    fn woke(&self, _id: &WorkloadId, _cause: WakeCause, _outcome: &'static str, _times: WakeTimes) {
    }

    /// A rest ended.
    fn rested(&self, _id: &WorkloadId, _rest: Rest, _outcome: Result<(), ()>) {}

    /// A call to a runtime ended.
    fn engine_called(&self, _operation: &'static str, _took: Duration) {}

    /// A workload left the configuration.
    fn forgotten(&self, _id: &WorkloadId) {}

    /// An environment lists again from the start.
    fn resynced(&self, _environment: &str) {}
}

/// How long the parts of one wake took.
#[derive(Clone, Copy, Debug, Default)]
pub struct WakeTimes {
    /// Waiting for needs and backoff.
    pub needs: Duration,
    /// Starting.
    pub start: Duration,
    /// Probing.
    pub ready: Duration,
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Witness for Silent {}
