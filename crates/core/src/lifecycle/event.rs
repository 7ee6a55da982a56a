//! What can happen to one lifecycle.

use crate::failure::Failure;
use crate::id::Epoch;
use crate::observation::{Condition, Observation, RunId};
use crate::time::Timestamp;

/// An input to [`super::step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it awake.
    Wanted(WakeCause),
    /// A person asks it to sleep, unless it is in use.
    SleepAsked(Ticket),
    /// A person asks it to sleep although it may be in use.
    SleepForced(Ticket),
    /// The provider has looked.
    Observed(Observation),
    /// The environment stopped answering.
    EnvironmentLost,
    /// The environment answers, for the first time or again.
    EnvironmentReached,
    /// Needs came further, or nobody needs it to run to its end any more.
    NeighboursChanged,
    /// The policy was replaced, or how it is started, reached or probed.
    PolicyChanged,
    /// The deadline that the phase asked for has come.
    DeadlineReached,
    /// The gate is shut; nobody passes it any more.
    GateClosed {
        /// Of the question.
        epoch: Epoch,
        /// What was open at that moment.
        activity: Activity,
    },
    /// What the gate counts, without shutting it.
    ActivityRead {
        /// Of the question.
        epoch: Epoch,
        /// What was open at that moment.
        activity: Activity,
    },
    /// The last lease that was served through a closed gate has ended.
    LeasesEnded {
        /// Of the closing.
        epoch: Epoch,
    },
    /// The answer to a start.
    Started {
        /// Of the question.
        epoch: Epoch,
        /// When the look that confirmed it began.
        as_of: Timestamp,
        /// The run it confirmed.
        result: Result<RunId, StartFailure>,
    },
    /// The answer to a rest.
    Rested {
        /// Of the question.
        epoch: Epoch,
        /// When the look that confirmed it began.
        as_of: Timestamp,
        /// The condition it confirmed.
        result: Result<Condition, Failure>,
    },
    /// The answer to a probe. A probe fails once, at its deadline, with its last error.
    Probed {
        /// Of the question.
        epoch: Epoch,
        /// Whether it is ready.
        result: Result<(), Failure>,
    },
    /// The last lines of its log, for the failure that is being shown.
    LogRead(Vec<String>),
}

/// What a gate counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Leases that have passed the gate and are still held.
    pub served: u32,
    /// Callers that wait for it to open.
    pub waiting: u32,
    /// When the last lease ended; the opening of the gate where none has. Zero where the opening
    /// is not to count, because the idle period of an earlier keeper goes on.
    pub last_use: Timestamp,
}

/// Why a start did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// The runtime knows nothing under its name.
    Absent,
    /// It started and ended at once.
    Ended {
        /// How.
        exit_code: Option<i32>,
    },
    /// Trying again may help.
    Passing(Failure),
    /// Trying again cannot help.
    Lasting(Failure),
}

/// Who asked for a sleep, so that the answer finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why a workload is being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeCause {
    /// A request or a connection waits at its gate.
    Request,
    /// A person or a program asked through the API.
    Asked,
    /// A pin holds it awake.
    Pin,
    /// Another workload needs it.
    Dependent,
    /// It was found running.
    Adopted,
    /// It was started by somebody else while it was asleep.
    StartedByHand,
    /// It ended or was restarted while it was wanted.
    Crash,
}

impl Event {
    /// The start, rest or probe that this is the answer to.
    pub(super) fn answers(&self) -> Option<Epoch> {
        match self {
            Self::Started { epoch, .. }
            | Self::Rested { epoch, .. }
            | Self::Probed { epoch, .. } => Some(*epoch),
            Self::Wanted(_)
            | Self::SleepAsked(_)
            | Self::SleepForced(_)
            | Self::Observed(_)
            | Self::EnvironmentLost
            | Self::EnvironmentReached
            | Self::NeighboursChanged
            | Self::PolicyChanged
            | Self::DeadlineReached
            | Self::GateClosed { .. }
            | Self::ActivityRead { .. }
            | Self::LeasesEnded { .. }
            | Self::LogRead(_) => None,
        }
    }
}

impl Activity {
    /// Nobody is there, and nobody ever was.
    pub const NONE: Self = Self { served: 0, waiting: 0, last_use: Timestamp::ZERO };

    /// Everybody who would be hurt by a rest now.
    pub fn open(self) -> u32 {
        self.served.saturating_add(self.waiting)
    }
}

impl WakeCause {
    /// One word, for metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Asked => "asked",
            Self::Pin => "pin",
            Self::Dependent => "dependent",
            Self::Adopted => "adopted",
            Self::StartedByHand => "started_by_hand",
            Self::Crash => "crash",
        }
    }
}
