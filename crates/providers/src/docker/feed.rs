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

use tokio::time::timeout;

use self::session::Session;
use super::client::{CallError, chain};
use super::engine::Engine;
use super::events::{Action, Cursor, EventTime};
use super::hub::Hub;
use super::listening::{EventStream, Retry, Until};

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
    cursor: Cursor<(EventTime, String, Action)>,
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
        Self { engine, hub, counters, cursor: Cursor::default() }
    }

    /// Follows the engine for ever.
    pub(super) async fn run(mut self) {
        let mut retry = Retry::new(self.engine.endpoint());
        loop {
            let (end, has_held) = self.session().await;
            if has_held {
                retry.reset();
                if end.is_cut() {
                    tracing::debug!(reason = chain(&end), "Lost the events; resuming");
                    continue;
                }
            }
            self.lose(&end);
            // Whoever has seen it answer need not wait for the next attempt.
            let _ = timeout(retry.delay(), self.engine.doubt.notified()).await;
        }
    }

    fn lose(&self, end: &End) {
        let reason = chain(end);
        if self.hub.lose(&reason) {
            self.counters.losses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(endpoint = %self.engine.endpoint(), reason, "Lost the engine");
        }
    }

    /// One connection, until it ends; whether it had held, a listing being installed.
    async fn session(&mut self) -> (End, bool) {
        // It may be another engine by now.
        self.engine.client.forget();
        let opened = EventStream::open(&self.engine.client, &mut self.cursor, Until::Cut).await;
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => return (error.into(), false),
        };
        let mut session = Session::new(self, stream);
        let end = match session.follow().await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        (end, session.has_held())
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
