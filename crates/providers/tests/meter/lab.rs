//! A meter on an engine, and what a test wants to know of it.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::usage::RawSample;
use dormouse_providers::docker::{
    Backend, DockerConfig, DockerEndpoint, DockerMeter, MeterOptions, Scope,
};
use dormouse_providers::{EventMode, Meter, MeterError, Metered, RawItem};
use dormouse_testkit::engine::{ContainerSpec, EngineConfig, FakeEngine, stock};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long something may take that only a hang misses.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Sampled = Result<RawSample, MeterError>;

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub(crate) fn meter_at(socket: &std::path::Path, backend: Backend) -> Arc<DockerMeter> {
    let endpoint = DockerEndpoint::Unix(socket.to_path_buf());
    let config = DockerConfig { endpoint, token: None, network: None };
    DockerMeter::new(config, MeterOptions { scope: Scope::All, backend }).unwrap()
}

pub(crate) fn meter_of(engine: &FakeEngine) -> Arc<DockerMeter> {
    meter_at(engine.socket(), Backend::Auto)
}

/// A fake engine that answers for counters at once.
pub(crate) async fn newest() -> FakeEngine {
    FakeEngine::with(EngineConfig::docker_29()).await
}

/// Creates and starts containers of these names.
pub(crate) async fn run(engine: &FakeEngine, names: &[&str]) {
    for name in names {
        run_one(engine, stock::obedient(name)).await;
    }
}

pub(crate) async fn run_one(engine: &FakeEngine, spec: ContainerSpec) {
    let name = spec.name.clone();
    engine.by_hand().create(spec).unwrap();
    engine.by_hand().start(&name).await.unwrap();
}

pub(crate) fn metered(references: &[&str]) -> Vec<Metered> {
    references.iter().map(|name| Metered { reference: (*name).into(), run: 1 }).collect()
}

/// One round over the set, in the order of the set; each must be answered exactly once.
pub(crate) async fn sample(meter: &DockerMeter, set: &[Metered]) -> Vec<Sampled> {
    sample_by(meter, set, soon()).await
}

pub(crate) async fn sample_by(
    meter: &DockerMeter,
    set: &[Metered],
    deadline: Instant,
) -> Vec<Sampled> {
    let mut answers: Vec<Option<Sampled>> = vec![None; set.len()];
    let mut take = |index: usize, sampled: Sampled| {
        assert!(answers[index].replace(sampled).is_none(), "{index} is answered once");
    };
    meter.sample(set, deadline, &mut take).await;
    answers.into_iter().map(|answer| answer.expect("each is answered")).collect()
}

/// A subscription to the raw events and the task that brings them.
pub(crate) struct Subscription {
    pub(crate) mode: watch::Sender<EventMode>,
    items: mpsc::Receiver<RawItem>,
    work: JoinHandle<()>,
}

impl Subscription {
    pub(crate) fn new(meter: &DockerMeter, mode: EventMode) -> Self {
        let mode = watch::Sender::new(mode);
        let (items, work) = meter.events(mode.subscribe());
        Self { mode, items, work: tokio::spawn(work) }
    }

    pub(crate) async fn next(&mut self) -> RawItem {
        let item = timeout(PATIENCE, self.items.recv()).await;
        item.expect("something is said in time").expect("the events never end")
    }

    /// Waits for an item, and answers with what came before it.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&RawItem) -> bool) -> Vec<RawItem> {
        let mut before = Vec::new();
        loop {
            let item = self.next().await;
            if is_it(&item) {
                before.push(item);
                return before;
            }
            before.push(item);
        }
    }

    pub(crate) async fn until_listening(&mut self) {
        self.until(|item| *item == RawItem::Listening).await;
    }

    /// Drops the receiver; the work must end by itself.
    pub(crate) async fn leave(self) {
        drop(self.items);
        timeout(PATIENCE, self.work).await.expect("the work ends with its receiver").unwrap();
    }
}
