//! What the event streams tell.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened, as the event streams of the admin API tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up over all events of one process.
    pub seq: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What kind of event it is.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The id of the workload it is about, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The environment it is about, when it is about one as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The phase that was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The phase that was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// One sentence.
    pub message: String,
}

/// The kinds of events. They are the names of the server-sent events, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A workload entered another phase.
    Phase,
    /// A pin was set.
    Pinned,
    /// A pin ended.
    Unpinned,
    /// A rest failed.
    RestFailed,
    /// An environment stopped answering.
    EnvironmentLost,
    /// An environment answers again.
    EnvironmentReached,
}

/// One line of the story of a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressEvent {
    /// The workload's name.
    pub workload: String,
    /// Counts up over all wakes of the workload.
    pub seq: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What kind of line it is.
    #[serde(rename = "type")]
    pub kind: ProgressKind,
    /// A sentence for a person.
    pub message: String,
    /// Why the wake failed, in an `error` line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The workload that is needed, in a line about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
}

/// The kinds of lines. A story ends with `ready` or with `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressKind {
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
    /// Requests go to it.
    Ready,
    /// The wake failed.
    Error,
}

impl EventKind {
    /// The name in the event stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
            Self::RestFailed => "rest_failed",
            Self::EnvironmentLost => "environment_lost",
            Self::EnvironmentReached => "environment_reached",
        }
    }
}

impl ProgressKind {
    /// The name in a line.
    pub fn as_str(self) -> &'static str {
        dormouse_core::progress::StepKind::from(self).as_str()
    }

    /// Whether nothing follows in the same story.
    pub fn ends(self) -> bool {
        dormouse_core::progress::StepKind::from(self).ends()
    }
}

impl From<dormouse_core::progress::StepKind> for ProgressKind {
    fn from(kind: dormouse_core::progress::StepKind) -> Self {
        use dormouse_core::progress::StepKind;
        match kind {
            StepKind::Starting => Self::Starting,
            StepKind::WakingDependency => Self::WakingDependency,
            StepKind::DependencyReady => Self::DependencyReady,
            StepKind::Started => Self::Started,
            StepKind::WaitingReady => Self::WaitingReady,
            StepKind::Ready => Self::Ready,
            StepKind::Error => Self::Error,
        }
    }
}

impl From<ProgressKind> for dormouse_core::progress::StepKind {
    fn from(kind: ProgressKind) -> Self {
        match kind {
            ProgressKind::Starting => Self::Starting,
            ProgressKind::WakingDependency => Self::WakingDependency,
            ProgressKind::DependencyReady => Self::DependencyReady,
            ProgressKind::Started => Self::Started,
            ProgressKind::WaitingReady => Self::WaitingReady,
            ProgressKind::Ready => Self::Ready,
            ProgressKind::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EventKind, ProgressKind};

    #[test]
    fn the_words_in_json_are_the_names_in_the_streams() {
        for kind in [
            EventKind::Phase,
            EventKind::Pinned,
            EventKind::Unpinned,
            EventKind::RestFailed,
            EventKind::EnvironmentLost,
            EventKind::EnvironmentReached,
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
        for kind in [
            ProgressKind::Starting,
            ProgressKind::WakingDependency,
            ProgressKind::DependencyReady,
            ProgressKind::Started,
            ProgressKind::WaitingReady,
            ProgressKind::Ready,
            ProgressKind::Error,
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.as_str()));
        }
    }
}
