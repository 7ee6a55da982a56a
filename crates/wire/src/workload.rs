//! A workload as the admin API shows it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::ProgressEvent;
use crate::usage::Usage;

/// A workload at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workload {
    /// What people call it.
    #[schema(example = "blog")]
    pub name: String,
    /// The environment it lives in; with the name its id, `environment/name`.
    #[schema(example = "local")]
    pub environment: String,
    /// What its runtime calls it.
    #[schema(example = "blog")]
    pub target: String,
    /// Where it stands in its lifecycle.
    pub phase: Phase,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
    /// Why, in one sentence.
    pub why: String,
    /// When it will be idle, if nothing happens before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub idle_at: Option<String>,
    /// How many leases of each kind keep it awake.
    pub leases: Leases,
    /// Callers that wait for it to be ready.
    #[serde(default)]
    pub waiting: u32,
    /// What holds it awake because somebody asked.
    pub pins: Vec<Pin>,
    /// The ids of what it needs, as the file writes them: `local/db`, `local/cache:started`.
    pub needs: Vec<String>,
    /// What leads to it.
    pub routes: Vec<Route>,
    /// The TCP and UDP addresses of its own that lead to it.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// The current or last wake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wake: Option<LastWake>,
    /// The last failure of a wake or a rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Where it is reached, while it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "172.17.0.2:80")]
    pub upstream: Option<String>,
    /// What it uses; absent while it sleeps, and where nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The memory that its sleep has freed, in bytes; absent while it is awake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_freed_bytes: Option<u64>,
}

/// Where a workload stands in its lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Resting.
    Asleep,
    /// On the way up.
    Waking,
    /// Its probe has succeeded; requests go to it.
    Ready,
    /// About to rest; what is open is being counted.
    Draining,
    /// A rest is in flight.
    Settling,
    /// The last wake failed, or it crashes in a loop.
    Failed,
    /// Its definition is wrong.
    Misconfigured,
    /// The runtime knows nothing under its name.
    Gone,
    /// The truth is not known; nothing is done to it.
    #[serde(other)]
    Unknown,
}

/// How many leases of each kind are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leases {
    /// Requests in flight.
    pub request: u32,
    /// Upgraded and raw connections.
    pub connection: u32,
    /// UDP flows.
    pub flow: u32,
    /// Awake workloads that need it.
    pub dependent: u32,
    /// Pins.
    pub pin: u32,
}

/// A lease that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pin {
    /// Until when; for good when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// What for; may be empty.
    pub reason: String,
}

/// A route to one port of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The hostname; `*` or a leading `*.` where it is a wildcard.
    #[schema(example = "blog.example.com")]
    pub host: String,
    /// The path prefix; `/` where every path matches.
    #[schema(example = "/")]
    pub path: String,
    /// The workload's own port; its default port when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How it is spoken to: `http` or `h2c`.
    pub scheme: String,
}

/// A TCP or UDP address that leads to one port of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    /// `tcp` or `udp`.
    #[schema(example = "tcp")]
    pub protocol: String,
    /// Where it listens, as the configuration says it.
    #[schema(example = ":2222")]
    pub listen: String,
    /// The workload's own port.
    #[schema(example = 22)]
    pub port: u16,
}

/// The current or last wake of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastWake {
    /// When it began.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why: `request`, `asked`, `pin`, `dependent`, `adopted`, `started_by_hand` or `crash`.
    pub cause: String,
    /// How long it took, in milliseconds; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What it took that time for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<WakeParts>,
    /// Its story so far.
    pub steps: Vec<ProgressEvent>,
}

/// What a wake took its time for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WakeParts {
    /// Waiting for what it needs, and between attempts.
    pub needs_ms: u64,
    /// Starting.
    pub start_ms: u64,
    /// From the confirmed start to the probe's success.
    pub ready_ms: u64,
}

impl Phase {
    /// All of them, in the order of a listing's totals.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Asleep,
        Self::Waking,
        Self::Ready,
        Self::Draining,
        Self::Settling,
        Self::Failed,
        Self::Misconfigured,
        Self::Gone,
    ];

    /// The phase of a word; `Unknown` for a word that is none.
    pub fn from_word(word: &str) -> Self {
        let named = Self::ALL.into_iter().find(|phase| phase.as_str() == word);
        named.unwrap_or(Self::Unknown)
    }

    /// The phase's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Settling => "settling",
            Self::Failed => "failed",
            Self::Misconfigured => "misconfigured",
            Self::Gone => "gone",
        }
    }

    /// Whether it uses what a sleeper does not.
    pub fn is_awake(self) -> bool {
        match self {
            Self::Waking | Self::Ready | Self::Draining | Self::Settling => true,
            Self::Unknown | Self::Asleep | Self::Failed | Self::Misconfigured | Self::Gone => false,
        }
    }
}

impl Workload {
    /// Its id, `environment/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.environment, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn every_phase_is_read_back_from_its_word() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_word(phase.as_str()), phase);
            let json = serde_json::to_string(&phase).unwrap();
            assert_eq!(json, format!("\"{}\"", phase.as_str()));
            assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
        }
    }

    #[test]
    fn a_phase_of_a_newer_dormouse_reads_as_unknown() {
        assert_eq!(serde_json::from_str::<Phase>("\"hovering\"").unwrap(), Phase::Unknown);
    }
}
