//! One cycle of samples of an environment, and the arithmetic from one cycle to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_core::usage::RawSample;
use dormouse_providers::{HostFacts, Meter, MeterError, Metered};
use dormouse_wire::{ContainerUse, EnvironmentUse};
use tokio::time::Instant;

/// The last sample of everything that was sampled, to compare the next one with.
#[derive(Default)]
pub(super) struct Book(BTreeMap<Arc<str>, Entry>);

struct Entry {
    run: u64,
    sample: RawSample,
}

/// What is asked of a cycle.
pub(super) struct Order {
    pub(super) set: Vec<Metered>,
    pub(super) deadline: Instant,
    /// Whether what each container uses is of interest.
    pub(super) each: bool,
    /// The host, where it is known.
    pub(super) host: Option<Arc<HostFacts>>,
}

/// What a cycle found.
pub(super) struct Findings {
    pub(super) book: Book,
    pub(super) host: Result<Arc<HostFacts>, MeterError>,
    /// How many were measured.
    pub(super) measured: usize,
    /// How many of them could be compared with a sample of the same run.
    pub(super) compared: usize,
    /// Those that turned out not to run.
    pub(super) gone: Vec<Metered>,
    /// How many could not be measured, and why the last of them could not.
    pub(super) failed: usize,
    pub(super) failure: Option<MeterError>,
    /// What each one uses, where that was asked for.
    pub(super) each: Vec<ContainerUse>,
    cpu_percent: f64,
    memory_bytes: u64,
}

/// Samples everything in the order once.
pub(super) async fn measure(meter: Arc<dyn Meter>, order: Order, book: Book) -> Findings {
    let Order { set, deadline, each, host } = order;
    let host = match host {
        Some(known) => Ok(known),
        None => meter.host(deadline).await,
    };
    let mut findings = Findings::new(book, host);
    if findings.host.is_ok() {
        let mut answer = |place: usize, result| findings.take(&set[place], result, each);
        meter.sample(&set, deadline, &mut answer).await;
        findings.book.keep_only(&set);
    }
    findings
}

impl Book {
    /// `set` is sorted.
    fn keep_only(&mut self, set: &[Metered]) {
        let is_in_set = |id: &Arc<str>| set.binary_search_by(|it| it.reference.cmp(id)).is_ok();
        self.0.retain(|id, _| is_in_set(id));
    }
}

impl Findings {
    fn new(book: Book, host: Result<Arc<HostFacts>, MeterError>) -> Self {
        Self {
            book,
            host,
            measured: 0,
            compared: 0,
            gone: Vec::new(),
            failed: 0,
            failure: None,
            each: Vec::new(),
            cpu_percent: 0.0,
            memory_bytes: 0,
        }
    }

    /// What the environment uses; nothing while there is nothing to compare with, or when nothing
    /// could be measured.
    pub(super) fn figures(&self) -> Option<EnvironmentUse> {
        let host = self.host.as_ref().ok()?;
        let is_empty = self.measured == 0 && self.failed == 0;
        if (self.compared == 0 && !is_empty) || host.cpus == 0 {
            return None;
        }
        let figures = EnvironmentUse {
            cpu: self.cpu_percent / f64::from(host.cpus),
            mem_percent: self.memory_bytes as f64 / host.memory_bytes as f64 * 100.0,
            mem_used: self.memory_bytes,
            mem_total: host.memory_bytes,
            cpu_count: host.cpus,
        };
        Some(figures).filter(EnvironmentUse::is_sound)
    }

    fn take(&mut self, metered: &Metered, result: Result<RawSample, MeterError>, each: bool) {
        match result {
            // What ends leaves an empty frame behind.
            Ok(sample) if sample.is_empty() => self.gone.push(metered.clone()),
            Ok(sample) => self.count(metered, sample, each),
            Err(MeterError::Gone) => self.gone.push(metered.clone()),
            Err(error) => {
                self.failed += 1;
                self.failure = Some(error);
            }
        }
    }

    fn count(&mut self, metered: &Metered, sample: RawSample, each: bool) {
        let entry = Entry { run: metered.run, sample };
        let before = self.book.0.insert(Arc::clone(&metered.reference), entry);
        let before = before.filter(|before| before.run == metered.run);
        let cpu = before.and_then(|before| sample.cpu_percent_since(&before.sample));
        let mem_used = sample.used_bytes();
        self.measured += 1;
        self.compared += usize::from(cpu.is_some());
        self.cpu_percent += cpu.unwrap_or_default();
        self.memory_bytes = self.memory_bytes.saturating_add(mem_used);
        if each {
            self.each.push(ContainerUse { id: metered.reference.to_string(), cpu, mem_used });
        }
    }
}
