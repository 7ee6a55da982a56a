//! A gate as the keeper keeps it: open or shut, who passed it, and who waits.

use std::time::Duration;

use crate::id::Epoch;
use crate::lifecycle::Activity;
use crate::observation::RunId;
use crate::time::Timestamp;

/// The gate of one simulated workload.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) door: Door,
    /// It has been asked to close, and has not yet.
    pub(crate) closing: Option<Epoch>,
    /// It was closed by this question, and what was served then is still being waited for.
    pub(crate) draining: Option<Epoch>,
    pub(crate) served: Vec<Lease>,
    pub(crate) waiting: Vec<Visitor>,
    /// The keeper has been told that somebody waits.
    pub(crate) want_sent: bool,
    pub(crate) last_use: Option<Timestamp>,
    /// What the last probe found.
    pub(crate) probed: Option<RunId>,
}

/// Whether a gate lets people through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open(RunId),
    Shut,
    /// Shut, and whoever comes before this moment is turned away; for good when absent.
    Denied(Option<Timestamp>),
}

/// Somebody who passed the gate and is not done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) visitor: u64,
    pub(crate) run: RunId,
}

/// Somebody who waits for the gate to open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) visitor: u64,
    pub(crate) since: Timestamp,
    /// How long it stays once it is admitted.
    pub(crate) stay: Duration,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            door: Door::Shut,
            closing: None,
            draining: None,
            served: Vec::new(),
            waiting: Vec::new(),
            want_sent: false,
            last_use: None,
            probed: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.door, Door::Open(_))
    }

    /// When visitors are let in to wait again, if they are not now.
    pub(super) fn opens_again_at(&self) -> Option<Timestamp> {
        match self.door {
            Door::Denied(until) => until,
            Door::Open(_) | Door::Shut => None,
        }
    }

    pub(crate) fn activity(&self) -> Activity {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        Activity {
            served: count(self.served.len()),
            waiting: count(self.waiting.len()),
            last_use: self.last_use.unwrap_or_default(),
        }
    }
}
