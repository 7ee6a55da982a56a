//! What the admin API is sent, and what only one of its endpoints answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How to pin a workload awake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinOrder {
    /// For how long; for good when absent.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2h")]
    pub period: Option<String>,
    /// What for.
    #[serde(default)]
    pub reason: String,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Whether anything changed.
    pub outcome: ReloadOutcome,
    /// The number of the registry that is in force.
    pub version: u64,
}

/// Whether a reload changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// What the files say now is in force.
    Changed,
    /// The files say what they said before.
    Unchanged,
}

/// The last lines that a workload wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// The id of the workload.
    pub workload: String,
    /// The lines, oldest first.
    pub lines: Vec<String>,
}

impl ReloadOutcome {
    /// The outcome's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}
