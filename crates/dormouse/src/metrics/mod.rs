//! What is counted, and how it is told to a scrape.
//!
//! The keeper's loop counts wakes, rests and phases here as its [`Witness`]; leases and phases are
//! read from the gates, requests from the data plane, only when somebody scrapes. What belongs to a
//! workload goes with it.

mod families;
mod measured;
mod page;
mod tally;
mod traffic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_core::WorkloadId;
use dormouse_core::lifecycle::WakeCause;
use dormouse_core::policy::Rest;
use dormouse_keeper::{EnvironmentView, Gate, Gone, Handle, WakeTimes, Witness};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Page;

pub use families::{FAMILIES, Family};
pub use traffic::{SiteTable, Traffic};

use crate::metering::Board;
use crate::registry::Registry;
use crate::watch::Watches;
use page::Scrape;
use tally::{Tally, short_times};

/// The media type of a scrape.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What comes before the name of every metric.
pub const PREFIX: &str = "dormouse";

/// Everything that is counted.
#[derive(Default)]
pub struct Metrics {
    workloads: Mutex<BTreeMap<WorkloadId, Tally>>,
    house: Mutex<House>,
    gates: Mutex<Gates>,
    traffic: OnceLock<Traffic>,
    board: OnceLock<Arc<Board>>,
}

/// What does not belong to a workload.
#[derive(Default)]
struct House {
    totals: Totals,
    engine_calls: BTreeMap<&'static str, Histogram>,
    last_listed_ms: BTreeMap<String, u64>,
}

/// The gates of one version of the registry.
#[derive(Default)]
struct Gates {
    version: Option<u64>,
    gates: Arc<Vec<Arc<Gate>>>,
}

/// Totals over all workloads that ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were answered.
    pub requests: u64,
    /// Wakes that ended.
    pub wakes: u64,
    /// Rests that ended.
    pub rests: u64,
}

impl Metrics {
    /// Where requests are counted from now on. The first one said stays.
    pub fn connect(&self, traffic: Traffic) {
        // Only one data plane is ever connected.
        let _ = self.traffic.set(traffic);
    }

    /// Where measurements are read from now on. The first one said stays.
    pub fn measure(&self, board: Arc<Board>) {
        // Only one board is ever written on.
        let _ = self.board.set(board);
    }

    /// The totals.
    pub fn totals(&self) -> Totals {
        let requests = self.traffic.get().map_or(0, Traffic::requests);
        Totals { requests, ..lock(&self.house).totals }
    }

    /// When an environment last listed everything it has, in milliseconds since the Unix epoch.
    pub fn last_listed_ms(&self, environment: &str) -> Option<u64> {
        lock(&self.house).last_listed_ms.get(environment).copied()
    }

    /// Everything that is counted, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn scrape(
        self: &Arc<Self>,
        keeper: &Handle,
        registry: &Registry,
        watches: &Watches,
    ) -> Result<String, Gone> {
        let environments = keeper.environments().await?;
        let gates = self.gates_of(keeper, registry).await?;
        Ok(self.render(gates, environments, watches.up()))
    }

    fn render(
        self: &Arc<Self>,
        gates: Arc<Vec<Arc<Gate>>>,
        environments: Vec<EnvironmentView>,
        watches: Vec<(Arc<str>, bool)>,
    ) -> String {
        let mut page = Page::with_prefix(PREFIX);
        let metrics = Arc::clone(self);
        page.register_collector(Box::new(Scrape { metrics, gates, environments, watches }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &page)
            .expect("writing to a string cannot fail");
        text
    }

    /// Asks for the gates once for each registry: they change only with it.
    async fn gates_of(
        &self,
        keeper: &Handle,
        registry: &Registry,
    ) -> Result<Arc<Vec<Arc<Gate>>>, Gone> {
        {
            let known = lock(&self.gates);
            if known.version == Some(registry.version) {
                return Ok(Arc::clone(&known.gates));
            }
        }
        let mut gates = Vec::with_capacity(registry.workloads.len());
        for id in registry.workloads.keys() {
            gates.extend(keeper.gate(id).await?);
        }
        let gates = Arc::new(gates);
        *lock(&self.gates) = Gates { version: Some(registry.version), gates: Arc::clone(&gates) };
        Ok(gates)
    }
}

impl Witness for Metrics {
    fn moved(&self, id: &WorkloadId, from: &'static str, to: &'static str) {
        lock(&self.workloads).entry(id.clone()).or_default().moved(from, to);
    }

    fn woke(&self, id: &WorkloadId, cause: WakeCause, outcome: &'static str, times: WakeTimes) {
        lock(&self.house).totals.wakes += 1;
        lock(&self.workloads).entry(id.clone()).or_default().woke(cause, outcome, times);
    }

    fn rested(&self, id: &WorkloadId, rest: Rest, outcome: Result<(), ()>) {
        lock(&self.house).totals.rests += 1;
        lock(&self.workloads).entry(id.clone()).or_default().rested(rest, outcome);
    }

    fn engine_called(&self, operation: &'static str, took: Duration) {
        let mut house = lock(&self.house);
        let calls = house.engine_calls.entry(operation).or_insert_with(short_times);
        calls.observe(took.as_secs_f64());
    }

    fn forgotten(&self, id: &WorkloadId) {
        lock(&self.workloads).remove(id);
        lock(&self.gates).version = None;
    }

    fn resynced(&self, environment: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        lock(&self.house).last_listed_ms.insert(environment.to_owned(), now_ms);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
