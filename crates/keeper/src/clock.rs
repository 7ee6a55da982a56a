//! The keeper's clock: timestamps since its start, and their place on the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_core::Timestamp;
use tokio::time::Instant;

/// Translates between the monotonic clock, the core's timestamps and Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix_ms: u64,
}

impl Clock {
    /// A clock whose timestamps count from now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self { origin: Instant::now(), origin_unix_ms }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The timestamp of an instant; zero for one before the origin.
    pub fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::ZERO + instant.saturating_duration_since(self.origin)
    }

    /// The instant of a timestamp.
    pub fn instant(&self, at: Timestamp) -> Instant {
        // A century ahead is as good as for ever, and cannot overflow an instant.
        let ahead = at.since(Timestamp::ZERO).min(Duration::from_secs(100 * 365 * 86_400));
        self.origin + ahead
    }

    /// Milliseconds since the Unix epoch at a timestamp, as if the wall clock had never been set.
    pub fn unix_ms(&self, at: Timestamp) -> u64 {
        self.origin_unix_ms.saturating_add(at.as_millis())
    }

    /// The timestamp of a Unix time; zero for one before the origin.
    pub fn from_unix_ms(&self, unix_ms: u64) -> Timestamp {
        Timestamp::from_millis(unix_ms.saturating_sub(self.origin_unix_ms))
    }
}
