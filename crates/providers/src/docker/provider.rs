//! The engine behind the house's door.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::endpoint::{DockerEndpoint, Secret};
use super::engine::Engine;
use super::feed::{Feed, FeedCounters};
use super::hub::Hub;
use super::meter::{DockerMeter, MeterOptions};
use super::{logs, rest, start};
use crate::{
    Abilities, FeedItem, Found, Provider, ProviderError, RestOrder, Sighting, StartOrder, Target,
};

/// How long a shutdown waits for tasks that have been told to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// How to reach an engine and what to prefer there.
#[derive(Clone)]
pub struct DockerConfig {
    /// Where it is.
    pub endpoint: DockerEndpoint,
    /// Sent as `X-Hawser-Token` with every call.
    pub token: Option<Secret>,
    /// The network whose addresses come first; Compose's project prefix may be left out.
    pub network: Option<String>,
}

/// One engine as a [`Provider`].
pub struct DockerProvider {
    engine: Arc<Engine>,
    hub: Arc<Hub>,
    counters: Arc<FeedCounters>,
    runtime: Handle,
    tasks: TaskTracker,
    is_feeding: AtomicBool,
    end: CancellationToken,
    /// Ends the tasks of a provider that is dropped without a shutdown.
    _end_on_drop: DropGuard,
}

/// What a provider has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DockerStats {
    /// Connections opened to the engine.
    pub connections_opened: u64,
    /// Calls sent.
    pub calls: u64,
    /// Calls sent once more because their connection was stale.
    pub calls_retried: u64,
    /// Events heard, replays left out.
    pub events: u64,
    /// Lines of the event stream that were malformed or too long.
    pub lines_skipped: u64,
    /// Looks taken because of events and checks.
    pub looks: u64,
    /// Full listings taken by the feed.
    pub listings: u64,
    /// Full listings sent to subscribers.
    pub resyncs: u64,
    /// How often the engine was lost.
    pub losses: u64,
}

impl DockerProvider {
    /// Prepares everything and connects to nothing yet. Call within a tokio runtime.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] for certificates, names or tokens that cannot be used.
    pub fn new(config: DockerConfig) -> Result<Arc<Self>, ProviderError> {
        let runtime = Handle::try_current()
            .map_err(|cause| ProviderError::Misconfigured(cause.to_string()))?;
        let client = Client::new(&config.endpoint, config.token.as_ref())?;
        let end = CancellationToken::new();
        Ok(Arc::new(Self {
            engine: Arc::new(Engine::new(client, config.endpoint, config.network)),
            hub: Arc::default(),
            counters: Arc::default(),
            runtime,
            tasks: TaskTracker::new(),
            is_feeding: AtomicBool::new(false),
            _end_on_drop: end.clone().drop_guard(),
            end,
        }))
    }

    /// What it has done so far.
    pub fn stats(&self) -> DockerStats {
        let client = self.engine.client.stats();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        DockerStats {
            connections_opened: client.connections,
            calls: client.calls,
            calls_retried: client.retries,
            events: count(&self.counters.events),
            lines_skipped: count(&self.counters.lines_skipped),
            looks: count(&self.counters.looks),
            listings: count(&self.counters.listings),
            resyncs: self.hub.resyncs(),
            losses: count(&self.counters.losses),
        }
    }

    /// What measures the same engine, over the same client.
    pub fn meter(&self, options: MeterOptions) -> Arc<DockerMeter> {
        let (client, endpoint) = (Arc::clone(&self.engine.client), self.engine.endpoint().clone());
        Arc::new(DockerMeter::over(client, endpoint, options))
    }

    /// Passes an answer on; what it shows is known from here on.
    fn noted(
        &self,
        target: &Target,
        answer: Result<Sighting, ProviderError>,
    ) -> Result<Sighting, ProviderError> {
        if let Ok(sighting) = &answer {
            self.hub.note(target, sighting);
        }
        answer
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        let ended = async move { end.run_until_cancelled_owned(task).await.unwrap_or_default() };
        self.tasks.spawn_on(ended, &self.runtime);
    }
}

impl Provider for DockerProvider {
    fn abilities(&self) -> Abilities {
        Abilities { pause: true, labels: true, health: true }
    }

    fn list(&self, deadline: Instant) -> BoxFuture<'_, Result<Vec<Found>, ProviderError>> {
        Box::pin(async move {
            let listing = self.engine.listing(deadline).await;
            listing.map_err(|error| error.into_provider(None, "list"))
        })
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let found = self.engine.find(target, deadline).await;
            let sighting = found.map(|found| found.sighting);
            self.noted(target, sighting.map_err(|error| error.into_provider(None, "observe")))
        })
    }

    fn start<'a>(
        &'a self,
        target: &'a Target,
        _: &'a StartOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let known = self.hub.known(target).map(|found| found.sighting.condition);
            let started = start::start(&self.engine, target, known, deadline);
            self.noted(target, bounded("start", deadline, started).await)
        })
    }

    fn rest<'a>(
        &'a self,
        target: &'a Target,
        order: &'a RestOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let rested = rest::rest(&self.engine, target, order, deadline);
            self.noted(target, bounded("rest", deadline, rested).await)
        })
    }

    fn feed(&self) -> mpsc::Receiver<FeedItem> {
        if !self.is_feeding.swap(true, Ordering::Relaxed) {
            let (engine, hub) = (Arc::clone(&self.engine), Arc::clone(&self.hub));
            self.spawn(Feed::new(engine, hub, Arc::clone(&self.counters)).run());
        }
        let (receiver, delivery) = self.hub.subscribe();
        self.spawn(delivery);
        receiver
    }

    fn follow(&self, targets: BTreeSet<Target>) {
        self.engine.follow(targets);
    }

    fn alive(&self, deadline: Instant) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            let answered = self.engine.ping(deadline).await;
            answered.map_err(|error| error.into_provider(None, "ping"))
        })
    }

    fn check_now(&self) {
        self.engine.doubt.notify_one();
    }

    fn log_tail<'a>(
        &'a self,
        target: &'a Target,
        lines: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<String>, ProviderError>> {
        Box::pin(logs::tail(&self.engine, target, lines, deadline))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.end.cancel();
            self.tasks.close();
            if timeout(SHUTDOWN_MAX, self.tasks.wait()).await.is_err() {
                tracing::error!(tasks = self.tasks.len(), "Gave up on tasks that do not end");
            }
            self.engine.client.forget();
        })
    }
}

/// The deadline over everything, the time between two calls included.
async fn bounded<T>(
    during: &'static str,
    deadline: Instant,
    work: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    timeout_at(deadline, work).await.unwrap_or(Err(ProviderError::Timeout(during)))
}
