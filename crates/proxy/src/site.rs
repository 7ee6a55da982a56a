//! What the data plane has to know about the place a route leads to.

use std::sync::Arc;
use std::time::Duration;

use crate::counters::SiteCounters;

/// The end of a route: one port of one workload, and how its visitors are treated.
#[derive(Clone, Debug)]
pub struct Site<K> {
    /// The gate.
    pub key: K,
    /// The workload's name, as pages and problem documents say it.
    pub workload: String,
    /// The workload's own port; its default port when absent.
    pub port: Option<u16>,
    /// How the upstream is spoken to.
    pub scheme: Scheme,
    /// The loading page.
    pub loading: Arc<Loading>,
    /// The bounds of the waiting room.
    pub held: Held,
    /// What is counted about it; shared by all routes to one workload, and kept over reloads.
    pub counters: Arc<SiteCounters>,
}

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1; gRPC requests go over HTTP/2 with prior knowledge.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge, always.
    H2c,
}

/// How the loading page looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loading {
    /// Whether navigations get the page; they are held like everything else otherwise.
    pub page: bool,
    /// The theme's name; `dormouse` is the one that is built in.
    pub theme: String,
    /// The heading; the workload's name when absent.
    pub title: Option<String>,
    /// How often a browser without scripts asks again; whole seconds, at least one.
    pub refresh: Duration,
    /// 503, 202 or 200.
    pub status: u16,
}

/// The bounds of one workload's waiting room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Requests that may wait at once.
    pub requests: usize,
    /// Bytes of bodies that may be read ahead for all of them together.
    pub bytes: u64,
    /// Requests of one client address that may wait at once.
    pub per_client: usize,
}

impl Default for Loading {
    fn default() -> Self {
        Self {
            page: true,
            theme: "dormouse".into(),
            title: None,
            refresh: Duration::from_secs(2),
            status: 503,
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self { requests: 10_000, bytes: 8 << 20, per_client: 10_000 }
    }
}
