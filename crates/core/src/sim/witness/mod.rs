//! The witness: after every step it holds the fleet against the invariants of the lifecycle.
//!
//! It believes neither the fleet's own bookkeeping nor its view of the world. What is in flight,
//! who holds whom awake and which questions are stale it works out from the phases, the effects
//! and the truth of the simulated world.

mod effects;
mod ledger;
mod snapshot;
mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::lifecycle::{Phase, Ticket};
use crate::limits;
use crate::observation::Condition;
use crate::sim::log::Sight;
use crate::time::Timestamp;
use ledger::Ledger;
pub(in crate::sim) use snapshot::Set;
use snapshot::Snapshot;

/// Beyond what deadlines add up to: messages on their way, timers that are late.
const SLACK: Duration = Duration::from_secs(5);
/// More violations than this say nothing new.
const VIOLATIONS_MAX: usize = 16;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: `I1` to `I10`, `L1`, `L2`.
    pub invariant: &'static str,
    /// When.
    pub at: Timestamp,
    /// What was seen instead.
    pub detail: String,
}

/// Judges every step.
pub(crate) struct Witness {
    violations: Vec<Violation>,
    ledgers: Vec<Ledger>,
    before: Snapshot,
    /// How the fleet stands since the event that is being handled.
    current: Option<Snapshot>,
    /// The event being handled is stale: this workload must keep this phase.
    stale: Option<(usize, Phase)>,
    /// What the event being handled shows of a workload.
    seen: Option<(usize, Condition)>,
    /// Workloads whose environment is known not to answer.
    lost: Set,
    /// The event being handled is a person's wish.
    person_asks: bool,
    tickets: BTreeMap<Ticket, Asked>,
    /// The longest that a visitor may have to wait.
    wait_max: Duration,
    /// The longest that a wake may take.
    wake_max: Duration,
    /// Time that stalls and jumps of the clock have taken from everybody.
    excused: Duration,
    steps: u64,
    served: u64,
    denied: u64,
}

/// A sleep that a person asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Since(Timestamp),
    Answered,
}

impl Witness {
    pub(in crate::sim) fn new() -> Self {
        Self {
            violations: Vec::new(),
            ledgers: Vec::new(),
            before: Snapshot::default(),
            current: None,
            lost: 0,
            stale: None,
            seen: None,
            person_asks: false,
            tickets: BTreeMap::new(),
            wait_max: Duration::ZERO,
            wake_max: Duration::ZERO,
            excused: Duration::ZERO,
            steps: 0,
            served: 0,
            denied: 0,
        }
    }

    pub(in crate::sim) fn add(&mut self) {
        self.ledgers.push(Ledger::default());
    }

    /// A stall or a jump of the clock: nothing could be done meanwhile.
    pub(in crate::sim) fn excuse(&mut self, duration: Duration) {
        self.excused += duration;
    }

    /// Another keeper has started and knows nothing of what the one before it did.
    pub(in crate::sim) fn restart(&mut self) {
        for ledger in &mut self.ledgers {
            *ledger = Ledger::default();
        }
        self.tickets.clear();
        self.before = Snapshot::default();
        self.lost = Set::MAX;
    }

    pub(in crate::sim) fn ask(&mut self, ticket: Ticket, now: Timestamp) {
        self.tickets.insert(ticket, Asked::Since(now));
    }

    pub(in crate::sim) fn opened_blindly(&mut self, w: usize, now: Timestamp) {
        self.blame("I6", now, format_args!("gate {w} opens, and no probe succeeded"));
    }

    pub(in crate::sim) fn seen(&mut self, sight: Sight) {
        match sight {
            Sight::Waits => {}
            Sight::Served => self.served += 1,
            Sight::TurnedAway => self.denied += 1,
        }
    }

    /// I7: what is due has happened.
    pub(in crate::sim) fn after_timeout(&mut self, fleet: &Fleet, now: Timestamp) {
        if let Some((at, why)) = fleet.poll_timeout().filter(|&(at, _)| at <= now) {
            self.blame("I7", now, format_args!("{why:?} is still due at {at}"));
        }
    }

    pub(crate) fn blame(
        &mut self,
        invariant: &'static str,
        at: Timestamp,
        detail: fmt::Arguments<'_>,
    ) {
        if self.violations.len() < VIOLATIONS_MAX {
            let detail = detail.to_string();
            self.violations.push(Violation { invariant, at, detail });
        }
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Visitors served and turned away so far.
    pub(crate) fn visitors(&self) -> (u64, u64) {
        (self.served, self.denied)
    }

    /// A policy that may be in force from here on: nobody has to wait longer than it allows.
    pub(in crate::sim) fn allow(&mut self, policy: &crate::policy::Policy) {
        let wake = policy.wake_timeout + limits::ANSWER_MARGIN + limits::RETRY_DELAY_MIN + SLACK;
        let drain = limits::GATE_CLOSE_MAX + policy.drain_timeout;
        let rest = policy.stop_timeout + limits::REST_MARGIN + limits::ANSWER_MARGIN;
        self.wake_max = self.wake_max.max(wake);
        self.wait_max = self.wait_max.max(drain + rest + wake);
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.invariant, self.at, self.detail)
    }
}
