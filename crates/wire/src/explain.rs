//! Everything about one workload: why it is in its phase, what keeps it awake, until when.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workload::Workload;

/// A workload with its explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadDetails {
    /// The workload as it is listed.
    #[serde(flatten)]
    pub workload: Workload,
    /// Why it is so, and what comes next.
    pub explain: Explanation,
}

/// Why a workload is in its phase, what keeps it awake, and until when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// One sentence.
    pub why: String,
    /// The next thing that happens by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStep>,
    /// When a caller that is refused now may ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// What it needs, and how far that has come.
    pub needs: Vec<NeedReport>,
    /// The ids of the awake workloads that need it.
    pub dependents: Vec<String>,
    /// What its runtime last showed, such as `running` or `stopped with exit code 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The last failure of a wake or a rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureReport>,
    /// How it is treated.
    pub policy: PolicyReport,
    /// Where its definition comes from: `file` or `labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defined_by: Option<String>,
}

/// The next thing that happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextStep {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What, in one sentence.
    pub reason: String,
}

/// One need and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NeedReport {
    /// The id of what is needed.
    pub on: String,
    /// How far it must come: `started`, `ready` or `completed`.
    pub until: String,
    /// The phase it is in; absent when nobody defined it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Whether it has come far enough.
    pub met: bool,
}

/// A failure with everything there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureReport {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// The stable name of this kind of failure.
    pub slug: String,
    /// One sentence.
    pub detail: String,
    /// What the reader can do about it.
    pub hint: String,
    /// The last lines of the workload's log, oldest first.
    pub log: Vec<String>,
}

/// How a workload is treated, in the words of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyReport {
    /// No lease for this long makes it idle; `never` is possible.
    #[schema(example = "30m")]
    pub idle_timeout: String,
    /// What it must do less than to be idle, where that counts: percent of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_cpu_below: Option<f64>,
    /// What it must do less than to be idle, where that counts: bytes a second of network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_net_below: Option<u64>,
    /// How long a wake may take.
    #[schema(example = "1m")]
    pub wake_timeout: String,
    /// How it sleeps: `stop`, `pause` or `kill`.
    pub rest: String,
    /// How long it may take to stop.
    #[schema(example = "10s")]
    pub stop_timeout: String,
}
