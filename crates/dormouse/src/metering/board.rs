//! The board: what was measured last and before, for whoever wants to know. Bounded, and cleared of
//! what is not configured any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_core::load::Load;
use dormouse_core::usage::{History, Totals, Usage};
use dormouse_core::{EnvironmentName, Timestamp, WorkloadId, limits};
use dormouse_providers::{DiskUsage, HostFacts, Target};

use crate::registry::Registry;

/// What was measured.
#[derive(Default)]
pub struct Board {
    pages: Mutex<Pages>,
}

/// What a workload used at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it used.
    pub usage: Usage,
}

/// What an environment used at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TotalsReading {
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What everything used.
    pub totals: Totals,
    /// How many could not be read.
    pub failed: usize,
}

/// What an environment keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReading {
    /// In milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Images, each layer once.
    pub images_bytes: u64,
    /// What containers have written into themselves.
    pub containers_bytes: u64,
    /// Volumes.
    pub volumes_bytes: u64,
    /// What builds keep.
    pub build_cache_bytes: u64,
}

/// What is known of one environment.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentReading {
    /// The machine under it.
    pub host: Option<Arc<HostFacts>>,
    /// The last reading.
    pub last: Option<TotalsReading>,
    /// What it keeps on disk.
    pub disk: Option<DiskReading>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// What one round over an environment brought.
pub(super) struct Round {
    pub(super) at_ms: u64,
    pub(super) host: Arc<HostFacts>,
    pub(super) totals: Totals,
    pub(super) failed: usize,
    pub(super) last_error: Option<String>,
    /// What runs, by name; what is not here does not.
    pub(super) seen: BTreeMap<Target, Seen>,
}

/// What a round brought of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    Running {
        memory_bytes: u64,
        usage: Option<Usage>,
    },
    Paused {
        memory_bytes: u64,
        usage: Option<Usage>,
    },
    Gone,
    /// It could not be read: nothing is concluded.
    Unknown,
}

#[derive(Default)]
struct Pages {
    environments: BTreeMap<EnvironmentName, EnvironmentPage>,
    workloads: BTreeMap<WorkloadId, WorkloadPage>,
}

#[derive(Default)]
struct EnvironmentPage {
    reading: EnvironmentReading,
    history: Option<History<TotalsReading>>,
}

struct WorkloadPage {
    environment: EnvironmentName,
    target: Target,
    last: Option<Reading>,
    /// What it used when it was last seen running.
    awake_bytes: u64,
    /// What it holds now.
    held_bytes: u64,
    /// Whether what it does counts as use.
    counts: bool,
    history: History<Reading>,
}

impl Board {
    /// What is known of an environment.
    pub fn environment(&self, name: &str) -> Option<EnvironmentReading> {
        self.pages().environments.get(name).map(|page| page.reading.clone())
    }

    /// What an environment has used, oldest first.
    pub fn environment_history(&self, name: &str) -> Vec<TotalsReading> {
        let pages = self.pages();
        let history = pages.environments.get(name).and_then(|page| page.history.as_ref());
        history.map(|history| history.iter().copied().collect()).unwrap_or_default()
    }

    /// The last reading of a workload, while it runs.
    pub fn workload(&self, id: &WorkloadId) -> Option<Reading> {
        self.pages().workloads.get(id)?.last
    }

    /// What a workload has used, oldest first.
    pub fn workload_history(&self, id: &WorkloadId) -> Vec<Reading> {
        let pages = self.pages();
        let page = pages.workloads.get(id);
        page.map(|page| page.history.iter().copied().collect()).unwrap_or_default()
    }

    /// The memory that the sleep of a workload has freed, if it sleeps: what it used when it was
    /// last seen running, less what it holds now.
    pub fn freed_bytes(&self, id: &WorkloadId) -> u64 {
        let pages = self.pages();
        pages.workloads.get(id).map_or(0, |page| page.awake_bytes.saturating_sub(page.held_bytes))
    }

    /// Forgets what is not configured any more, and makes room for what is.
    pub(super) fn keep(&self, registry: &Registry) {
        let capacity = capacity(registry.workloads.len());
        let mut pages = self.pages();
        pages.environments.retain(|name, _| registry.environments.contains_key(name));
        let is_kept = |id: &WorkloadId, page: &WorkloadPage| {
            registry.workloads.get(id).is_some_and(|spec| {
                spec.target == page.target && spec.environment == page.environment
            })
        };
        pages.workloads.retain(|id, page| is_kept(id, page));
        for spec in registry.workloads.values() {
            let page = pages.workloads.entry(spec.id.clone()).or_insert_with(|| WorkloadPage {
                environment: spec.environment.clone(),
                target: spec.target.clone(),
                last: None,
                awake_bytes: 0,
                held_bytes: 0,
                counts: false,
                history: History::new(capacity),
            });
            page.counts = !spec.policy.idle_below.is_off();
            page.history.resize(capacity);
        }
    }

    /// Writes down what a round brought, and hands back what the keeper has to know of it.
    pub(super) fn record(
        &self,
        name: &EnvironmentName,
        round: Round,
        as_of: Timestamp,
    ) -> Vec<(WorkloadId, Load)> {
        let mut pages = self.pages();
        let page = pages.environments.entry(name.clone()).or_default();
        let last = TotalsReading { at_ms: round.at_ms, totals: round.totals, failed: round.failed };
        page.reading.host = Some(Arc::clone(&round.host));
        page.reading.last_error.clone_from(&round.last_error);
        // Before there are two samples of anything there is nothing to tell.
        if round.totals.counted > 0 || round.seen.is_empty() {
            page.reading.last = Some(last);
            let history = page.history.get_or_insert_with(|| History::new(limits::METER_HISTORY));
            history.push(last);
        }
        let mut loads = Vec::new();
        for (id, page) in pages.workloads.iter_mut().filter(|(_, it)| it.environment == *name) {
            let seen = round.seen.get(&page.target).copied().unwrap_or(Seen::Gone);
            page.see(seen, round.at_ms);
            if let (true, Seen::Running { usage: Some(usage), .. }) = (page.counts, seen) {
                loads.push((id.clone(), load(&usage, as_of)));
            }
        }
        loads
    }

    pub(super) fn record_disk(&self, name: &EnvironmentName, at_ms: u64, usage: DiskUsage) {
        let reading = DiskReading {
            at_ms,
            images_bytes: usage.images_bytes,
            containers_bytes: usage.containers_bytes,
            volumes_bytes: usage.volumes_bytes,
            build_cache_bytes: usage.build_cache_bytes,
        };
        self.pages().environments.entry(name.clone()).or_default().reading.disk = Some(reading);
    }

    /// Says why nothing came of the last attempt; what was known before is older by now, and stays.
    pub(super) fn fail(&self, name: &EnvironmentName, error: String) {
        let mut pages = self.pages();
        pages.environments.entry(name.clone()).or_default().reading.last_error = Some(error);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkloadPage {
    fn see(&mut self, seen: Seen, at_ms: u64) {
        let (memory_bytes, usage) = match seen {
            Seen::Running { memory_bytes, usage } => {
                self.awake_bytes = memory_bytes;
                (memory_bytes, usage)
            }
            Seen::Paused { memory_bytes, usage } => (memory_bytes, usage),
            Seen::Gone => {
                self.held_bytes = 0;
                self.last = None;
                return;
            }
            Seen::Unknown => return,
        };
        self.held_bytes = memory_bytes;
        if let Some(usage) = usage {
            let reading = Reading { at_ms, usage };
            self.last = Some(reading);
            self.history.push(reading);
        }
    }
}

/// What a usage means to the keeper.
fn load(usage: &Usage, as_of: Timestamp) -> Load {
    // What does not fit is far above any bound.
    let whole = |number: f64| number.round() as u64;
    Load {
        as_of,
        cpu_millipercent: u32::try_from(whole(usage.cpu_percent * 1e3)).unwrap_or(u32::MAX),
        net_bytes: usage.network.map(|network| whole(network.total_bytes())),
    }
}

/// Readings kept of each workload, so that all of them together stay within their bound.
fn capacity(workloads: usize) -> usize {
    (limits::METER_READINGS_MAX / workloads.max(1)).clamp(1, limits::METER_HISTORY)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::registry::tests::registry;

    const USAGE: Usage = Usage { cpu_percent: 5.0, memory_bytes: 100, network: None, disk: None };

    fn registry_of(names: &[&str]) -> Registry {
        let define = |name: &&str| format!("[workload.{name}]\ntarget = \"local/{name}\"\n");
        registry(&names.iter().map(define).collect::<String>(), &[])
    }

    fn round(at_ms: u64, seen: &[(&str, Seen)]) -> Round {
        let host =
            HostFacts { cpus: 2, memory_bytes: 1, version: String::new(), raw: Default::default() };
        let mut totals = Totals::default();
        for (_, seen) in seen {
            if let Seen::Running { usage: Some(usage), .. } = seen {
                totals.add(usage);
            }
        }
        let seen = seen.iter().map(|(name, seen)| (Target::new(name), *seen)).collect();
        Round { at_ms, host: Arc::new(host), totals, failed: 0, last_error: None, seen }
    }

    fn running(memory_bytes: u64) -> Seen {
        Seen::Running { memory_bytes, usage: Some(USAGE) }
    }

    #[test]
    fn what_sleep_frees_is_what_was_used_less_what_is_held() {
        let board = Board::default();
        board.keep(&registry_of(&["app"]));
        let (name, id) =
            (EnvironmentName::new("local"), WorkloadId::parse("local/app").expect("an id"));
        assert_eq!(board.freed_bytes(&id), 0);
        board.record(&name, round(1, &[("app", running(100))]), Timestamp::ZERO);
        assert_eq!(board.freed_bytes(&id), 0, "it is awake");
        board.record(
            &name,
            round(2, &[("app", Seen::Paused { memory_bytes: 70, usage: None })]),
            Timestamp::ZERO,
        );
        assert_eq!(board.freed_bytes(&id), 30, "a pause keeps most of it");
        board.record(&name, round(3, &[("app", Seen::Unknown)]), Timestamp::ZERO);
        assert_eq!(board.freed_bytes(&id), 30, "what is not known changes nothing");
        board.record(&name, round(4, &[]), Timestamp::ZERO);
        assert_eq!(board.freed_bytes(&id), 100, "a stop frees all of it");
        assert_eq!(board.workload(&id), None, "it uses nothing");
        assert_eq!(board.workload_history(&id).len(), 1, "and is remembered");
    }

    #[test]
    fn what_is_not_configured_any_more_is_forgotten() {
        let board = Board::default();
        board.keep(&registry_of(&["a", "b"]));
        let name = EnvironmentName::new("local");
        board.record(
            &name,
            round(1, &[("a", running(1)), ("b", running(1)), ("c", running(1))]),
            Timestamp::ZERO,
        );
        let id = |name: &str| WorkloadId::parse(&format!("local/{name}")).expect("an id");
        assert!(board.workload(&id("a")).is_some());
        assert!(board.workload(&id("c")).is_none(), "nobody configured it");
        board.keep(&registry_of(&["b"]));
        assert!(board.workload(&id("a")).is_none());
        assert!(board.workload(&id("b")).is_some());
        assert!(
            board
                .environment("local")
                .is_some_and(|it| it.last.is_some_and(|last| last.totals.counted == 3))
        );
    }

    #[test]
    fn all_histories_together_are_bounded() {
        assert_eq!(capacity(0), limits::METER_HISTORY);
        assert_eq!(capacity(10), limits::METER_HISTORY);
        assert!(capacity(10_000) * 10_000 <= limits::METER_READINGS_MAX);
        assert_eq!(capacity(usize::MAX), 1);
        let reading = std::mem::size_of::<Reading>();
        assert!(reading * limits::METER_READINGS_MAX <= 32 << 20, "{reading}");
    }
}
