//! The truth about one simulated workload: what its runtime would say if it were asked right now.

use crate::observation::{Condition, Health, RunId};

/// What a workload's processes are really doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Absent,
    Stopped {
        exit: Option<i32>,
    },
    Running {
        run: RunId,
        ready: bool,
    },
    Paused {
        run: RunId,
        ready: bool,
    },
    /// Asked to end, not ended yet: it still looks like running.
    Stopping {
        run: RunId,
    },
    Restarting {
        exit: i32,
    },
}

impl Body {
    /// What a look shows.
    pub(crate) fn condition(self) -> Condition {
        match self {
            Self::Absent => Condition::Absent,
            Self::Stopped { exit } => Condition::Stopped { exit_code: exit },
            Self::Running { run, .. } | Self::Stopping { run } => {
                Condition::Running { run, health: Health::Undeclared }
            }
            Self::Paused { run, .. } => Condition::Paused { run },
            Self::Restarting { exit } => Condition::Restarting { exit_code: Some(exit) },
        }
    }

    /// The run, for as long as there is one.
    pub(crate) fn run(self) -> Option<RunId> {
        self.condition().run()
    }

    /// Whether it executes right now.
    pub(crate) fn executes(self) -> bool {
        match self {
            Self::Running { .. } | Self::Stopping { .. } => true,
            Self::Absent | Self::Stopped { .. } | Self::Paused { .. } | Self::Restarting { .. } => {
                false
            }
        }
    }

    /// Whether a connection made now is answered.
    pub(crate) fn answers(self) -> bool {
        matches!(self, Self::Running { ready: true, .. })
    }
}
