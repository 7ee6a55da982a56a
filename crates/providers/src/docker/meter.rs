//! One engine as a [`Meter`]: its containers' counters, its disk, and its events as they are.
//!
//! Counters are read from the kernel's control groups where the engine is of this machine and lets
//! us see them, and asked of the engine otherwise, container by container; which of the two was
//! chosen is said once.

pub(super) mod disk;
pub(super) mod groups;
mod outlet;
mod raw;
pub(super) mod stats;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_core::limits;
use dormouse_core::usage::RawSample;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::groups::{Groups, Outcome, Process};
use self::raw::RawFeed;
use self::stats::SystemTime;
use super::client::{Call, CallError, Client, Negotiated, chain};
use super::endpoint::DockerEndpoint;
use super::engine::encoded;
use super::json::{InfoJson, ListingJson, ProcessJson};
use super::{DockerConfig, sighting};
use crate::{
    Answers, DiskUsage, EventMode, EventsWork, HostFacts, Meter, MeterError, Metered,
    ProviderError, RawItem, Running,
};

/// Containers that are read from the kernel's files between two looks at anything else.
const BATCH: usize = 64;

/// What is sampled, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterOptions {
    /// What is sampled.
    pub scope: Scope,
    /// Where it is read.
    pub backend: Backend,
}

/// What is sampled: less is cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Processor time and memory. What else the engine tells without being asked is passed on.
    CpuAndMemory,
    /// Network and block devices as well.
    All,
}

/// Where counters are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's control groups where they can be read, the engine's API elsewhere.
    Auto,
    /// The engine's API for everything.
    Api,
}

/// One engine as a [`Meter`].
pub struct DockerMeter {
    client: Arc<Client>,
    endpoint: DockerEndpoint,
    groups: Option<Arc<Mutex<Groups>>>,
    facts: Mutex<Option<Facts>>,
    /// Wall time is counted from here.
    origin: std::time::Instant,
    has_said: AtomicBool,
}

struct Facts {
    /// Of the engine that said so.
    generation: u64,
    host: Arc<HostFacts>,
}

impl DockerMeter {
    /// Prepares everything and connects to nothing yet.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] for certificates, names or tokens that cannot be used.
    pub fn new(config: DockerConfig, options: MeterOptions) -> Result<Arc<Self>, ProviderError> {
        let client = Arc::new(Client::frugal(&config.endpoint, config.token.as_ref())?);
        Ok(Arc::new(Self::over(client, config.endpoint, options)))
    }

    pub(super) fn over(
        client: Arc<Client>,
        endpoint: DockerEndpoint,
        options: MeterOptions,
    ) -> Self {
        let groups = match (options.backend, &endpoint) {
            (Backend::Auto, DockerEndpoint::Unix(_)) => Groups::new(options.scope),
            (
                Backend::Auto | Backend::Api,
                DockerEndpoint::Unix(_)
                | DockerEndpoint::Http { .. }
                | DockerEndpoint::Https { .. }
                | DockerEndpoint::Ssh(_),
            ) => None,
        };
        Self {
            client,
            endpoint,
            groups: groups.map(|groups| Arc::new(Mutex::new(groups))),
            facts: Mutex::new(None),
            origin: std::time::Instant::now(),
            has_said: AtomicBool::new(false),
        }
    }

    /// Connections opened to the engine so far.
    pub fn connections_opened(&self) -> u64 {
        self.client.stats().connections
    }

    /// Calls sent to the engine so far.
    pub fn calls_sent(&self) -> u64 {
        self.client.stats().calls
    }

    async fn find_host(&self, deadline: Instant) -> Result<Arc<HostFacts>, MeterError> {
        let generation = self.client.generation();
        if let Some(facts) = self.facts().as_ref().filter(|it| it.generation == generation) {
            return Ok(Arc::clone(&facts.host));
        }
        let call = Call::get("info", "/info".to_owned());
        let raw = self.client.read(&call, deadline).await;
        let raw = raw.map_err(|error| meter_error(error, "info"))?;
        let info: InfoJson = serde_json::from_slice(&raw).map_err(|cause| {
            MeterError::Nonsense(format!("the answer to info makes no sense: {cause}"))
        })?;
        let host = Arc::new(HostFacts {
            cpus: u32::try_from(info.cpus).unwrap_or_default(),
            memory_bytes: u64::try_from(info.memory_bytes).unwrap_or_default(),
            version: info.version,
            raw: disk::one_line(raw),
        });
        // The call itself may have been the first over a fresh connection.
        let generation = self.client.generation();
        *self.facts() = Some(Facts { generation, host: Arc::clone(&host) });
        Ok(host)
    }

    /// Reads what can be read here; what is left has to be asked of the engine.
    async fn sample_here(
        &self,
        groups: &Arc<Mutex<Groups>>,
        set: &[Metered],
        deadline: Instant,
        answer: &mut Answers<'_>,
    ) -> Vec<usize> {
        lock(groups).begin_round();
        let mut elsewhere = Vec::new();
        let all: Vec<usize> = (0..set.len()).collect();
        let unknown = self.read_batches(groups, set, &all, &mut elsewhere, answer).await;
        // The place of the first one tells those of its siblings, so the engine is asked for it alone.
        let Some((first, others)) = unknown.split_first() else { return elsewhere };
        let known = self.learn(groups, set, vec![*first], deadline, answer).await;
        let again: Vec<usize> = known.into_iter().chain(others.iter().copied()).collect();
        let unknown = self.read_batches(groups, set, &again, &mut elsewhere, answer).await;
        if unknown.is_empty() {
            return elsewhere;
        }
        let known = self.learn(groups, set, unknown, deadline, answer).await;
        let unknown = self.read_batches(groups, set, &known, &mut elsewhere, answer).await;
        elsewhere.extend(unknown);
        elsewhere
    }

    /// Answers what can be read and hands back what is not known.
    async fn read_batches(
        &self,
        groups: &Arc<Mutex<Groups>>,
        set: &[Metered],
        wanted: &[usize],
        elsewhere: &mut Vec<usize>,
        answer: &mut Answers<'_>,
    ) -> Vec<usize> {
        let mut unknown = Vec::new();
        for batch in wanted.chunks(BATCH) {
            let batch: Vec<_> = batch.iter().map(|index| (*index, set[*index].clone())).collect();
            let (groups, origin) = (Arc::clone(groups), self.origin);
            // The kernel may have to add up a tree of groups before it answers.
            let read = tokio::task::spawn_blocking(move || {
                let mut groups = lock(&groups);
                let batch = batch.iter().map(|(index, metered)| (*index, metered));
                groups.sample(batch, || nanos_since(origin)).collect::<Vec<_>>()
            });
            for (index, outcome) in read.await.expect("reading a file does not panic") {
                match outcome {
                    Outcome::Sampled(sample) => answer(index, sample),
                    Outcome::Unknown => unknown.push(index),
                    Outcome::NotHere => elsewhere.push(index),
                }
            }
        }
        unknown
    }

    /// Asks the engine for a process of each, and hands back those that run.
    async fn learn(
        &self,
        groups: &Arc<Mutex<Groups>>,
        set: &[Metered],
        unknown: Vec<usize>,
        deadline: Instant,
        answer: &mut Answers<'_>,
    ) -> Vec<usize> {
        let asked = unknown.into_iter().map(|index| async move {
            (index, self.process_of(&set[index].reference, deadline).await)
        });
        let mut asked =
            futures_util::stream::iter(asked).buffer_unordered(limits::ENGINE_LOOKS_MAX);
        let mut known = Vec::new();
        while let Some((index, process)) = asked.next().await {
            match process {
                Ok(process) => {
                    lock(groups).learn(&set[index], &process);
                    known.push(index);
                }
                Err(error) => answer(index, Err(error)),
            }
        }
        known
    }

    async fn process_of(&self, reference: &str, deadline: Instant) -> Result<Process, MeterError> {
        let call = Call::get("inspect", format!("/containers/{}/json", encoded(reference)));
        let json: ProcessJson = self
            .client
            .fetch(&call, deadline)
            .await
            .map_err(|error| container_error(error, "inspect"))?;
        let is_it = json.id == reference || json.name.trim_start_matches('/') == reference;
        if !is_it || json.state.pid <= 0 {
            return Err(MeterError::Gone);
        }
        Ok(Process { id: json.id, pid: json.state.pid })
    }

    async fn sample_over_api(
        &self,
        set: &[Metered],
        wanted: Vec<usize>,
        deadline: Instant,
        answer: &mut Answers<'_>,
    ) {
        if wanted.is_empty() {
            return;
        }
        let negotiated = match self.client.negotiated(deadline).await {
            Ok(negotiated) => negotiated,
            Err(error) => {
                let error = meter_error(error, "stats");
                return wanted.into_iter().for_each(|index| answer(index, Err(error.clone())));
            }
        };
        let asked = wanted.into_iter().map(|index| async move {
            (index, self.ask(&set[index].reference, &negotiated, deadline).await)
        });
        let mut asked =
            futures_util::stream::iter(asked).buffer_unordered(self.at_a_time(&negotiated));
        while let Some((index, sample)) = asked.next().await {
            answer(index, sample);
        }
    }

    async fn ask(
        &self,
        reference: &str,
        negotiated: &Negotiated,
        deadline: Instant,
    ) -> Result<RawSample, MeterError> {
        let system = if negotiated.product.counts_the_host() {
            SystemTime::OfTheHost
        } else {
            SystemTime::OfNobody
        };
        let call = Call::stats(&encoded(reference));
        let body = self.client.read(&call, deadline).await;
        let body = body.map_err(|error| container_error(error, "stats"))?;
        stats::read(&body, reference, nanos_since(self.origin), system)
    }

    /// Readings in flight at a time. Older engines answer at their next tick, all that wait for it at
    /// once; newer ones do the work of each when it is asked for.
    fn at_a_time(&self, negotiated: &Negotiated) -> usize {
        if !negotiated.product.answers_at_once() {
            return limits::METER_CALLS_WAITING_MAX;
        }
        match self.endpoint {
            // It is this machine's time that is spent, on both ends.
            DockerEndpoint::Unix(_) => 1,
            DockerEndpoint::Http { .. } | DockerEndpoint::Https { .. } | DockerEndpoint::Ssh(_) => {
                limits::METER_CALLS_MAX
            }
        }
    }

    fn say_once(&self, sampled: usize) {
        if sampled == 0 || self.has_said.swap(true, Ordering::Relaxed) {
            return;
        }
        let here = self.groups.as_ref().map_or(0, |groups| lock(groups).tally().0);
        let how = match (here, sampled - here.min(sampled)) {
            (0, _) => "the engine's API",
            (_, 0) => "control groups",
            (_, _) => "control groups, and the engine's API for the rest",
        };
        tracing::info!(endpoint = %self.endpoint, how, here, sampled, "Chose how to read counters");
    }

    fn facts(&self) -> MutexGuard<'_, Option<Facts>> {
        self.facts.lock().expect("nobody panics while it is held")
    }
}

impl Meter for DockerMeter {
    fn host(&self, deadline: Instant) -> BoxFuture<'_, Result<Arc<HostFacts>, MeterError>> {
        Box::pin(self.find_host(deadline))
    }

    fn running(&self, deadline: Instant) -> BoxFuture<'_, Result<Vec<Running>, MeterError>> {
        Box::pin(async move {
            let mut call = Call::get("list", "/containers/json".to_owned());
            call.bytes_max = limits::ENGINE_LISTING_BYTES_MAX;
            let listing: Result<ListingJson, CallError> = self.client.fetch(&call, deadline).await;
            let listing = listing.map_err(|error| meter_error(error, "list"))?;
            let running = listing.0.into_iter().filter(|it| sighting::has_counters(&it.0));
            Ok(running
                .map(|entry| Running {
                    name: sighting::entry_name(&entry.0).unwrap_or_default().to_owned(),
                    id: entry.0.id.into(),
                })
                .collect())
        })
    }

    fn sample<'a>(
        &'a self,
        set: &'a [Metered],
        deadline: Instant,
        answer: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let left = match &self.groups {
                Some(groups) => self.sample_here(groups, set, deadline, answer).await,
                None => (0..set.len()).collect(),
            };
            self.sample_over_api(set, left, deadline, answer).await;
            self.say_once(set.len());
        })
    }

    fn disk(&self, deadline: Instant) -> BoxFuture<'_, Result<DiskUsage, MeterError>> {
        Box::pin(async move {
            let mut call = Call::get("disk usage", "/system/df".to_owned());
            call.bytes_max = limits::ENGINE_DISK_BYTES_MAX;
            // What the runtime says of itself has figures of its disks, too: they are asked for anew.
            *self.facts() = None;
            let body = self.client.read(&call, deadline).await;
            disk::read(body.map_err(|error| meter_error(error, "disk usage"))?)
        })
    }

    fn events(&self, mode: watch::Receiver<EventMode>) -> (mpsc::Receiver<RawItem>, EventsWork) {
        let (sender, receiver) = mpsc::channel(limits::METER_EVENTS_QUEUE);
        let feed = RawFeed::new(Arc::clone(&self.client), &self.endpoint, mode, sender);
        (receiver, Box::pin(feed.run()))
    }
}

/// What went wrong, in the words of the contract. `during` names what was wanted as a whole.
fn meter_error(error: CallError, during: &'static str) -> MeterError {
    match error {
        CallError::Refused { status, message }
            if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) =>
        {
            MeterError::Credentials(message)
        }
        CallError::Refused { message, .. } => MeterError::Refused(message),
        CallError::Timeout { .. } => MeterError::Timeout(during),
        error @ CallError::Version { .. } => MeterError::Misconfigured(error.to_string()),
        error @ (CallError::TooLong { .. } | CallError::Nonsense { .. }) => {
            MeterError::Nonsense(chain(&error))
        }
        error @ (CallError::Connect { .. }
        | CallError::Unsent { .. }
        | CallError::Broken { .. }) => MeterError::Unreachable(chain(&error)),
    }
}

/// The same where one container was asked for.
fn container_error(error: CallError, during: &'static str) -> MeterError {
    match error.status() {
        // The second is Podman's, for one that does not run.
        Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT) => MeterError::Gone,
        Some(_) | None => meter_error(error, during),
    }
}

fn nanos_since(origin: std::time::Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn lock(groups: &Mutex<Groups>) -> MutexGuard<'_, Groups> {
    groups.lock().expect("nobody panics while it is held")
}
