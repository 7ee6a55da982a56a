//! One client connection: which version it speaks, how long it may idle, when it ends.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
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
use super::direct::{self, Handed};
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
    client: &'a Arc<Client>,
    settings: &'a ProxySettings,
    every: Duration,
    requests_begun: u64,
    idle_since: Instant,
    head_since: Option<Instant>,
}

/// What a look found.
enum Verdict {
    Busy,
    /// Nothing has happened since the last look.
    Quiet,
    Expired,
}

/// What a connection's task has to act on.
enum Turn<T> {
    /// Its HTTP has ended, or this way of it.
    Ended(T),
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
            serve_http1(shared, stream, client, begun).await;
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

/// Goes the direct way for as long as it can, and back to it after what went the full way.
async fn serve_http1<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    mut stream: TcpStream,
    client: &Arc<Client>,
    mut begun: Vec<u8>,
) {
    client.look_at();
    let mut watch = Watch::new(client, &shared.settings);
    loop {
        if begun.is_empty() {
            match serve_directly(shared, &mut stream, &mut watch).await {
                Handed::Over => return,
                Handed::Full(bytes) => begun = bytes,
            }
        }
        let socket = ClientSocket::http1(stream, Arc::clone(client), std::mem::take(&mut begun));
        match serve_fully(shared, socket, &mut watch).await {
            Some(back) => stream = back,
            None => return,
        }
    }
}

async fn serve_directly<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    stream: &mut TcpStream,
    watch: &mut Watch<'_>,
) -> Handed {
    let client = watch.client;
    loop {
        let mut way = Box::pin(direct::serve(shared, client, stream));
        loop {
            match watch.turn(|context| way.as_mut().poll(context)).await {
                Turn::Ended(handed) => return handed,
                Turn::Looked(Verdict::Quiet) => break,
                Turn::Looked(Verdict::Busy) => {}
                Turn::Drain if !client.is_idle() => {}
                Turn::Drain | Turn::Looked(Verdict::Expired) | Turn::Over => return Handed::Over,
            }
        }
        drop(way);
        if !watch.wait_for_client(stream).await {
            return Handed::Over;
        }
    }
}

/// Serves what the direct way does not take, until nothing of it is left.
async fn serve_fully<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    mut socket: ClientSocket,
    watch: &mut Watch<'_>,
) -> Option<TcpStream> {
    let client = watch.client;
    let builder = http1_builder(&shared.settings, client);
    loop {
        let service = service_fn(|request| {
            let open = client.begin();
            let request = Outgoing::new(request, &open);
            answer(shared, open, request)
        });
        let begun = client.requests_begun();
        let io = TokioIo::new(socket);
        let mut connection = Box::pin(builder.serve_connection(io, service).with_upgrades());
        loop {
            let turn = watch.turn(|context| match connection.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if client.is_done_since(begun) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match turn.await {
                Turn::Ended(None) => break,
                Turn::Ended(Some(ended)) => {
                    note_end(client, ended);
                    return None;
                }
                Turn::Looked(Verdict::Busy | Verdict::Quiet) => {}
                Turn::Drain => connection.as_mut().graceful_shutdown(),
                Turn::Looked(Verdict::Expired) | Turn::Over => return None,
            }
        }
        let parts = Pin::into_inner(connection).into_parts()?;
        socket = parts.io.into_inner();
        socket.put_back(parts.read_buf.into());
        if socket.is_empty() {
            return Some(socket.into_stream());
        }
    }
}

fn http1_builder(settings: &ProxySettings, client: &Client) -> http1::Builder {
    let mut builder = http1::Builder::new();
    if settings.header_count_max != HEADER_COUNT_OF_HYPER {
        builder.max_headers(settings.header_count_max);
    }
    builder
        .keep_alive(!client.is_draining())
        .max_header_size(settings.header_bytes_max)
        .max_buf_size(settings.body_buffer_bytes.max(settings.header_bytes_max));
    builder
}

fn note_end(client: &Client, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        trace!(peer = %client.peer, %error, "Lost a client connection");
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
        match watch.turn(|context| connection.as_mut().poll(context)).await {
            Turn::Looked(Verdict::Busy | Verdict::Quiet) => {}
            Turn::Looked(Verdict::Expired) | Turn::Drain => {
                connection.as_mut().graceful_shutdown();
            }
            Turn::Ended(ended) => return note_end(client, ended),
            Turn::Over => return,
        }
    }
}

impl<'a> Watch<'a> {
    fn new(client: &'a Arc<Client>, settings: &'a ProxySettings) -> Self {
        let shortest = settings.header_timeout.min(settings.idle_connection_timeout);
        let every = (shortest / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let idle_since = Instant::now();
        Self { client, settings, every, requests_begun: 0, idle_since, head_since: None }
    }

    /// Drives a connection until there is something to decide about it.
    async fn turn<T>(
        &mut self,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Turn<T> {
        let mut signal = pin!(self.signal());
        let mut aside = Aside::new(signal.as_mut());
        poll_fn(|context| match connection(context) {
            Poll::Ready(ended) => Poll::Ready(Turn::Ended(ended)),
            Poll::Pending => aside.poll(context),
        })
        .await
    }

    async fn signal<T>(&mut self) -> Turn<T> {
        let ending = &self.client.ending;
        tokio::select! {
            () = ending.over.cancelled() => return Turn::Over,
            () = ending.draining.cancelled(), if !self.client.is_draining() => {}
            () = sleep(self.every) => return Turn::Looked(self.look()),
        }
        self.client.drain();
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
