//! What workloads and environments use, as the admin API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a workload used between two readings of its counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// When the second reading was taken.
    #[schema(format = DateTime)]
    pub at: String,
    /// Percent of one processor: up to 100 for each.
    pub cpu_percent: f64,
    /// Memory without what is only cache.
    pub memory_bytes: u64,
    /// Over its network interfaces; absent where the runtime does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Rates>,
    /// To and from block devices; absent where the runtime does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Rates>,
}

/// Bytes a second both ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    /// Received, or read.
    pub in_bytes_per_second: f64,
    /// Sent, or written.
    pub out_bytes_per_second: f64,
}

/// What everything that runs in an environment used together, whether or not dormouse looks after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentUsage {
    /// When the reading was taken.
    #[schema(format = DateTime)]
    pub at: String,
    /// Percent of the whole host: 0 to 100.
    pub cpu_percent: f64,
    /// Memory without what is only cache.
    pub memory_bytes: u64,
    /// The same in percent of the host's memory.
    pub memory_percent: f64,
    /// Of those whose runtime tells.
    pub network: Rates,
    /// Of those whose runtime tells.
    pub disk: Rates,
    /// How many are in the sums.
    pub counted: usize,
    /// How many could not be read, and are left out.
    pub failed: usize,
}

/// What a runtime keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskUsage {
    /// When it said so.
    #[schema(format = DateTime)]
    pub at: String,
    /// Images, each layer once.
    pub images_bytes: u64,
    /// What containers have written into themselves.
    pub containers_bytes: u64,
    /// Volumes.
    pub volumes_bytes: u64,
    /// What builds keep.
    pub build_cache_bytes: u64,
}

/// What a workload uses and has used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadMetrics {
    /// Its id.
    #[schema(example = "local/blog")]
    pub workload: String,
    /// How often its counters are read; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10s")]
    pub sample_interval: Option<String>,
    /// The last reading; absent while it sleeps, and where there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// While it sleeps: the memory that it used when it was last awake, less what it still holds.
    pub memory_freed_bytes: u64,
    /// The last readings, oldest first.
    pub history: Vec<Usage>,
}

/// What an environment uses and has used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentMetrics {
    /// Its name.
    #[schema(example = "local")]
    pub environment: String,
    /// How often its counters are read; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10s")]
    pub sample_interval: Option<String>,
    /// The machine under it; absent until it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// The last reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<EnvironmentUsage>,
    /// What it keeps on disk; absent until it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_usage: Option<DiskUsage>,
    /// What its sleeping workloads used when they were last awake, less what they still hold.
    pub memory_freed_bytes: u64,
    /// Why the last attempt to read it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The last readings, oldest first.
    pub history: Vec<EnvironmentUsage>,
}

/// The machine under an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its processors.
    pub cpus: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// The version of the runtime on it.
    pub version: String,
}
