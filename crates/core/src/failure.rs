//! Why a workload could not be woken or rested, in a form that everybody who waits can be told.

use std::time::Duration;

/// A failure with everything a visitor or an operator may be shown of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What could not be done.
    pub kind: FailureKind,
    /// One sentence, lower case, without a full stop.
    pub detail: String,
    /// The last lines of the workload's log, oldest first; at most
    /// [`crate::limits::FAILURE_LOG_LINES_MAX`].
    pub log: Vec<String>,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The runtime refused to start it.
    StartRefused,
    /// It ended while it should have run.
    Crashed {
        /// Its exit code, where the runtime knows one.
        exit_code: Option<i32>,
    },
    /// It ran, and its probe never succeeded within `wake_timeout`.
    NeverReady,
    /// The wake did not end within `wake_timeout` for another reason.
    TimedOut,
    /// The runtime knows nothing under its name.
    Absent,
    /// The runtime did not answer.
    Unreachable,
    /// Something it needs failed.
    NeedFailed,
    /// Its definition is wrong.
    Misconfigured,
    /// The runtime refused to rest it.
    RestRefused,
}

/// A failure that is not retried before some time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub failure: Failure,
    /// When asking again may help.
    pub retry_after: Duration,
}

impl Failure {
    /// A failure without log lines.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), log: Vec::new() }
    }
}

impl FailureKind {
    /// The stable name of this kind of failure, as the API and the problem documents say it.
    pub fn slug(self) -> &'static str {
        match self {
            Self::StartRefused => "start-refused",
            Self::Crashed { .. } => "crashed",
            Self::NeverReady => "never-ready",
            Self::TimedOut => "wake-timeout",
            Self::Absent => "absent",
            Self::Unreachable => "environment-unreachable",
            Self::NeedFailed => "need-failed",
            Self::Misconfigured => "misconfigured",
            Self::RestRefused => "rest-refused",
        }
    }

    /// What a person is told first.
    pub fn title(self) -> &'static str {
        match self {
            Self::StartRefused => "The workload could not be started",
            Self::Crashed { .. } => "The workload crashed",
            Self::NeverReady => "The workload did not get ready",
            Self::TimedOut => "The workload did not wake in time",
            Self::Absent => "The workload does not exist",
            Self::Unreachable => "The workload's environment does not answer",
            Self::NeedFailed => "Something the workload needs failed",
            Self::Misconfigured => "The workload is misconfigured",
            Self::RestRefused => "The workload is stuck",
        }
    }

    /// What the reader can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::StartRefused => "see what the runtime says about starting it by hand",
            Self::Crashed { .. } => "read the last lines of its log",
            Self::NeverReady => "check its port and readiness probe, or raise wake_timeout",
            Self::TimedOut => "raise wake_timeout, or see what the wake was waiting for",
            Self::Absent => "create it again, or remove it from the configuration",
            Self::Unreachable => "check that the environment's runtime is up and reachable",
            Self::NeedFailed => "see why the workload it needs did not wake",
            Self::Misconfigured => "correct its definition",
            Self::RestRefused => "see what the runtime says about stopping it by hand",
        }
    }
}
