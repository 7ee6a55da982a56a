//! One client connection as everybody around it shares it: its socket, and what is known of it.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::framing::{Framing, Violation};
use crate::listener::Ending;

/// What the socket, the requests and the connection's own task tell each other.
#[derive(Debug)]
pub(crate) struct Client {
    /// The peer's address.
    pub(crate) peer: SocketAddr,
    /// The peer's address as forwarded headers say it; made once a connection.
    pub(crate) peer_value: HeaderValue,
    /// Whether the peer's forwarded headers are believed.
    pub(crate) trusted: bool,
    /// Owns what outlives the connection's HTTP: upgraded connections and unfinished uploads.
    pub(crate) tasks: TaskTracker,
    /// When those tasks, and streams that would never end, are to end.
    pub(crate) ending: Ending,
    is_http1: AtomicBool,
    /// Nothing new is to begin on this connection.
    draining: AtomicBool,
    /// How often its task was woken to be looked at.
    looks: AtomicU64,
    requests_open: AtomicUsize,
    requests_begun: AtomicU64,
    /// A head has begun to arrive, and its request has not begun.
    head_pending: AtomicBool,
    /// What has been read ends in the midst of a request.
    amidst: AtomicBool,
    /// Bodies of requests that somebody may still read from.
    bodies_open: AtomicUsize,
    /// Nothing that was written waits to be sent.
    flushed: AtomicBool,
    /// A held request wants to know whether the client has left.
    asks_left: AtomicBool,
    left: AtomicBool,
    /// The number of the first request that is not framed correctly; zero for none.
    wrong: AtomicU64,
}

/// The socket of a client, with the bytes that were read to tell HTTP/1 and HTTP/2 apart.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    pub(crate) stream: TcpStream,
    client: Arc<Client>,
    begun: Vec<u8>,
    /// HTTP/1 only.
    framing: Option<Framing>,
}

/// Counts a request as open until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    client: Arc<Client>,
    /// The first request of a connection is 1.
    number: u64,
}

/// Tells whether a request has turned out not to be framed correctly.
#[derive(Debug)]
pub(crate) struct FramingWatch {
    client: Arc<Client>,
    number: u64,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, trusted: bool, tasks: TaskTracker, ending: Ending) -> Self {
        let peer_value = HeaderValue::try_from(peer.ip().to_canonical().to_string())
            .expect("an address is made of visible characters");
        Self {
            peer,
            peer_value,
            trusted,
            tasks,
            ending,
            is_http1: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            requests_open: AtomicUsize::new(0),
            requests_begun: AtomicU64::new(0),
            head_pending: AtomicBool::new(false),
            amidst: AtomicBool::new(false),
            bodies_open: AtomicUsize::new(0),
            flushed: AtomicBool::new(true),
            asks_left: AtomicBool::new(false),
            left: AtomicBool::new(false),
            wrong: AtomicU64::new(0),
        }
    }

    pub(crate) fn begin(self: &Arc<Self>) -> OpenRequest {
        self.head_pending.store(false, Ordering::Relaxed);
        self.requests_open.fetch_add(1, Ordering::Relaxed);
        let number = self.requests_begun.fetch_add(1, Ordering::Relaxed) + 1;
        OpenRequest { client: Arc::clone(self), number }
    }

    /// Whether a request is polled at each look at its connection. So it is with HTTP/1, whose
    /// requests are polled by the connection's own task.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    /// A connection's own task says so, because asking the token costs a lock.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How often the connection has been looked at.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    pub(crate) fn count_look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests_begun(&self) -> u64 {
        self.requests_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.requests_open.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn is_head_pending(&self) -> bool {
        self.head_pending.load(Ordering::Relaxed)
    }

    /// Whether a request has begun since so many had, everything is read and answered, and nothing
    /// is on its way.
    pub(crate) fn is_done_since(&self, begun: u64) -> bool {
        self.requests_begun() > begun
            && self.is_idle()
            && self.bodies_open.load(Ordering::Acquire) == 0
            && self.flushed.load(Ordering::Relaxed)
            && !self.amidst.load(Ordering::Relaxed)
            && !self.is_head_pending()
    }

    /// From now on a connection's own task looks at it now and then.
    pub(crate) fn look_at(&self) {
        self.is_http1.store(true, Ordering::Relaxed);
    }

    /// Asks the socket to look whether the client has left; see [`Client::has_left`].
    pub(crate) fn ask_left(&self) {
        self.asks_left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// hyper may need more bytes before it can hand a request over to be refused, so reading goes
    /// on.
    fn note(&self, violation: Violation) {
        self.wrong.store(violation.0, Ordering::Relaxed);
    }
}

impl OpenRequest {
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Whether this request is not framed correctly, as far as it has arrived.
    pub(crate) fn is_wrong(&self) -> bool {
        self.client.wrong.load(Ordering::Relaxed) == self.number
    }

    /// For as long as somebody may read the request's body.
    pub(crate) fn watch(&self) -> FramingWatch {
        self.client.bodies_open.fetch_add(1, Ordering::Relaxed);
        FramingWatch { client: Arc::clone(&self.client), number: self.number }
    }
}

impl FramingWatch {
    pub(crate) fn is_wrong(&self) -> bool {
        self.client.wrong.load(Ordering::Relaxed) == self.number
    }
}

impl Drop for FramingWatch {
    fn drop(&mut self) {
        self.client.bodies_open.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.client.requests_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClientSocket {
    /// The next bytes begin a request.
    pub(crate) fn http1(stream: TcpStream, client: Arc<Client>, begun: Vec<u8>) -> Self {
        let framing = Some(Framing::after(client.requests_begun()));
        let mut socket = Self { stream, client, begun: Vec::new(), framing };
        socket.follow(&begun);
        socket.put_back(begun);
        socket
    }

    /// Takes back what was read and not used.
    pub(crate) fn put_back(&mut self, unused: Vec<u8>) {
        if !unused.is_empty() {
            self.client.head_pending.store(true, Ordering::Relaxed);
        }
        self.begun = unused;
    }

    /// Whether nothing was taken back.
    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    fn follow(&mut self, arrived: &[u8]) {
        let Some(framing) = &mut self.framing else { return };
        if let Err(violation) = framing.read(arrived) {
            self.client.note(violation);
        }
        self.client.amidst.store(!framing.is_between_requests(), Ordering::Relaxed);
    }

    pub(crate) fn http2(stream: TcpStream, client: Arc<Client>, begun: Vec<u8>) -> Self {
        Self { stream, client, begun, framing: None }
    }

    /// The bare connection, once it is not HTTP any more.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Whether the peer has closed its half, seen without reading: unread bytes do not hide it.
    fn is_closed_by_peer(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match pin!(self.stream.ready(Interest::READABLE)).poll(&mut context) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let amount = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun[..amount]);
            self.begun.drain(..amount);
            if self.begun.is_empty() {
                self.begun = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let this = &mut *self;
        let arrived = &buffer.filled()[before..];
        if !arrived.is_empty() {
            if this.client.is_idle() {
                this.client.head_pending.store(true, Ordering::Relaxed);
            }
            this.follow(arrived);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.client.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.client.flushed.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing left to write, and each time it is polled.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.flushed.store(true, Ordering::Relaxed);
        if self.client.asks_left.swap(false, Ordering::Relaxed) && self.is_closed_by_peer() {
            self.client.left.store(true, Ordering::Relaxed);
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
