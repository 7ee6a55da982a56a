//! One client connection: which version it speaks, how long it may idle, when it ends.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::trace;

use super::aside::Aside;
use super::client::{Client, ClientSocket};
use super::outgoing::Outgoing;
use super::serve::answer;
use crate::gatekeeper::Gatekeeper;
use crate::pool::Tracked;
use crate::proxy::Shared;
use crate::settings::ProxySettings;

/// How the client begins, as far as it tells HTTP/2 from everything else.
const HTTP2_BEGINNING: &[u8] = b"PRI ";
/// The longest time between two looks at a connection.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(20);
/// What hyper takes without being told; any other bound makes it allocate for each request.
const HEADER_COUNT_OF_HYPER: usize = 100;
/// How often an HTTP/2 client is pinged, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What a client may send ahead on one stream, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What may wait to be sent on one stream.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Looks at a connection now and then, so that no request arms a timer.
struct Watch<'a> {
    client: &'a Client,
    settings: &'a ProxySettings,
    every: Duration,
    requests_begun: u64,
    idle_since: Instant,
    head_since: Option<Instant>,
    draining: bool,
}

/// What a look found.
enum Verdict {
    Busy,
    /// Nothing has happened since the last look.
    Quiet,
    Expired,
}

/// What a connection's task has to act on.
enum Turn {
    /// Its HTTP has ended.
    Ended,
    Looked(Verdict),
    /// Begin nothing new.
    Drain,
    /// End now.
    Over,
}

/// Serves a connection to its end.
pub(crate) async fn serve<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    mut stream: TcpStream,
    client: &Arc<Client>,
) {
    let begun = tokio::select! {
        begun = timeout(shared.settings.header_timeout, begin(&mut stream)) => begun,
        () = client.ending.draining.cancelled() => return,
    };
    let Ok(Ok(begun)) = begun else { return };
    match begun {
        Beginning::Http1(begun) => {
            let socket = ClientSocket::http1(stream, Arc::clone(client), begun);
            serve_http1(shared, socket, client).await;
        }
        Beginning::Http2(begun) => {
            let socket = ClientSocket::http2(stream, Arc::clone(client), begun);
            serve_http2(shared, socket, client).await;
        }
    }
}

/// What a client begins with, and the bytes of it that were taken from the socket.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    Http1(Vec<u8>),
    Http2(Vec<u8>),
}

/// Looks at the first bytes, and leaves them in the socket where they suffice.
async fn begin(stream: &mut TcpStream) -> io::Result<Beginning> {
    let mut seen = [0; HTTP2_BEGINNING.len()];
    let amount = stream.peek(&mut seen).await?;
    if amount == seen.len() && seen == HTTP2_BEGINNING {
        return Ok(Beginning::Http2(Vec::new()));
    }
    if !HTTP2_BEGINNING.starts_with(&seen[..amount]) {
        return Ok(Beginning::Http1(Vec::new()));
    }
    // A part of the beginning has arrived; a peek would see the same part again at once.
    let mut taken = Vec::with_capacity(seen.len());
    while taken.len() < HTTP2_BEGINNING.len() && HTTP2_BEGINNING.starts_with(&taken) {
        let mut byte = [0; 1];
        if stream.read(&mut byte).await? == 0 {
            break;
        }
        taken.extend_from_slice(&byte);
    }
    Ok(if taken == HTTP2_BEGINNING { Beginning::Http2(taken) } else { Beginning::Http1(taken) })
}

async fn serve_http1<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    socket: ClientSocket,
    client: &Arc<Client>,
) {
    let mut builder = http1::Builder::new();
    if shared.settings.header_count_max != HEADER_COUNT_OF_HYPER {
        builder.max_headers(shared.settings.header_count_max);
    }
    builder
        .max_header_size(shared.settings.header_bytes_max)
        .max_buf_size(shared.settings.body_buffer_bytes.max(shared.settings.header_bytes_max));
    let mut watch = Watch::new(client, &shared.settings);
    let mut io = TokioIo::new(socket);
    loop {
        let service = service_fn(|request| {
            let open = client.begin();
            let request = Outgoing::new(request, &open);
            answer(shared, open, request)
        });
        let mut connection = Box::pin(builder.serve_connection(io, service).with_upgrades());
        loop {
            match watch.turn(connection.as_mut()).await {
                Turn::Looked(Verdict::Quiet) if client.is_flushed() => break,
                Turn::Looked(Verdict::Busy | Verdict::Quiet) => {}
                Turn::Drain => connection.as_mut().graceful_shutdown(),
                Turn::Looked(Verdict::Expired) | Turn::Ended | Turn::Over => return,
            }
        }
        let Some(parts) = Pin::into_inner(connection).into_parts() else { return };
        io = parts.io;
        if !parts.read_buf.is_empty() || !watch.wait_for_client(&io.inner().stream).await {
            return;
        }
    }
}

async fn serve_http2<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    socket: ClientSocket,
    client: &Arc<Client>,
) {
    let mut builder = http2::Builder::new(Tracked(client.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.settings.streams_max)
        .max_header_list_size(u32::try_from(shared.settings.header_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let service = {
        let (shared, client) = (Arc::clone(shared), Arc::clone(client));
        service_fn(move |request| {
            let (shared, open) = (Arc::clone(&shared), client.begin());
            let request = Outgoing::new(request, &open);
            async move { answer(&shared, open, request).await }
        })
    };
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(socket), service));
    let mut watch = Watch::new(client, &shared.settings);
    loop {
        match watch.turn(connection.as_mut()).await {
            Turn::Looked(Verdict::Busy | Verdict::Quiet) => {}
            Turn::Looked(Verdict::Expired) | Turn::Drain => {
                connection.as_mut().graceful_shutdown();
            }
            Turn::Ended | Turn::Over => return,
        }
    }
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client, settings: &'a ProxySettings) -> Self {
        let shortest = settings.header_timeout.min(settings.idle_connection_timeout);
        let every = (shortest / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let idle_since = Instant::now();
        Self {
            client,
            settings,
            every,
            requests_begun: 0,
            idle_since,
            head_since: None,
            draining: false,
        }
    }

    /// Drives a connection until there is something to decide about it.
    async fn turn<C, E>(&mut self, mut connection: Pin<&mut C>) -> Turn
    where
        C: Future<Output = Result<(), E>>,
        E: std::fmt::Display,
    {
        let peer = self.client.peer;
        let mut signal = pin!(self.signal());
        let mut aside = Aside::new(signal.as_mut());
        poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(ended) => {
                if let Err(error) = ended {
                    trace!(%peer, %error, "Lost a client connection");
                }
                Poll::Ready(Turn::Ended)
            }
            Poll::Pending => aside.poll(context),
        })
        .await
    }

    async fn signal(&mut self) -> Turn {
        let ending = &self.client.ending;
        tokio::select! {
            () = ending.over.cancelled() => return Turn::Over,
            () = ending.draining.cancelled(), if !self.draining => {}
            () = sleep(self.every) => return Turn::Looked(self.look()),
        }
        self.draining = true;
        Turn::Drain
    }

    fn look(&mut self) -> Verdict {
        let now = Instant::now();
        self.client.count_look();
        let begun = self.client.requests_begun();
        if !self.client.is_idle() || begun != self.requests_begun {
            self.requests_begun = begun;
            self.idle_since = now;
            self.head_since = None;
            return Verdict::Busy;
        }
        if self.client.is_head_pending() {
            let since = *self.head_since.get_or_insert(now - self.every);
            let late = now - since >= self.settings.header_timeout;
            return if late { Verdict::Expired } else { Verdict::Busy };
        }
        if now - self.idle_since >= self.settings.idle_connection_timeout {
            return Verdict::Expired;
        }
        Verdict::Quiet
    }

    /// Whether the client speaks again before the connection has idled for too long.
    async fn wait_for_client(&mut self, stream: &TcpStream) -> bool {
        let deadline = self.idle_since + self.settings.idle_connection_timeout;
        let speaks = tokio::select! {
            ready = timeout_at(deadline, stream.readable()) => matches!(ready, Ok(Ok(()))),
            () = self.client.ending.draining.cancelled() => false,
        };
        self.head_since = None;
        self.idle_since = Instant::now();
        speaks
    }
}
