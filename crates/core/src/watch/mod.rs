//! The watch: the pure state machine that follows whether one service can be reached.
//!
//! ```text
//!            rise successes in a row
//! pending ─────────────────────────────▶ up ◀──┐
//!    │                  fall failures    │     │ rise successes in a row
//!    │ max_retries tries     in a row    ▼     │
//!    └────────────────────────────────▶ down ──┘
//! ```
//! One mutation ([`Watch::handle`] or [`Watch::handle_timeout`]), then drain every effect with
//! [`Watch::poll_effect`], then sleep until [`Watch::poll_timeout`]. At most one probe is in
//! flight. What follows an outcome:
//!
//! | state | outcome | next probe |
//! |---|---|---|
//! | pending | failure | the backoff's wait, exactly: the schedule of a start is predictable |
//! | up, all well; down, re-probes used up | any | `poll_interval` |
//! | up, in doubt; down | failure | the backoff's wait with full jitter: many watches fell together |
//! | pending, down | one of several successes needed | `initial_delay` |
//!
//! Waits count from the moment of the outcome, so that a slow service is not asked without pause.

mod event;
mod policy;

pub use event::{Effect, Event, State, Status, TimerReason, Transition};
pub use policy::{Flaw, Policy, Settings};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Jitter;
use crate::id::Epoch;
use crate::limits;
use crate::time::Timestamp;

/// One watch.
#[derive(Clone, Debug)]
pub struct Watch {
    policy: Policy,
    standing: Standing,
    since: Timestamp,
    streak: Streak,
    plan: Plan,
    asked_at: Option<Timestamp>,
    last_check: Option<Timestamp>,
    last_error: Option<Arc<str>>,
    last_epoch: Epoch,
    jitter: Jitter,
    effects: VecDeque<Effect>,
}

/// The state, with the tries that count in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending {
        /// Probes that have ended.
        tries: u32,
    },
    Up,
    Down {
        /// Quick re-probes that are left.
        quick: u32,
    },
}

/// Equal outcomes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streak {
    None,
    Failures(u32),
    Successes(u32),
}

/// What the watch is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// To be started.
    NotStarted,
    /// The moment of the next probe.
    Waiting { until: Timestamp, reason: TimerReason },
    /// The answer to a probe.
    Asking { epoch: Epoch, deadline: Timestamp, then: Then },
    /// Nothing, for good.
    Stopped,
}

/// What follows the answer in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Wait,
    /// Another probe at once: somebody asked after this one had left.
    Again,
}

/// What one probe or one caller has found.
type Outcome = Result<(), Arc<str>>;

impl Watch {
    /// A watch that has not been started. The seed spreads its re-probes; any number.
    pub fn new(policy: Policy, seed: u64, now: Timestamp) -> Self {
        Self {
            policy,
            standing: Standing::Pending { tries: 0 },
            since: now,
            streak: Streak::None,
            plan: Plan::NotStarted,
            asked_at: None,
            last_check: None,
            last_error: None,
            last_epoch: Epoch::default(),
            jitter: Jitter::new(seed),
            effects: VecDeque::new(),
        }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        match (self.plan, event) {
            (Plan::NotStarted, Event::Started) => self.ask(now),
            (Plan::Asking { epoch, then, .. }, Event::Answered { epoch: answered, result })
                if epoch == answered =>
            {
                self.answered(result, then, now);
            }
            (Plan::Waiting { .. } | Plan::Asking { .. }, Event::Kicked) => self.kick(now),
            (Plan::Waiting { .. } | Plan::Asking { .. }, Event::FailureReported(error)) => {
                self.failure_reported(error, now);
            }
            (Plan::Waiting { .. } | Plan::Asking { .. }, Event::SuccessReported) => {
                self.abandon();
                let wait = self.judge(Ok(()), now);
                self.wait(wait, now);
            }
            (_, Event::Stopped) => {
                self.abandon();
                self.plan = Plan::Stopped;
            }
            // Stale answers, and whatever reaches a watch that has not begun or has ended.
            (
                Plan::NotStarted | Plan::Waiting { .. } | Plan::Asking { .. } | Plan::Stopped,
                Event::Started
                | Event::Answered { .. }
                | Event::Kicked
                | Event::FailureReported(_)
                | Event::SuccessReported,
            ) => {}
        }
    }

    /// Does what is due. Afterwards the next deadline lies ahead.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Plan::Asking { deadline, then, .. } = self.plan
            && deadline <= now
        {
            self.abandon();
            let limit = self.policy.probe_timeout;
            self.answered(Err(format!("no answer within {limit:?}").into()), then, now);
        }
        if let Plan::Waiting { until, .. } = self.plan
            && until <= now
        {
            self.ask(now);
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Watch::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerReason)> {
        match self.plan {
            Plan::Waiting { until, reason } => Some((until, reason)),
            Plan::Asking { deadline, .. } => Some((deadline, TimerReason::ProbeDeadline)),
            Plan::NotStarted | Plan::Stopped => None,
        }
    }

    /// Everything an owner may read, of this moment.
    pub fn status(&self) -> Status {
        Status {
            state: self.standing.state(),
            since: self.since,
            failures: self.streak.failures(),
            last_check: self.last_check,
            next_check: match self.plan {
                Plan::Waiting { until, .. } => Some(until),
                Plan::Asking { .. } => self.asked_at,
                Plan::NotStarted | Plan::Stopped => None,
            },
            last_error: self.last_error.clone(),
        }
    }

    fn ask(&mut self, now: Timestamp) {
        let epoch = Epoch(self.last_epoch.0 + 1);
        let deadline = now + self.policy.probe_timeout;
        self.last_epoch = epoch;
        self.asked_at = Some(now);
        self.plan = Plan::Asking { epoch, deadline, then: Then::Wait };
        self.effects.push_back(Effect::Probe { epoch, deadline });
    }

    fn answered(&mut self, outcome: Outcome, then: Then, now: Timestamp) {
        let wait = self.judge(outcome, now);
        match then {
            Then::Wait => self.wait(wait, now),
            Then::Again => self.ask_soon(now),
        }
    }

    fn wait(&mut self, (wait, reason): (Duration, TimerReason), now: Timestamp) {
        self.plan = Plan::Waiting { until: now + wait, reason };
    }

    /// Probes now, or as soon as the last probe is not a moment ago.
    fn ask_soon(&mut self, now: Timestamp) {
        let gap = limits::WATCH_PROBE_GAP_MIN;
        match self.asked_at.map(|asked_at| asked_at + gap) {
            Some(until) if until > now => {
                self.plan = Plan::Waiting { until, reason: TimerReason::Kick };
            }
            Some(_) | None => self.ask(now),
        }
    }

    fn kick(&mut self, now: Timestamp) {
        match &mut self.plan {
            // What is on its way may have been asked before whatever made somebody ask again.
            Plan::Asking { then, .. } => *then = Then::Again,
            Plan::Waiting { .. } => self.ask_soon(now),
            Plan::NotStarted | Plan::Stopped => {}
        }
    }

    /// A caller's failure is the first strike against a service that is up, never the second: many
    /// callers fail together, and only a probe tells whether it was the service.
    fn failure_reported(&mut self, error: Arc<str>, now: Timestamp) {
        if self.standing != Standing::Up {
            return;
        }
        match self.streak {
            Streak::None | Streak::Successes(_) => {
                self.judge(Err(error), now);
            }
            Streak::Failures(_) => self.last_error = Some(error),
        }
        self.kick(now);
    }

    fn abandon(&mut self) {
        if let Plan::Asking { epoch, .. } = self.plan {
            self.effects.push_back(Effect::Abandon { epoch });
        }
    }

    /// Counts an outcome, moves if it is one too many, and says how long to wait for the next.
    fn judge(&mut self, outcome: Outcome, now: Timestamp) -> (Duration, TimerReason) {
        self.last_check = Some(now);
        self.streak = self.streak.and(&outcome);
        self.last_error = outcome.err();
        let (standing, wait) = self.verdict();
        self.enter(standing, now);
        wait
    }

    fn verdict(&mut self) -> (Standing, (Duration, TimerReason)) {
        let policy = self.policy;
        let poll = (policy.poll_interval, TimerReason::Poll);
        match (self.standing, self.streak) {
            (standing, Streak::None) => (standing, poll),
            (Standing::Up, Streak::Successes(_)) => (Standing::Up, poll),
            (Standing::Pending { .. } | Standing::Down { .. }, Streak::Successes(n))
                if n >= policy.rise =>
            {
                (Standing::Up, poll)
            }
            (Standing::Pending { tries }, Streak::Failures(_))
                if tries + 1 >= policy.max_retries =>
            {
                (Standing::Down { quick: 0 }, poll)
            }
            (Standing::Pending { tries }, Streak::Failures(_)) => {
                let wait = policy.backoff.delay(tries + 1);
                (Standing::Pending { tries: tries + 1 }, (wait, TimerReason::Startup))
            }
            (Standing::Pending { .. } | Standing::Down { .. }, Streak::Successes(_)) => {
                (self.standing, (policy.backoff.delay(1), TimerReason::Confirm))
            }
            (Standing::Up, Streak::Failures(n)) if n >= policy.fall => {
                let quick = policy.max_retries - 1;
                (Standing::Down { quick }, self.quickly(1, TimerReason::Reprobe))
            }
            (Standing::Up, Streak::Failures(n)) => {
                (Standing::Up, self.quickly(n, TimerReason::Confirm))
            }
            (Standing::Down { quick: 0 }, Streak::Failures(_)) => (self.standing, poll),
            (Standing::Down { quick }, Streak::Failures(_)) => {
                let wait = self.quickly(policy.max_retries - quick + 1, TimerReason::Reprobe);
                (Standing::Down { quick: quick - 1 }, wait)
            }
        }
    }

    fn quickly(&mut self, retry: u32, reason: TimerReason) -> (Duration, TimerReason) {
        (self.policy.backoff.fully_jittered(retry, self.jitter.draw()), reason)
    }

    fn enter(&mut self, standing: Standing, now: Timestamp) {
        let (from, to) = (self.standing.state(), standing.state());
        self.standing = standing;
        if from != to {
            self.since = now;
            let error = self.last_error.clone();
            self.effects.push_back(Effect::Moved(Transition { from, to, at: now, error }));
        }
    }
}

impl Standing {
    fn state(self) -> State {
        match self {
            Self::Pending { .. } => State::Pending,
            Self::Up => State::Up,
            Self::Down { .. } => State::Down,
        }
    }
}

impl Streak {
    fn and(self, outcome: &Outcome) -> Self {
        match (outcome, self) {
            (Ok(()), Self::Successes(n)) => Self::Successes(n.saturating_add(1)),
            (Ok(()), Self::None | Self::Failures(_)) => Self::Successes(1),
            (Err(_), Self::Failures(n)) => Self::Failures(n.saturating_add(1)),
            (Err(_), Self::None | Self::Successes(_)) => Self::Failures(1),
        }
    }

    fn failures(self) -> u32 {
        match self {
            Self::None | Self::Successes(_) => 0,
            Self::Failures(n) => n,
        }
    }
}

#[cfg(test)]
mod tests;
