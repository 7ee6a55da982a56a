//! Connects to an upstream, with few attempts at once: a workload that has just woken has a short
//! listen backlog, and thousands may have waited for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::http1::Connection1;
use super::socket::has_ended;
use super::{Key, Pool, lock};
use crate::counters::count_one;
use crate::gatekeeper::Upstream;
use crate::settings::CONNECTING_MAX;
use crate::workers::move_here;

/// No connection could be made, and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {address}")]
pub(crate) struct Unreachable {
    address: SocketAddr,
    #[source]
    pub(crate) source: io::Error,
}

/// Who may connect to one upstream address.
pub(super) struct Queue(pub(super) Semaphore);

/// How long to wait for file descriptors or ports of our own to become free again.
const EXHAUSTED_DELAY: Duration = Duration::from_millis(20);

impl Pool {
    /// An HTTP/1.1 connection: one that is idle, the one that proved readiness, or a new one.
    pub(crate) async fn connection1(
        &self,
        key: Key,
        upstream: &Upstream,
    ) -> Result<Box<Connection1>, Unreachable> {
        match self.take_idle(key) {
            Some(connection) => Ok(connection),
            // Boxed: every request that is under way would keep room for it.
            None => Box::pin(self.first_connection1(key, upstream)).await,
        }
    }

    async fn first_connection1(
        &self,
        key: Key,
        upstream: &Upstream,
    ) -> Result<Box<Connection1>, Unreachable> {
        if let Some(stream) = take_warm(key, upstream) {
            return Ok(Connection1::warm(stream, self.settings()).await);
        }
        let queue = self.queue(key);
        let turn = timeout_at(self.deadline(), queue.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(unreachable_in_time(key));
        };
        // Somebody may have finished while we waited for our turn.
        if let Some(connection) = self.take_idle(key) {
            return Ok(connection);
        }
        self.new_connection1(key).await
    }

    /// A connection that nobody has used.
    pub(crate) async fn new_connection1(&self, key: Key) -> Result<Box<Connection1>, Unreachable> {
        let stream = Box::pin(self.connect(key)).await?;
        Ok(Connection1::new(stream, self.settings()).await)
    }

    /// A connection for whoever speaks something else than HTTP: the one that has proved readiness,
    /// where `warm` has it and it is still open, or a new one.
    pub(crate) async fn raw(
        &self,
        key: Key,
        warm: Option<&Upstream>,
    ) -> Result<TcpStream, Unreachable> {
        let warm = warm.and_then(|upstream| take_warm(key, upstream)).filter(|it| !has_ended(it));
        if let Some(stream) = warm {
            stream.set_nodelay(true).ok();
            return Ok(stream);
        }
        let queue = self.queue(key);
        let turn = timeout_at(self.deadline(), queue.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(unreachable_in_time(key));
        };
        self.connect(key).await
    }

    pub(super) async fn connect(&self, key: Key) -> Result<TcpStream, Unreachable> {
        let deadline = self.deadline();
        count_one(&self.counters().upstream_connects);
        loop {
            match timeout_at(deadline, TcpStream::connect(key.address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).ok();
                    return Ok(stream);
                }
                Ok(Err(source)) if !is_exhaustion(&source) => {
                    return Err(Unreachable { address: key.address, source });
                }
                Ok(Err(_)) if Instant::now() < deadline => sleep(EXHAUSTED_DELAY).await,
                Ok(Err(source)) => {
                    return Err(Unreachable { address: key.address, source });
                }
                Err(_) => return Err(unreachable_in_time(key)),
            }
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.settings().connect_timeout
    }

    pub(super) fn queue(&self, key: Key) -> Arc<Queue> {
        let mut queues = lock(&self.connecting);
        let queue =
            queues.entry(key).or_insert_with(|| Arc::new(Queue(Semaphore::new(CONNECTING_MAX))));
        Arc::clone(queue)
    }
}

impl Unreachable {
    pub(super) fn new(address: SocketAddr, source: io::Error) -> Self {
        Self { address, source }
    }
}

pub(super) fn unreachable_in_time(key: Key) -> Unreachable {
    Unreachable { address: key.address, source: io::ErrorKind::TimedOut.into() }
}

pub(super) fn take_warm(key: Key, upstream: &Upstream) -> Option<TcpStream> {
    if upstream.address(None) != Some(key.address) {
        return None;
    }
    // It was made where readiness is proven.
    let stream = lock(&upstream.warm).take()?;
    move_here(stream).ok()
}

/// Whether it is us who have run out of something.
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    Errno::from_io_error(error).is_some_and(|errno| {
        [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM]
            .contains(&errno)
    })
}
