//! What a lifecycle asks the outside to do.

use super::event::Ticket;
use crate::failure::Failure;
use crate::id::Epoch;
use crate::policy::Rest;
use crate::progress::Step;
use crate::time::Timestamp;

/// An output of [`super::step`]. Effects that carry an epoch are answered by an event with the
/// same epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at the workload; the answer is an observation.
    Observe,
    /// Start it. Answered by `Started` no later than the deadline.
    Start {
        /// Of the question.
        epoch: Epoch,
        /// When the answer is due.
        deadline: Timestamp,
    },
    /// Rest it. Answered by `Rested` no later than the deadline.
    Rest {
        /// Of the question.
        epoch: Epoch,
        /// How.
        rest: Rest,
        /// When the answer is due.
        deadline: Timestamp,
    },
    /// Probe it until it is ready. Answered by `Probed` no later than the deadline.
    Probe {
        /// Of the question.
        epoch: Epoch,
        /// When to stop trying.
        deadline: Timestamp,
    },
    /// Nobody waits any more for the answer to this question.
    Abandon {
        /// Of the question.
        epoch: Epoch,
    },
    /// Read what the gate counts, without shutting it. Answered by `ActivityRead`.
    ReadActivity {
        /// Of the question.
        epoch: Epoch,
    },
    /// Shut the gate, then read what it counts. Answered by `GateClosed`, and by `LeasesEnded`
    /// once nothing that was served through it is open.
    CloseGate {
        /// Of the question.
        epoch: Epoch,
    },
    /// Shut the gate because the upstream has gone; nothing is asked.
    ShutGate,
    /// Open the gate to the upstream that the last probe found.
    OpenGate,
    /// Tell everybody who waits at the gate, and whoever comes before `retry_at`, why not.
    Deny {
        /// Why.
        failure: Failure,
        /// When asking again may help; never when absent.
        retry_at: Option<Timestamp>,
    },
    /// A line of the current wake's story.
    Tell(Step),
    /// The answer to a sleep that a person asked for.
    Answer(Ticket, SleepAnswer),
    /// Remember a failed wake or a crash; no start before this moment.
    CountFailure {
        /// When the next start may happen.
        not_before: Timestamp,
    },
    /// Remember a failed rest.
    CountRestFailure(Failure),
    /// It rests: what failed before counts no more.
    ForgetRestFailures,
    /// Forget the failed wakes and crashes: it has been calm.
    Calm,
    /// It ran to its end with exit code zero.
    Completed,
    /// A forced sleep overrules the pin.
    DropPin,
}

/// What became of a sleep that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SleepAnswer {
    /// It was asleep already.
    AlreadyAsleep,
    /// It is being rested.
    Resting,
    /// It is in use, or not in a phase from which it can be rested.
    Refused(String),
}
