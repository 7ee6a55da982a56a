//! Connections to upstreams that carry bytes, without a parser of ours: for the direct way.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::connect::{Unreachable, take_warm, unreachable_in_time};
use super::{Key, Pool};
use crate::gatekeeper::Upstream;
use crate::workers::{Home, move_here};

/// A connection on which no request is open.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) stream: TcpStream,
    used: bool,
    idle_since: Instant,
    home: Home,
}

impl Bare {
    fn new(stream: TcpStream, used: bool) -> Self {
        Self { stream, used, idle_since: Instant::now(), home: Home::here() }
    }

    /// The same connection on the event loop of this thread. `None` where it is lost on the way.
    fn moved_here(mut self) -> Option<Self> {
        if self.home.is_elsewhere() {
            self.stream = move_here(self.stream).ok()?;
            self.home = Home::here();
        }
        Some(self)
    }

    /// Whether it was open for a while, so that its upstream may just be closing it.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Whether its upstream has neither closed it nor said anything that nobody asked for, as far
    /// as the runtime knows.
    fn is_quiet(&self, context: &mut Context<'_>) -> bool {
        let mut byte = [0; 1];
        self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.idle_since.elapsed() >= time
    }
}

impl Pool {
    /// A connection that was used before, the most recent one first.
    pub(crate) fn take_bare(&self, key: Key, context: &mut Context<'_>) -> Option<Bare> {
        loop {
            let connection = self.find_idle(key, |idle| idle.bare.pop())?;
            if connection.is_quiet(context)
                && let Some(connection) = connection.moved_here()
            {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, where its upstream may still get one.
    pub(crate) fn put_bare(&self, key: Key, upstream: &Arc<Upstream>, connection: Bare) {
        let connection = Bare { used: true, idle_since: Instant::now(), ..connection };
        self.keep_idle(key, upstream, |idle| &mut idle.bare, connection);
    }

    /// A connection where none is idle: the one that proved readiness, or a new one.
    pub(crate) async fn first_bare(
        &self,
        key: Key,
        upstream: &Upstream,
    ) -> Result<Bare, Unreachable> {
        if let Some(stream) = take_warm(key, upstream) {
            stream.set_nodelay(true).ok();
            return Ok(Bare::new(stream, true));
        }
        let queue = self.queue(key);
        let turn = timeout_at(self.deadline(), queue.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(unreachable_in_time(key));
        };
        // Somebody may have finished while we waited for our turn.
        match poll_fn(|context| Poll::Ready(self.take_bare(key, context))).await {
            Some(connection) => Ok(connection),
            None => Ok(Bare::new(self.connect(key).await?, false)),
        }
    }
}
