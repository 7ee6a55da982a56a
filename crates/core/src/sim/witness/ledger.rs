//! What the witness writes down about one workload.

use crate::id::Epoch;
use crate::load::Load;
use crate::observation::{Condition, RunId};
use crate::time::Timestamp;

/// Questions, stories and uses of one workload, from its effects and from what it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// The start or rest whose answer is awaited.
    pub(super) flying: Option<Flying>,
    /// The probe whose answer is awaited.
    pub(super) probing: Option<Epoch>,
    /// The gate question whose answer is awaited.
    pub(super) closing: Option<Epoch>,
    /// The gate question whose leases are awaited.
    pub(super) draining: Option<Epoch>,
    pub(super) reading: Option<Epoch>,
    /// What is open may be cut off from this moment on.
    pub(super) cut_off_at: Option<Timestamp>,
    /// Lines of the story that is being told.
    pub(super) story: Option<usize>,
    /// Looks begun before this moment are overtaken.
    pub(super) fresh_after: Timestamp,
    /// When the last dependent or pin let go.
    pub(super) released_at: Timestamp,
    /// Since when its gate has been opened after a wake.
    pub(super) ready_since: Timestamp,
    /// When the fleet was found to have slept through its deadline.
    pub(super) slept_until: Timestamp,
    /// The run that was to be rested and still runs.
    pub(super) rest_failed: Option<RunId>,
    /// The run that the fleet has heard of last.
    pub(super) heard_run: Option<RunId>,
    /// When the look began that showed that it had run to its end.
    pub(super) completed_as_of: Option<Timestamp>,
    /// What it was last measured to do since it became ready.
    pub(super) load: Option<Load>,
    /// When it was last busy since then, as its policy had it.
    pub(super) worked_at: Timestamp,
    /// A person has asked for the sleep of what has failed.
    pub(super) asked: bool,
}

/// A start or rest in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flying {
    pub(super) epoch: Epoch,
    pub(super) rests: bool,
}

impl Ledger {
    /// A look that nothing has overtaken.
    pub(super) fn see(&mut self, condition: Condition, as_of: Timestamp) {
        self.fresh_after = self.fresh_after.max(as_of);
        self.heard_run = condition.run();
        if let Condition::Stopped { exit_code: Some(0) }
        | Condition::Restarting { exit_code: Some(0) } = condition
        {
            self.completed_as_of = Some(as_of);
        }
    }

    pub(super) fn see_run(&mut self, run: RunId, as_of: Timestamp) {
        self.fresh_after = self.fresh_after.max(as_of);
        self.heard_run = Some(run);
    }

    /// Whatever was asked of the gate is overtaken.
    pub(super) fn forget_gate(&mut self) {
        self.closing = None;
        self.draining = None;
        self.reading = None;
        self.cut_off_at = None;
    }

    /// Nobody waits for this answer any more.
    pub(super) fn abandon(&mut self, epoch: Epoch) {
        self.flying = self.flying.filter(|flying| flying.epoch != epoch);
        self.probing = self.probing.filter(|&probing| probing != epoch);
    }
}
