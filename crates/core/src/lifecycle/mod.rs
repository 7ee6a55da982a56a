//! The lifecycle of one workload: a pure state machine whose phases carry their data.
//!
//! ```text
//! Unknown ──observed──▶ Asleep ──wanted──▶ Waking{needs→starting→probing} ──probe ok──▶ Ready
//!    ▲                     ▲                      │ failed / gave up                     │ idle, or asked
//!    │ rest unclear        │ rested ok            ▼                                      ▼
//!    └──── Settling ◀──────┼──────────── Failed{retry_at} ◀── crash loop          Draining{closing|closed}
//!             ▲            └─ unwanted ──────┘                  (wanted again ⇒ back to Ready) │
//!             └──────────────────────── rest ────────────────────────────────────────────────┘
//! ```
//!
//! Who moves each edge: `observed` comes from a provider's feed or from the look that an answer
//! carries; `wanted` from a gate, the API, a pin or a dependent; the answers to start, rest, probe
//! and gate questions from the keeper, each with the epoch of its question. A stale epoch changes
//! nothing. `Gone` and `Misconfigured` stand beside the diagram: the runtime, or the
//! configuration, took the workload away, and either may bring it back.
//!
//! [`step`] is total: every event has a meaning in every phase, even if the meaning is "nothing".

mod asleep;
mod draining;
mod effect;
mod event;
mod failed;
mod gone;
mod misconfigured;
mod phase;
mod ready;
mod settling;
mod unknown;
mod waking;

pub use effect::{Effect, SleepAnswer};
pub use event::{Activity, Event, StartFailure, Ticket, WakeCause};
pub(crate) use misconfigured::deny as deny_misconfigured;
pub use phase::{
    Asleep, Check, DrainCause, Draining, Failed, Gone, Hold, Ignorance, Misconfigured, Phase,
    Ready, Remains, Retry, Settling, TimerReason, Unknown, Valve, WakeStep, Waking,
};

use std::time::Duration;

use crate::backoff::Backoff;
use crate::id::{Epoch, WorkloadId};
use crate::limits;
use crate::load::LoadSeen;
use crate::policy::Policy;
use crate::time::Timestamp;

/// How retries of failed wakes and crashes wait.
pub const RETRY: Backoff = Backoff::doubling(limits::RETRY_DELAY_MIN, limits::RETRY_DELAY_MAX);

/// What a step may know beside the phase: the owner's wishes and what the fleet knows of the
/// workload's neighbours and past.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The owner's wishes.
    pub policy: &'a Policy,
    /// How many awake dependents hold a lease.
    pub dependents: usize,
    /// Whether a pin holds a lease.
    pub pin: Pinned,
    /// How far its needs have come.
    pub needs: Needs,
    /// Whether the environment answers.
    pub environment: Reach,
    /// What counts as having woken.
    pub purpose: Purpose,
    /// A fresh epoch for the one question this step may ask.
    pub epoch: Epoch,
    /// Failed wakes and crashes in a row.
    pub failures: u32,
    /// Failed rests in a row.
    pub rest_failures: u32,
    /// After a crash: no start before this moment.
    pub not_before: Timestamp,
    /// When the last dependent or pin let go.
    pub released_at: Timestamp,
    /// How long the run that was found had gone unused when an earlier keeper ended in order; zero
    /// where nothing is known.
    pub recalled: Duration,
    /// What it was measured to do since it became ready.
    pub load: LoadSeen,
    /// Spreads retries of many workloads; drawn by whoever feeds the fleet.
    pub jitter: u16,
}

/// Whether a pin holds the workload awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// None does.
    No,
    /// One does.
    Yes,
}

/// Whether an environment answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answered last.
    Reachable,
    /// It did not, or never has.
    Unreachable,
}

/// What counts as having woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its probe succeeds, and it stays.
    Serve,
    /// Somebody needs it until `completed`: it runs to its end with exit code zero.
    Complete,
}

/// How far the needs of a workload have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Every need has reached its `until`.
    Met,
    /// These have not yet (positions in the policy's list).
    Waiting(Vec<usize>),
    /// This one will not for now.
    Failed {
        /// Which.
        on: WorkloadId,
        /// Why.
        why: String,
    },
}

/// The effects of one step, in the order in which they must be executed.
pub type Effects = Vec<Effect>;

/// One step of one lifecycle: by value, total, deterministic.
pub fn step(phase: Phase, facts: &Facts<'_>, event: Event, now: Timestamp) -> (Phase, Effects) {
    let awaited = phase.in_flight().filter(|&epoch| event.answers() != Some(epoch));
    let mut effects = Effects::new();
    let next = match phase {
        Phase::Unknown(phase) => unknown::step(phase, facts, event, now, &mut effects),
        Phase::Asleep(phase) => asleep::step(phase, facts, event, now, &mut effects),
        Phase::Waking(phase) => waking::step(phase, facts, event, now, &mut effects),
        Phase::Ready(phase) => ready::step(phase, facts, event, now, &mut effects),
        Phase::Draining(phase) => draining::step(phase, facts, event, now, &mut effects),
        Phase::Settling(phase) => settling::step(phase, facts, event, now, &mut effects),
        Phase::Failed(phase) => failed::step(phase, facts, event, now, &mut effects),
        Phase::Misconfigured(phase) => misconfigured::step(phase, event, now, &mut effects),
        Phase::Gone(phase) => gone::step(phase, facts, event, now, &mut effects),
    };
    if let Some(epoch) = awaited.filter(|&epoch| next.in_flight() != Some(epoch)) {
        effects.insert(0, Effect::Abandon { epoch });
    }
    (next, effects)
}

impl Facts<'_> {
    /// Whether the fleet itself knows of a reason to be awake. Requests are known to the gate only.
    fn wanted(&self) -> bool {
        self.dependents > 0 || self.pin == Pinned::Yes
    }

    /// The reason that [`Self::wanted`] found.
    fn want(&self) -> Option<WakeCause> {
        if self.dependents > 0 {
            Some(WakeCause::Dependent)
        } else if self.pin == Pinned::Yes {
            Some(WakeCause::Pin)
        } else {
            None
        }
    }

    /// The same facts, when a forced sleep has overruled the pin.
    fn unpinned(&self) -> Self {
        Self { pin: Pinned::No, ..self.clone() }
    }

    /// The same facts, when what failed before counts no more.
    fn calm(&self) -> Self {
        Self { failures: 0, not_before: Timestamp::ZERO, ..self.clone() }
    }

    /// Whether it was busy when it was last measured, as far as that counts as use.
    fn is_busy(&self) -> bool {
        self.load.is_busy(self.policy.idle_below)
    }

    /// When a workload whose last use was at `last_use` has been idle for long enough.
    fn idle_due(&self, last_use: Timestamp) -> Option<Timestamp> {
        self.policy.idle_timeout.map(|idle| last_use + idle)
    }

    /// The wait before retry `n`, spread by the jitter.
    fn retry_delay(&self, n: u32) -> Duration {
        RETRY.jittered(n, self.jitter)
    }
}
