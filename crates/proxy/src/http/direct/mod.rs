//! The direct way: a request whose head can only be read in one way, that has no body and asks for
//! nothing special, is passed on as bytes, and so is its answer.
//!
//! Nothing is kept of it but its head, and no buffer while anybody waits. Everything else, and
//! whatever cannot be decided here, goes the full way: the connection is handed over with the bytes
//! that were read, as if nobody had looked at them. So the direct way may be narrow, but whatever
//! it takes it must treat as the full way would.

mod answer;
mod body;
mod exchange;
mod forwarded;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
mod own;
mod request;
mod scratch;

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tracing::trace;

use self::request::Plain;
use super::body::RequestBody;
use super::client::{Client, OpenRequest};
use super::hold::{Passed, Unheld, Visitor, Waited, hold};
use crate::gatekeeper::{Admission, Gatekeeper, LeaseKind};
use crate::proxy::Shared;
use crate::rescue::Refusal;
use crate::reserved;
use crate::site::{Scheme, Site};

/// How the direct way ends.
pub(crate) enum Handed {
    /// With the connection.
    Over,
    /// Because of a request that goes the full way, of which this was read.
    Full(Vec<u8>),
}

/// One client connection on the direct way.
struct Way<'a, G: Gatekeeper> {
    shared: &'a Arc<Shared<G>>,
    client: &'a Arc<Client>,
    stream: &'a mut TcpStream,
    /// The client has sent more than a request; behind it nobody can see an end.
    unread: bool,
}

/// A request on the direct way.
struct Visit<G: Gatekeeper> {
    _open: OpenRequest,
    site: Arc<Site<G::Key>>,
    /// Bytes of the path that its route matched.
    prefix: usize,
    message: Message,
}

/// The bytes of a request.
struct Message {
    /// What was received, and behind it what the upstream is sent.
    bytes: Vec<u8>,
    received: usize,
    /// Its answer has no body.
    is_head: bool,
}

/// Whether a request may go on.
type Admitted<G> = Admission<<G as Gatekeeper>::Lease, <G as Gatekeeper>::Wait>;

/// What has arrived from a client.
enum Arrived<G: Gatekeeper> {
    End,
    Plain(Visit<G>, Admitted<G>),
    Other(Vec<u8>),
}

/// What follows a request.
enum Next {
    Request,
    Handed(Handed),
}

/// Serves a connection until it ends, or until a request goes the full way. May be dropped while
/// no request is open.
pub(crate) async fn serve<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    client: &Arc<Client>,
    stream: &mut TcpStream,
) -> Handed {
    let mut way = Way { shared, client, stream, unread: false };
    loop {
        if client.is_draining() {
            return Handed::Over;
        }
        let next = match poll_fn(|context| way.poll_request(context)).await {
            Arrived::End => return Handed::Over,
            Arrived::Other(bytes) => return Handed::Full(bytes),
            Arrived::Plain(visit, Admission::Pass(lease, upstream)) => {
                way.exchange(visit, (lease, upstream), None).await
            }
            Arrived::Plain(visit, Admission::Wait(wait)) => {
                Box::pin(way.hold_and_exchange(visit, wait)).await
            }
            Arrived::Plain(visit, Admission::Denied(denial)) => {
                Box::pin(way.refuse(visit, Refusal::Denied(denial))).await
            }
        };
        if let Next::Handed(handed) = next {
            return handed;
        }
    }
}

/// Whether bytes are a request that goes the direct way.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn takes(bytes: &[u8]) -> bool {
    let mut room = request::room();
    Plain::read(bytes, &mut room, &crate::settings::ProxySettings::default()).is_some()
}

impl<G: Gatekeeper> Way<'_, G> {
    fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Arrived<G>> {
        scratch::with(|scratch| {
            let Ok(amount @ 1..) = ready!(scratch.poll_read_request(self.stream, context)) else {
                return Poll::Ready(Arrived::End);
            };
            let (bytes, out) = scratch.read(amount);
            Poll::Ready(match self.admit(bytes, out) {
                Some((visit, admission)) => Arrived::Plain(visit, admission),
                None => Arrived::Other(bytes.to_vec()),
            })
        })
    }

    /// Reads a request and asks for its admission. `None` where it goes the full way.
    fn admit(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<(Visit<G>, Admitted<G>)> {
        let mut room = request::room();
        let plain = Plain::read(bytes, &mut room, &self.shared.settings)?;
        let (site, prefix) = {
            let sites = self.shared.sites.load();
            let (prefix, site) = sites.lookup_with_prefix(plain.hostname, plain.path())?;
            if site.scheme != Scheme::Http || reserved::page(plain.path(), prefix).is_some() {
                return None;
            }
            (Arc::clone(site), prefix.len())
        };
        let open = self.client.begin();
        self.unread = false;
        trace!(peer = %self.client.peer, path = plain.path(), "Begin a request on the direct way");
        let admission = self.shared.gatekeeper.open(&site.key, LeaseKind::Request);
        plain.write(self.client, out);
        let message = Message {
            bytes: [bytes, out].concat(),
            received: bytes.len(),
            is_head: plain.is_head(),
        };
        Some((Visit { _open: open, site, prefix, message }, admission))
    }

    async fn hold_and_exchange(&mut self, visit: Visit<G>, wait: G::Wait) -> Next {
        if let Some(page) = self.loading_page(&visit) {
            drop(wait);
            return self.tell(visit, page).await;
        }
        let address = self.address(&visit);
        match self.hold(&visit.site, wait, address).await {
            Ok((passed, waited)) => self.exchange(visit, passed, Some(waited)).await,
            Err(Unheld::Refused(refusal)) => self.refuse(visit, refusal).await,
            Err(Unheld::Left) => Next::Handed(Handed::Over),
        }
    }

    /// Waits for the gate, for as long as the client does.
    async fn hold(
        &mut self,
        site: &Site<G::Key>,
        wait: G::Wait,
        address: IpAddr,
    ) -> Result<(Passed<G>, Waited), Unheld> {
        let (shared, client) = (self.shared, self.client);
        let mut body = RequestBody::default();
        let visitor = Visitor { client, address, expects: false, body: &mut body };
        let mut held = Box::pin(hold(shared, site, wait, visitor));
        poll_fn(|context| match held.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending if self.has_left(context) => Poll::Ready(Err(Unheld::Left)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether the client has closed its half of the connection; wakes the task when it does.
    fn has_left(&mut self, context: &mut Context<'_>) -> bool {
        if self.unread {
            return false;
        }
        let mut byte = [0; 1];
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0) | Err(_)) => true,
            Poll::Ready(Ok(_)) => {
                self.unread = true;
                false
            }
            Poll::Pending => false,
        }
    }

    /// Writes to the client; what it does not take at once is added to `rest`.
    fn write_some(
        &mut self,
        bytes: &[u8],
        rest: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match Pin::new(&mut *self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        rest.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}

impl Message {
    /// What the client has sent, for whoever reads it anew.
    fn into_received(mut self) -> Vec<u8> {
        self.bytes.truncate(self.received);
        self.bytes
    }

    fn received(&self) -> &[u8] {
        &self.bytes[..self.received]
    }

    fn outgoing(&self) -> &[u8] {
        &self.bytes[self.received..]
    }
}

impl Next {
    fn full(message: Message) -> Self {
        Self::Handed(Handed::Full(message.into_received()))
    }

    fn over() -> Self {
        Self::Handed(Handed::Over)
    }
}
