//! What a provider says about a workload now, in words that no runtime owns.

use std::time::Duration;

use crate::time::Timestamp;

/// One start of one thing: it changes whenever the runtime starts the workload anew, or another
/// container takes its name. Equal runs mean that connections made to it are still its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// How long a run had gone unused when somebody last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The run. Another run of the same workload is another story.
    pub run: RunId,
    /// How long.
    pub period: Duration,
}

/// What the runtime says of health, where it has such a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The workload declares no health check.
    Undeclared,
    /// Declared, not decided yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// The last checks failed.
    Unhealthy,
}

/// The condition of a workload at its runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Executing. Says nothing about readiness.
    Running {
        /// Which start this is.
        run: RunId,
        /// The runtime's own health verdict.
        health: Health,
    },
    /// Frozen, with its memory kept.
    Paused {
        /// Which start this is; it survives the pause.
        run: RunId,
    },
    /// Not executing: stopped, created and never started, or dead.
    Stopped {
        /// How it ended, where it ever ran.
        exit_code: Option<i32>,
    },
    /// Ended, and about to be started again by the runtime's own restart policy.
    Restarting {
        /// How the last run ended.
        exit_code: Option<i32>,
    },
    /// The runtime knows nothing under this name.
    Absent,
}

/// A condition and the moment at which the provider *began* to read it, on the keeper's clock. A
/// reading begun before a command was answered says nothing about the time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What was read.
    pub condition: Condition,
    /// When the reading began.
    pub as_of: Timestamp,
}

impl Condition {
    /// The run, for as long as there is one.
    pub fn run(self) -> Option<RunId> {
        match self {
            Self::Running { run, .. } | Self::Paused { run } => Some(run),
            Self::Stopped { .. } | Self::Restarting { .. } | Self::Absent => None,
        }
    }

    /// Whether processes of the workload may exist: a rest would have something to do.
    pub fn may_execute(self) -> bool {
        match self {
            Self::Running { .. } | Self::Restarting { .. } => true,
            Self::Paused { .. } | Self::Stopped { .. } | Self::Absent => false,
        }
    }
}
