//! The ordered story of one wake, as it is told to those who wait.

use crate::id::WorkloadId;

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What kind of line it is.
    pub kind: StepKind,
    /// A sentence for a person.
    pub message: String,
    /// The workload it is about, when that is one that is needed.
    pub dependency: Option<WorkloadId>,
}

/// The kinds of lines, in the order in which a story may tell them. A story ends with `Ready` or
/// with `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// The wake began, or a start was tried again.
    Starting,
    /// Something it needs is being woken.
    WakingDependency,
    /// Something it needs has come far enough.
    DependencyReady,
    /// The runtime has confirmed the start.
    Started,
    /// The probe is running.
    WaitingReady,
    /// The gate is open.
    Ready,
    /// The wake failed.
    Error,
}

impl StepKind {
    /// The name in the event stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WakingDependency => "waking_dependency",
            Self::DependencyReady => "dependency_ready",
            Self::Started => "started",
            Self::WaitingReady => "waiting_ready",
            Self::Ready => "ready",
            Self::Error => "error",
        }
    }

    /// Whether a story may begin with this line: a start, or something that was found started.
    pub fn begins(self) -> bool {
        match self {
            Self::Starting | Self::Started => true,
            Self::WakingDependency
            | Self::DependencyReady
            | Self::WaitingReady
            | Self::Ready
            | Self::Error => false,
        }
    }

    /// Whether nothing may follow in the same story.
    pub fn ends(self) -> bool {
        matches!(self, Self::Ready | Self::Error)
    }
}
