//! What the fleet knows of one workload beside its phase.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::event::Key;
use crate::failure::Failure;
use crate::id::WorkloadId;
use crate::lifecycle::{Phase, Pinned, Purpose, WakeCause};
use crate::load::LoadSeen;
use crate::observation::{Condition, RunId, Unused};
use crate::policy::Policy;
use crate::time::Timestamp;

/// One workload of a fleet.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: WorkloadId,
    pub(super) policy: Arc<Policy>,
    pub(super) phase: Phase,
    /// Whether anybody needs it until `completed`.
    pub(super) purpose: Purpose,
    /// Workloads that hold a `dependent` lease on it.
    pub(super) dependents: BTreeSet<Key>,
    pub(super) pin: Option<Pin>,
    /// When a dependent or a pin last let go.
    pub(super) released_at: Timestamp,
    /// Looks begun before this moment say nothing: a later look or an answer is known.
    pub(super) fresh_after: Timestamp,
    /// When the look began that was told of last.
    pub(super) looked_at: Timestamp,
    /// What was last seen.
    pub(super) condition: Option<Condition>,
    /// When the look began that showed that it had run to its end.
    pub(super) completed_at: Option<Timestamp>,
    /// Failed wakes and crashes in a row.
    pub(super) failures: u32,
    /// The run that was last seen or confirmed to be running.
    pub(super) seen_run: Option<RunId>,
    /// Failed rests of that run in a row.
    pub(super) rest_failures: u32,
    /// No start before this moment.
    pub(super) not_before: Timestamp,
    /// The last failure of a wake or a rest, and when.
    pub(super) last_failure: Option<Box<(Timestamp, Failure)>>,
    /// The last wake's beginning and cause.
    pub(super) last_wake: Option<(Timestamp, WakeCause)>,
    /// How long it had gone unused under an earlier keeper.
    pub(super) recalled: Option<Unused>,
    /// What it was measured to do since it became ready, where that matters.
    pub(super) load: Option<Box<LoadSeen>>,
    pub(super) story: Story,
    /// Its place in the fleet's timers.
    pub(super) armed: Option<Timestamp>,
}

/// A pin: awake until then, or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) until: Option<Timestamp>,
}

/// The story of the current wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// No wake is being told.
    Closed,
    /// This many steps have been told.
    Open(usize),
}

impl Entry {
    pub(super) fn new(id: WorkloadId, policy: Arc<Policy>, now: Timestamp) -> Self {
        Self {
            id,
            policy,
            phase: Phase::new(now),
            purpose: Purpose::Serve,
            dependents: BTreeSet::new(),
            pin: None,
            released_at: Timestamp::ZERO,
            fresh_after: Timestamp::ZERO,
            looked_at: Timestamp::ZERO,
            condition: None,
            completed_at: None,
            failures: 0,
            seen_run: None,
            rest_failures: 0,
            not_before: Timestamp::ZERO,
            last_failure: None,
            last_wake: None,
            recalled: None,
            load: None,
            story: Story::Closed,
            armed: None,
        }
    }

    /// Failed rests count against the run that they were meant for.
    pub(super) fn see_run(&mut self, run: Option<RunId>) {
        if run != self.seen_run {
            self.rest_failures = 0;
        }
        self.seen_run = run;
    }

    /// How long the run that was last seen had gone unused under an earlier keeper.
    pub(super) fn recalled(&self) -> Duration {
        let same = self.recalled.filter(|unused| Some(unused.run) == self.seen_run);
        same.map_or(Duration::ZERO, |unused| unused.period)
    }

    /// What an earlier keeper saw counts for what is found running, until it is ready.
    pub(super) fn forget_recalled(&mut self) {
        let is_being_found = match &self.phase {
            Phase::Unknown(_) => true,
            Phase::Waking(waking) => waking.cause == WakeCause::Adopted,
            Phase::Asleep(_)
            | Phase::Ready(_)
            | Phase::Draining(_)
            | Phase::Settling(_)
            | Phase::Failed(_)
            | Phase::Misconfigured(_)
            | Phase::Gone(_) => false,
        };
        if !is_being_found {
            self.recalled = None;
        }
    }

    /// What it was measured to do, where its policy asks for that.
    pub(super) fn load(&self) -> LoadSeen {
        let asked = !self.policy.idle_below.is_off();
        self.load.as_deref().copied().filter(|_| asked).unwrap_or_default()
    }

    pub(super) fn pinned(&self) -> Pinned {
        if self.pin.is_some() { Pinned::Yes } else { Pinned::No }
    }

    /// The next moment at which something must happen to it by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let phase = self.phase.deadline().map(|(at, _)| at);
        let pin = self.pin.and_then(|pin| pin.until);
        match (phase, pin) {
            (Some(phase), Some(pin)) => Some(phase.min(pin)),
            (phase, pin) => phase.or(pin),
        }
    }
}
