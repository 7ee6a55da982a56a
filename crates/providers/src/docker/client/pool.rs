//! Idle connections, the last used first.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use dormouse_core::limits;
use tokio::time::Instant;

use super::connection::Connection;

/// Connections that wait for the next call.
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
    capacity: usize,
    /// Connections that the other end had closed.
    deaths: AtomicU64,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Keeps up to `capacity`.
    pub(super) fn new(capacity: usize) -> Self {
        Self { idle: Mutex::default(), capacity, deaths: AtomicU64::new(0) }
    }

    /// One that still looks usable.
    pub(super) async fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.pop()?;
            if connection.is_ready().await {
                return Some(connection);
            }
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Connections that were found closed by the other end, so far.
    pub(super) fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn put(&self, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.slots();
        idle.retain(|kept| now.duration_since(kept.since) < limits::ENGINE_IDLE_MAX);
        if idle.len() < self.capacity {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes them all.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut *self.slots());
        drop(closed);
    }

    fn pop(&self) -> Option<Connection> {
        let kept = self.slots().pop()?;
        (kept.since.elapsed() < limits::ENGINE_IDLE_MAX).then_some(kept.connection)
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().expect("nobody panics while it is held")
    }
}
