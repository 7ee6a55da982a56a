//! What can happen to a watch, what it asks the outside to do, and what its owner may read.

use std::sync::Arc;

use crate::id::Epoch;
use crate::time::Timestamp;

/// What is known of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It has not been reached yet, and has startup tries left.
    Pending,
    /// It is reached.
    Up,
    /// It is not.
    Down,
}

/// An input to [`super::Watch::handle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin. The first probe follows at once.
    Started,
    /// The answer to a probe.
    Answered {
        /// Of the question.
        epoch: Epoch,
        /// Why it failed, when it did: a sentence for a person.
        result: Result<(), Arc<str>>,
    },
    /// Somebody wants to know now.
    Kicked,
    /// A caller of the service saw it fail, for this reason.
    FailureReported(Arc<str>),
    /// A caller of the service saw it work.
    SuccessReported,
    /// End. Nothing is reported any more.
    Stopped,
}

/// An output of [`super::Watch::poll_effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Probe, and answer with this epoch.
    Probe {
        /// Of the question.
        epoch: Epoch,
        /// An answer after this moment is not waited for.
        deadline: Timestamp,
    },
    /// Nobody waits for the answer of this probe any more.
    Abandon {
        /// Of the question.
        epoch: Epoch,
    },
    /// The service is in another state.
    Moved(Transition),
}

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state it left.
    pub from: State,
    /// The state it entered.
    pub to: State,
    /// When.
    pub at: Timestamp,
    /// Why, where it fell.
    pub error: Option<Arc<str>>,
}

/// Why a watch wants to be woken at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerReason {
    /// The probe in flight is given up.
    ProbeDeadline,
    /// The next startup try.
    Startup,
    /// One outcome is not enough to change the state; the next one may be.
    Confirm,
    /// A quick re-probe after a fall.
    Reprobe,
    /// Nothing special: the next poll.
    Poll,
    /// Somebody asked, a moment after the last probe.
    Kick,
}

/// Everything an owner may read, of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is known of the service.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Failures in a row, up to now.
    pub failures: u32,
    /// When the last probe ended or a caller last reported.
    pub last_check: Option<Timestamp>,
    /// When the next probe begins; in the past while one is under way, absent when none will come.
    pub next_check: Option<Timestamp>,
    /// Why the last probe or call failed, when it did.
    pub last_error: Option<Arc<str>>,
}

impl State {
    /// The word that people see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl TimerReason {
    /// A few words for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProbeDeadline => "probe deadline",
            Self::Startup => "startup try",
            Self::Confirm => "confirmation",
            Self::Reprobe => "quick re-probe",
            Self::Poll => "poll",
            Self::Kick => "kick",
        }
    }
}
