//! The one connection to the engine's events, and what is made of them: looks, changes, and a
//! listing after every gap.
//!
//! ```text
//! open events ──▶ list ──▶ install ──▶ ┌ event ──▶ look ──▶ change
//!      ▲                               ├ every RESYNC_EVERY: ping, list, look at what differs
//!      └── wait, doubling ◀── lost ◀── └ end, error, no answer to a ping
//! ```
//! The events are opened before the listing, so nothing falls in between; looks wait until the
//! listing is installed, so what they show is newer than it.

mod check;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dormouse_core::backoff::Backoff;
use dormouse_core::limits;
use tokio::time::{Instant, sleep};

use self::session::Session;
use super::client::{BodyStream, Call, CallError, chain};
use super::endpoint::DockerEndpoint;
use super::engine::Engine;
use super::events::{EventTime, Heard};
use super::hub::Hub;

/// A connection that held for this long deserves one quiet attempt at the next.
const HELD: Duration = Duration::from_secs(1);

/// Counts for metrics.
#[derive(Default)]
pub(super) struct FeedCounters {
    pub(super) events: AtomicU64,
    pub(super) lines_skipped: AtomicU64,
    pub(super) listings: AtomicU64,
    pub(super) looks: AtomicU64,
    pub(super) losses: AtomicU64,
}

/// The feed of one engine, for as long as the provider lives.
pub(super) struct Feed {
    engine: Arc<Engine>,
    hub: Arc<Hub>,
    counters: Arc<FeedCounters>,
    /// From where the engine is to replay.
    since: Option<EventTime>,
    heard: Heard,
}

/// Why a connection to the events ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the engine ended its events")]
    Closed,
    #[error("the events miss what happens")]
    Deaf,
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Feed {
    pub(super) fn new(engine: Arc<Engine>, hub: Arc<Hub>, counters: Arc<FeedCounters>) -> Self {
        Self { engine, hub, counters, since: None, heard: Heard::default() }
    }

    /// Follows the engine for ever.
    pub(super) async fn run(mut self) {
        let backoff = self.backoff();
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let (end, was_listed) = self.session().await;
            let held = was_listed && begun.elapsed() >= HELD;
            if held {
                failures = 0;
                if end.is_cut() {
                    tracing::debug!(reason = chain(&end), "Lost the events; resuming");
                    continue;
                }
            }
            failures += 1;
            self.lose(&end);
            sleep(backoff.delay(failures)).await;
        }
    }

    fn backoff(&self) -> Backoff {
        let longest = match self.engine.endpoint() {
            DockerEndpoint::Unix(_) => limits::ENGINE_RETRY_DELAY_LOCAL_MAX,
            DockerEndpoint::Http { .. } | DockerEndpoint::Https { .. } | DockerEndpoint::Ssh(_) => {
                limits::ENGINE_RETRY_DELAY_MAX
            }
        };
        Backoff::doubling(limits::ENGINE_RETRY_DELAY_MIN, longest)
    }

    fn lose(&self, end: &End) {
        let reason = chain(end);
        if self.hub.lose(&reason) {
            self.counters.losses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(endpoint = %self.engine.endpoint(), reason, "Lost the engine");
        }
    }

    /// One connection, until it ends; whether a listing was installed.
    async fn session(&mut self) -> (End, bool) {
        let stream = match self.open().await {
            Ok(stream) => stream,
            Err(error) => return (error.into(), false),
        };
        let mut session = Session::new(self, stream);
        let end = match session.follow().await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        (end, session.is_listed)
    }

    async fn open(&mut self) -> Result<BodyStream, CallError> {
        let client = &self.engine.client;
        client.forget();
        let deadline = Instant::now() + limits::ENGINE_PING_MAX;
        let negotiated = client.negotiated(deadline).await?;
        // Some engines answer before they listen; the replay covers that moment.
        self.since = self.since.or(negotiated.engine_time.map(EventTime::from_secs));
        // {"type":["container"]}
        let mut path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D".to_owned();
        if let Some(since) = self.since {
            path = format!("{path}&since={since}");
        }
        client.stream(&Call::get("events", path), deadline).await
    }
}

impl End {
    /// The connection has ended; nothing says that the engine is not well.
    fn is_cut(&self) -> bool {
        match self {
            Self::Closed | Self::Deaf => true,
            Self::Call(error) => error.is_cut(),
        }
    }
}
