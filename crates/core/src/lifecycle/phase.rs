//! The phases and the data each carries.

use std::time::Duration;

use super::event::{Ticket, WakeCause};
use crate::failure::Failure;
use crate::id::Epoch;
use crate::observation::RunId;
use crate::policy::Rest;
use crate::time::Timestamp;

/// Where a workload stands in its lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The truth is not known; nothing is done to it out of ignorance.
    Unknown(Unknown),
    /// Resting.
    Asleep(Asleep),
    /// On the way up.
    Waking(Waking),
    /// The probe has succeeded; the gate is open.
    Ready(Ready),
    /// The gate is shut, and what is open is being counted.
    Draining(Draining),
    /// A rest is in flight.
    Settling(Settling),
    /// The last wake failed, or it crashes in a loop.
    Failed(Failed),
    /// Its definition is wrong.
    Misconfigured(Misconfigured),
    /// The runtime knows nothing under its name.
    Gone(Gone),
}

/// See [`Phase::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub why: Ignorance,
    /// When to look again.
    pub look_at: Timestamp,
}

/// Why the truth is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignorance {
    /// No observation has come yet.
    NotYetObserved,
    /// A rest ended without a clear answer.
    RestUnclear,
}

/// See [`Phase::Asleep`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asleep {
    /// Since when.
    pub since: Timestamp,
}

/// See [`Phase::Waking`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waking {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: WakeCause,
    /// When everybody who waits is told that it failed.
    pub give_up_at: Timestamp,
    /// Starts that have failed in this wake.
    pub failed_starts: u32,
    /// How far it has come.
    pub step: WakeStep,
}

/// How far a wake has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeStep {
    /// Waiting until the next start may be tried.
    Backoff {
        /// When.
        until: Timestamp,
        /// Why the last start failed, where one has in this wake.
        after: Option<Failure>,
    },
    /// Waiting for these needs (positions in the policy's list).
    Needs {
        /// Which.
        waiting: Vec<usize>,
    },
    /// A start is in flight.
    Starting {
        /// Of the start.
        epoch: Epoch,
    },
    /// It runs, and is being probed.
    Probing {
        /// Of the probe.
        epoch: Epoch,
        /// What is being probed.
        run: RunId,
    },
    /// It runs, and must run to its end.
    Completing {
        /// What is running.
        run: RunId,
    },
}

/// See [`Phase::Ready`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Since when.
    pub since: Timestamp,
    /// What is ready.
    pub run: RunId,
    /// When idleness is looked at next.
    pub check: Check,
    /// How long it had gone unused before `since`, as far as an earlier keeper saw.
    pub unused: Duration,
}

/// When idleness is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Never: the policy says so.
    Never,
    /// At this moment.
    At(Timestamp),
    /// The gate has been asked for its activity.
    Asked {
        /// Of the question.
        epoch: Epoch,
        /// When to ask again if no answer has come.
        again_at: Timestamp,
    },
    /// It was due while the environment did not answer: as soon as that answers, or at this moment.
    PutOff(Timestamp),
}

/// See [`Phase::Draining`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub cause: DrainCause,
    /// How far the gate has come.
    pub valve: Valve,
    /// When waiting ends: for the gate while it closes, for what is open afterwards.
    pub give_up_at: Timestamp,
    /// What is to be rested.
    pub run: RunId,
}

/// Why a gate was shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainCause {
    /// No lease for `idle_timeout`.
    Idle,
    /// A person asked.
    Asked(Ticket),
    /// A person insists; what is open has until `give_up_at`.
    Forced {
        /// Who is answered.
        ticket: Ticket,
        /// Somebody wants it again afterwards.
        then: Option<WakeCause>,
    },
    /// It was found running, and its policy says that such a one rests.
    Adopted,
}

/// How far the closing of a gate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valve {
    /// Asked for; requests may still slip through.
    Closing(Epoch),
    /// Confirmed: only what was served before is still open.
    Closed(Epoch),
}

/// See [`Phase::Settling`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settling {
    /// Since when.
    pub since: Timestamp,
    /// Of the rest.
    pub epoch: Epoch,
    /// How it is being rested.
    pub rest: Rest,
    /// What is being rested, where that is one run.
    pub run: Option<RunId>,
    /// When the answer is overdue.
    pub give_up_at: Timestamp,
    /// Somebody wants it again as soon as this has settled.
    pub then: Option<WakeCause>,
}

/// See [`Phase::Failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub failure: Failure,
    /// When a want is listened to again.
    pub retry: Retry,
    /// When what remains of it is rested, if nobody wants it.
    pub settle: Check,
    /// What remains of it.
    pub remains: Remains,
}

/// When a failed workload may be woken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before this moment.
    At(Timestamp),
    /// Now.
    Open,
}

/// What a failed workload left behind at its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing executes.
    Nothing,
    /// This run may still execute.
    Run(RunId),
    /// Something may execute.
    Unclear,
    /// The runtime keeps starting it again by itself.
    Restarting,
}

/// See [`Phase::Misconfigured`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misconfigured {
    /// Since when.
    pub since: Timestamp,
    /// What is wrong.
    pub message: String,
}

/// See [`Phase::Gone`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Since when.
    pub since: Timestamp,
    /// No look on behalf of a want before this moment.
    pub retry_at: Timestamp,
}

/// What a phase does with leases on needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It takes those that it lacks.
    Take,
    /// It keeps those that it has.
    Keep,
    /// It drops them.
    Drop,
}

/// Why a phase asked for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerReason {
    /// Looking again at what is not known.
    LookAgain,
    /// The wake has taken too long.
    WakeGivesUp,
    /// The next start may be tried.
    StartAgain,
    /// The answer to a start or a rest is overdue.
    AnswerOverdue,
    /// Idleness is looked at.
    IdleCheck,
    /// The gate should have closed by now.
    GateOverdue,
    /// What is open has had its time.
    DrainEnds,
    /// A failed workload may be woken again.
    RetryOpens,
    /// What remains of a failed workload is rested.
    Settle,
    /// The pin ends.
    PinEnds,
}

impl Phase {
    /// The first phase of every workload.
    pub fn new(now: Timestamp) -> Self {
        Self::Unknown(Unknown {
            since: now,
            why: Ignorance::NotYetObserved,
            look_at: now + crate::limits::OBSERVE_MAX,
        })
    }

    /// The phase's word in every interface.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Asleep(_) => "asleep",
            Self::Waking(_) => "waking",
            Self::Ready(_) => "ready",
            Self::Draining(_) => "draining",
            Self::Settling(_) => "settling",
            Self::Failed(_) => "failed",
            Self::Misconfigured(_) => "misconfigured",
            Self::Gone(_) => "gone",
        }
    }

    /// Since when it has been in this phase.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Unknown(phase) => phase.since,
            Self::Asleep(phase) => phase.since,
            Self::Waking(phase) => phase.since,
            Self::Ready(phase) => phase.since,
            Self::Draining(phase) => phase.since,
            Self::Settling(phase) => phase.since,
            Self::Failed(phase) => phase.since,
            Self::Misconfigured(phase) => phase.since,
            Self::Gone(phase) => phase.since,
        }
    }

    /// The next moment at which the phase wants `DeadlineReached`, and why.
    pub fn deadline(&self) -> Option<(Timestamp, TimerReason)> {
        match self {
            Self::Unknown(phase) => Some((phase.look_at, TimerReason::LookAgain)),
            Self::Waking(phase) => Some(phase.deadline()),
            Self::Ready(phase) => phase.check.deadline(),
            Self::Draining(phase) => Some((phase.give_up_at, phase.valve.reason())),
            Self::Settling(phase) => Some((phase.give_up_at, TimerReason::AnswerOverdue)),
            Self::Failed(phase) => phase.deadline(),
            Self::Asleep(_) | Self::Misconfigured(_) | Self::Gone(_) => None,
        }
    }

    /// The epoch of the start, probe or rest that it waits for.
    pub fn in_flight(&self) -> Option<Epoch> {
        match self {
            Self::Waking(phase) => match phase.step {
                WakeStep::Starting { epoch } | WakeStep::Probing { epoch, .. } => Some(epoch),
                WakeStep::Backoff { .. } | WakeStep::Needs { .. } | WakeStep::Completing { .. } => {
                    None
                }
            },
            Self::Settling(phase) => Some(phase.epoch),
            Self::Unknown(_)
            | Self::Asleep(_)
            | Self::Ready(_)
            | Self::Draining(_)
            | Self::Failed(_)
            | Self::Misconfigured(_)
            | Self::Gone(_) => None,
        }
    }

    /// Whether callers are denied in this phase.
    pub fn denies(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Misconfigured(_) | Self::Gone(_) => true,
            Self::Unknown(_)
            | Self::Asleep(_)
            | Self::Waking(_)
            | Self::Ready(_)
            | Self::Draining(_)
            | Self::Settling(_) => false,
        }
    }

    /// Who waits for the answer to a sleep that a person asked for.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Draining(phase) => match phase.cause {
                DrainCause::Asked(ticket) | DrainCause::Forced { ticket, .. } => Some(ticket),
                DrainCause::Idle | DrainCause::Adopted => None,
            },
            Self::Unknown(_)
            | Self::Asleep(_)
            | Self::Waking(_)
            | Self::Ready(_)
            | Self::Settling(_)
            | Self::Failed(_)
            | Self::Misconfigured(_)
            | Self::Gone(_) => None,
        }
    }

    /// What it does with `dependent` leases on its needs: they are taken when a wake begins, and
    /// dropped when it is known to be asleep or to have failed. On the way down whoever has them
    /// keeps them, and nobody takes any: what is to be rested wakes nothing.
    pub fn hold(&self) -> Hold {
        match self {
            Self::Waking(_) | Self::Ready(_) => Hold::Take,
            Self::Draining(_) | Self::Settling(_) => Hold::Keep,
            Self::Unknown(phase) => match phase.why {
                Ignorance::RestUnclear => Hold::Keep,
                Ignorance::NotYetObserved => Hold::Drop,
            },
            Self::Asleep(_) | Self::Failed(_) | Self::Misconfigured(_) | Self::Gone(_) => {
                Hold::Drop
            }
        }
    }
}

impl Waking {
    fn deadline(&self) -> (Timestamp, TimerReason) {
        match self.step {
            WakeStep::Backoff { until, .. } if until < self.give_up_at => {
                (until, TimerReason::StartAgain)
            }
            WakeStep::Starting { .. } | WakeStep::Probing { .. } => {
                (self.give_up_at + crate::limits::ANSWER_MARGIN, TimerReason::AnswerOverdue)
            }
            WakeStep::Backoff { .. } | WakeStep::Needs { .. } | WakeStep::Completing { .. } => {
                (self.give_up_at, TimerReason::WakeGivesUp)
            }
        }
    }
}

impl Check {
    pub(super) fn deadline(self) -> Option<(Timestamp, TimerReason)> {
        match self {
            Self::Never => None,
            Self::At(at) | Self::PutOff(at) | Self::Asked { again_at: at, .. } => {
                Some((at, TimerReason::IdleCheck))
            }
        }
    }
}

impl Valve {
    fn reason(self) -> TimerReason {
        match self {
            Self::Closing(_) => TimerReason::GateOverdue,
            Self::Closed(_) => TimerReason::DrainEnds,
        }
    }
}

impl Failed {
    fn deadline(&self) -> Option<(Timestamp, TimerReason)> {
        let settle = self.settle.deadline().map(|(at, _)| (at, TimerReason::Settle));
        match (self.retry, settle) {
            (Retry::At(at), Some(settle)) if settle.0 < at => Some(settle),
            (Retry::At(at), _) => Some((at, TimerReason::RetryOpens)),
            (Retry::Open, settle) => settle,
        }
    }
}
