//! An environment as the admin API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::usage::{DiskUsage, EnvironmentUsage};

/// One connection to a runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// Its configured name.
    #[schema(example = "local")]
    pub name: String,
    /// The address of its runtime's control API, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "unix:///var/run/docker.sock")]
    pub address: Option<String>,
    /// Whether it answers.
    pub state: EnvironmentState,
    /// When it began or stopped answering.
    #[schema(format = DateTime)]
    pub since: String,
    /// When it last listed everything it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub last_check: Option<String>,
    /// Why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Whether labels found there define workloads.
    pub labels: bool,
    /// Workloads defined on it.
    pub workloads: usize,
    /// Full listings received.
    pub resyncs: u64,
    /// What everything in it uses; absent until it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<EnvironmentUsage>,
    /// What it keeps on disk; absent until it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_usage: Option<DiskUsage>,
}

/// Whether an environment answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// It has not answered yet, and has not failed to.
    Pending,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl EnvironmentState {
    /// The state's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}
