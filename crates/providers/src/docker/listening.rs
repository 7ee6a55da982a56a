//! How the engine's events are listened to, by whoever does: opening them from where they were left
//! off, reading them line by line, and trying again.

use std::time::Duration;

use bytes::Bytes;
use dormouse_core::backoff::Backoff;
use dormouse_core::limits;
use tokio::time::Instant;

use super::client::{BodyStream, Call, CallError, Client};
use super::endpoint::DockerEndpoint;
use super::events::{Cursor, EventTime, Lines};

/// A connection that held for this long deserves one quiet attempt at the next.
const HELD: Duration = Duration::from_secs(1);

/// An open connection to the events.
pub(super) struct EventStream {
    body: BodyStream,
    pub(super) lines: Lines,
    opened: Instant,
}

/// Up to when events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// For as long as the connection holds.
    Cut,
    /// What has happened by then.
    Time(EventTime),
}

/// When to try again after a connection has ended or could not be had.
pub(super) struct Retry {
    backoff: Backoff,
    failures: u32,
}

impl EventStream {
    /// Asks for what happens to containers from the cursor on.
    pub(super) async fn open<K: Ord + Clone>(
        client: &Client,
        cursor: &mut Cursor<K>,
        until: Until,
    ) -> Result<Self, CallError> {
        let deadline = Instant::now() + limits::ENGINE_PING_MAX;
        let negotiated = client.negotiated(deadline).await?;
        // Some engines answer before they listen; the replay covers that moment.
        cursor.begin(negotiated.engine_time.map(EventTime::from_secs));
        // {"type":["container"]}
        let mut path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D".to_owned();
        if let Some(since) = cursor.since() {
            path = format!("{path}&since={since}");
        }
        if let Until::Time(until) = until {
            path = format!("{path}&until={until}");
        }
        let body = client.stream(&Call::get("events", path), deadline).await?;
        Ok(Self { body, lines: Lines::default(), opened: Instant::now() })
    }

    /// Waits for more; whether there is any. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> Result<bool, CallError> {
        let piece: Option<Bytes> = self.body.next().await?;
        if let Some(piece) = &piece {
            self.lines.push(piece);
        }
        Ok(piece.is_some())
    }

    /// Whether it held for long enough that its end says nothing bad of the engine.
    pub(super) fn has_held(&self) -> bool {
        self.opened.elapsed() >= HELD
    }
}

impl Retry {
    pub(super) fn new(endpoint: &DockerEndpoint) -> Self {
        let longest = match endpoint {
            DockerEndpoint::Unix(_) => limits::ENGINE_RETRY_DELAY_LOCAL_MAX,
            DockerEndpoint::Http { .. } | DockerEndpoint::Https { .. } | DockerEndpoint::Ssh(_) => {
                limits::ENGINE_RETRY_DELAY_MAX
            }
        };
        Self { backoff: Backoff::doubling(limits::ENGINE_RETRY_DELAY_MIN, longest), failures: 0 }
    }

    /// Things are well.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait this time.
    pub(super) fn delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures)
    }

    /// Failures since things were well.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}
