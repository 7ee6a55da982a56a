//! Where the data plane's counters are found at a scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use dormouse_core::WorkloadId;
use dormouse_proxy::{CodeClasses, Counters, SiteCounters, Workers};
use tokio::sync::watch;

/// The counters of every workload that has routes.
pub type SiteTable = Arc<BTreeMap<WorkloadId, Arc<SiteCounters>>>;

/// What the data plane counts.
pub struct Traffic {
    /// Of the whole data plane.
    pub counters: Arc<Counters>,
    /// Of each workload.
    pub sites: watch::Receiver<SiteTable>,
    /// Who serves the connections.
    pub workers: Workers,
}

impl Traffic {
    /// Requests that were answered.
    pub(super) fn requests(&self) -> u64 {
        total(&self.counters.answers)
    }

    pub(super) fn sites(&self) -> SiteTable {
        self.sites.borrow().clone()
    }
}

pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn level(gauge: &AtomicI64) -> i64 {
    gauge.load(Ordering::Relaxed)
}

fn total(classes: &CodeClasses) -> u64 {
    classes.read().iter().map(|(_, count)| count).sum()
}
