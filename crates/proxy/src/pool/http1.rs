//! One HTTP/1.1 connection to an upstream, driven inside the task of the request that uses it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::rounds::Rounds;
use super::socket::UpstreamSocket;
use super::{Key, Pool};
use crate::gatekeeper::Upstream;
use crate::http::body::{Fate, LeaseHold, RequestBody};
use crate::http::outgoing::Outgoing;
use crate::settings::{FRESH, ProxySettings};

/// A connection; nobody polls it while it is idle.
pub(crate) struct Connection1 {
    sender: SendRequest<RequestBody>,
    driver: Connection<TokioIo<UpstreamSocket>, RequestBody>,
    /// Makes the socket ask the kernel, at its next read, whether the upstream has closed it.
    asks: Arc<AtomicBool>,
    /// Keeps what its parts tell each other from waking the whole task.
    rounds: Rounds,
    used: bool,
    pub(super) idle_since: Instant,
}

/// The body of an answer, and the connection that it comes from.
pub(crate) struct Exchange1 {
    incoming: Incoming,
    /// Absent once it has failed.
    connection: Option<Box<Connection1>>,
    /// Absent where the request has no body.
    upload: Option<Arc<Fate>>,
    home: Home,
    lease: LeaseHold,
}

/// Where a connection goes back to.
pub(crate) struct Home {
    pub(crate) pool: Arc<Pool>,
    pub(crate) key: Key,
    pub(crate) upstream: Arc<Upstream>,
}

/// A request that has no answer.
pub(crate) enum Failed {
    /// Nothing of it was written.
    Unsent(Request<RequestBody>),
    /// It was written, at least in part.
    Sent(hyper::Error),
}

/// The raw connection to an upstream that has agreed to another protocol.
pub(crate) struct UpgradedUpstream {
    pub(crate) stream: TcpStream,
    /// What it has sent already.
    pub(crate) begun: Bytes,
}

impl Connection1 {
    pub(super) async fn new(stream: TcpStream, settings: &ProxySettings) -> Box<Self> {
        Self::handshake(stream, settings, false).await
    }

    /// From a connection that has been open for a while.
    pub(super) async fn warm(stream: TcpStream, settings: &ProxySettings) -> Box<Self> {
        stream.set_nodelay(true).ok();
        Self::handshake(stream, settings, true).await
    }

    async fn handshake(stream: TcpStream, settings: &ProxySettings, used: bool) -> Box<Self> {
        let asks = Arc::new(AtomicBool::new(false));
        let socket = TokioIo::new(UpstreamSocket::new(stream, Arc::clone(&asks)));
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(settings.body_buffer_bytes)
            .handshake(socket)
            .await
            .expect("an HTTP/1.1 handshake sends nothing");
        let rounds = Rounds::new();
        Box::new(Self { sender, driver, asks, rounds, used, idle_since: Instant::now() })
    }

    /// Whether it was used before, so that its upstream may just be closing it.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Whether it is so unlikely to be closed just now that it may carry what must not be
    /// repeated.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.used || self.idle_since.elapsed() < FRESH
    }

    /// Makes sure, before anything is written, that the upstream has not closed the connection.
    pub(crate) fn ask(&self) {
        self.asks.store(true, Ordering::Relaxed);
    }

    fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.driver.poll_without_shutdown(context).map(drop)
    }

    /// Takes the last step of an exchange, after which the connection is ready for the next one
    /// and wakes nobody. `false` when it has ended.
    fn settle(&mut self) -> bool {
        let Self { driver, rounds, .. } = self;
        rounds.poll_alone(|context| driver.poll_without_shutdown(context)).is_pending()
    }

    /// Takes the raw connection after a 101.
    pub(crate) async fn upgrade(mut self: Box<Self>) -> io::Result<UpgradedUpstream> {
        poll_fn(|context| self.driver.poll_without_shutdown(context))
            .await
            .map_err(io::Error::other)?;
        let parts = self.driver.into_parts();
        let stream = parts.io.into_inner().into_stream()?;
        Ok(UpgradedUpstream { stream, begun: parts.read_buf })
    }
}

/// Sends a request and waits for the head of its answer.
pub(crate) async fn exchange1(
    mut connection: Box<Connection1>,
    request: Box<Outgoing>,
) -> Result<(Response<Incoming>, Option<Box<Connection1>>), Failed> {
    connection.used = true;
    let mut sent = pin!(connection.sender.try_send_request(request.into_request()));
    let mut connection = Some(connection);
    let answer = poll_fn(|context| {
        let Some(Connection1 { driver, rounds, .. }) = connection.as_deref_mut() else {
            return sent.as_mut().poll(context);
        };
        let answer = ready!(rounds.poll(context, |context| {
            let over = driver.poll_without_shutdown(context).is_ready();
            match sent.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if over => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        }));
        if let Some(answer) = answer {
            return Poll::Ready(answer);
        }
        // Only when it is gone does hyper hand an unsent request back. After a 101 it is over as
        // well, but then the answer was there.
        connection = None;
        sent.as_mut().poll(context)
    })
    .await;
    match answer {
        Ok(response) => Ok((response, connection)),
        Err(mut error) => Err(match error.take_message() {
            Some(request) => Failed::Unsent(request),
            None => Failed::Sent(error.into_error()),
        }),
    }
}

impl Exchange1 {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Option<Box<Connection1>>,
        upload: Option<Arc<Fate>>,
        home: Home,
        lease: LeaseHold,
    ) -> Self {
        Self { incoming, connection, upload, home, lease }
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut incoming = Pin::new(&mut self.incoming);
        let frame = match self.connection.as_deref_mut() {
            Some(Connection1 { driver, rounds, .. }) => {
                let mut over = false;
                let frame = rounds.poll(context, |context| {
                    // What has been read already is taken without another step.
                    let frame = incoming.as_mut().poll_frame(context);
                    if frame.is_ready() || over {
                        return frame;
                    }
                    over = driver.poll_without_shutdown(context).is_ready();
                    incoming.as_mut().poll_frame(context)
                });
                if over {
                    self.connection = None;
                }
                ready!(frame)
            }
            None => ready!(incoming.poll_frame(context)),
        };
        if frame.is_none() {
            self.release();
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// Gives the connection back, or lets it finish the upload that its answer did not wait for.
    fn release(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !connection.settle() {
            return;
        }
        let Home { pool, key, upstream } = &self.home;
        if connection.sender.is_ready() {
            pool.put_idle(*key, upstream, connection);
        } else if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            let lease = Arc::clone(&self.lease);
            pool.spawn_on(&runtime, finish_upload(connection, upload, lease));
        }
    }
}

impl Drop for Exchange1 {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}

/// The client's connection bounds this: its body ends or breaks, at the latest with the
/// connection.
async fn finish_upload(mut connection: Box<Connection1>, upload: Arc<Fate>, _lease: LeaseHold) {
    poll_fn(|context| {
        let driven = connection.poll_drive(context);
        if driven.is_ready() || connection.sender.is_ready() || upload.is_broken() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
