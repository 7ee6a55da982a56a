//! HTTP/2 connections to upstreams, with prior knowledge: many requests on each.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::connect::{Unreachable, take_warm};
use super::{Failed, Key, Pool, lock};
use crate::gatekeeper::Upstream;
use crate::http::body::{LeaseHold, RequestBody};
use crate::settings::H2_UPSTREAM_MAX;

/// The connections of one key.
pub(super) struct Group {
    upstream: Weak<Upstream>,
    connections: Mutex<Vec<Connection2>>,
    /// One of those who find no room connects; the others wait for it.
    connecting: Semaphore,
}

#[derive(Clone)]
struct Connection2 {
    sender: SendRequest<RequestBody>,
    load: Arc<Load>,
}

/// How many requests a connection carries.
struct Load {
    streams: AtomicUsize,
    last_used: Mutex<Instant>,
}

/// Room for one request on a connection.
pub(crate) struct Slot {
    sender: SendRequest<RequestBody>,
    turn: Turn,
}

/// Counts one request of a connection until it is dropped.
struct Turn(Arc<Load>);

/// The body of an answer that came over HTTP/2.
pub(crate) struct Stream2 {
    incoming: Incoming,
    _turn: Turn,
    _lease: LeaseHold,
}

/// Requests that one connection carries before another one is opened.
const STREAMS_PER_CONNECTION: usize = 100;
/// How long an upstream may leave a ping unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often an upstream that carries requests is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Flow-control windows: enough for one fast stream on a fast network.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

impl Pool {
    /// Room on a connection, made where there is none.
    pub(crate) async fn slot2(
        &self,
        key: Key,
        upstream: &Arc<Upstream>,
    ) -> Result<Slot, Unreachable> {
        let group = self.group(key, upstream);
        if let Some(slot) = group.slot(STREAMS_PER_CONNECTION) {
            return Ok(slot);
        }
        let turn = group.connecting.acquire().await;
        if let Some(slot) = group.slot(STREAMS_PER_CONNECTION) {
            return Ok(slot);
        }
        if group.is_full()
            && let Some(slot) = group.slot(usize::MAX)
        {
            return Ok(slot);
        }
        let stream = match take_warm(key, upstream) {
            Some(stream) => stream,
            None => self.connect(key).await?,
        };
        let connection = handshake(stream, key, self.tasks()).await?;
        drop(turn);
        let slot = Slot::of(&connection);
        lock(&group.connections).push(connection);
        Ok(slot)
    }

    fn group(&self, key: Key, upstream: &Arc<Upstream>) -> Arc<Group> {
        let mut groups = lock(&self.multiplexed);
        let group = groups.entry(key).or_insert_with(|| {
            Arc::new(Group {
                upstream: Arc::downgrade(upstream),
                connections: Mutex::default(),
                connecting: Semaphore::new(1),
            })
        });
        Arc::clone(group)
    }
}

impl Group {
    pub(super) fn is_worth_keeping(&self, timeout: Duration) -> bool {
        let mut connections = lock(&self.connections);
        connections.retain(|connection| {
            let busy = connection.load.streams.load(Ordering::Relaxed) > 0;
            !connection.sender.is_closed()
                && (busy || lock(&connection.load.last_used).elapsed() < timeout)
        });
        self.upstream.strong_count() > 0 && !connections.is_empty()
    }

    fn slot(&self, streams_max: usize) -> Option<Slot> {
        let mut connections = lock(&self.connections);
        connections.retain(|connection| !connection.sender.is_closed());
        let least =
            connections.iter().min_by_key(|open| open.load.streams.load(Ordering::Relaxed))?;
        (least.load.streams.load(Ordering::Relaxed) < streams_max).then(|| Slot::of(least))
    }

    fn is_full(&self) -> bool {
        lock(&self.connections).len() >= H2_UPSTREAM_MAX
    }
}

impl Slot {
    fn of(connection: &Connection2) -> Self {
        connection.load.streams.fetch_add(1, Ordering::Relaxed);
        Self { sender: connection.sender.clone(), turn: Turn(Arc::clone(&connection.load)) }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        mut self,
        request: Request<RequestBody>,
        lease: LeaseHold,
    ) -> Result<Response<Stream2>, Failed> {
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                let turn = self.turn;
                Ok(response.map(|incoming| Stream2 { incoming, _turn: turn, _lease: lease }))
            }
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failed::Unsent(request),
                None => Failed::Sent(error.into_error()),
            }),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *lock(&self.0.last_used) = Instant::now();
        }
    }
}

impl Stream2 {
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

async fn handshake(
    stream: TcpStream,
    key: Key,
    tasks: &TaskTracker,
) -> Result<Connection2, Unreachable> {
    let (sender, connection) = http2::Builder::new(Tracked(tasks.clone()))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Unreachable::new(key.address, std::io::Error::other(error)))?;
    // Ends when the pool has dropped every sender and the last request is done.
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            debug!(address = %key.address, %error, "Lost an HTTP/2 connection to an upstream");
        }
    });
    let load = Load { streams: AtomicUsize::new(0), last_used: Mutex::new(Instant::now()) };
    Ok(Connection2 { sender, load: Arc::new(load) })
}

/// Spawns hyper's tasks where they are owned.
#[derive(Clone)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
