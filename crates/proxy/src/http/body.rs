//! The bodies that pass through: a request's on its way up, an answer's on its way down.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::client::{FramingWatch, OpenRequest};
use crate::pool::{Exchange1, Stream2};
use crate::reserved::StoryBody;

/// Keeps a workload awake; the data plane only holds it and lets it go.
pub(crate) type LeaseHold = Arc<dyn Send + Sync>;

/// The body of a request, with what was read of it while it was held.
#[derive(Default)]
pub(crate) struct RequestBody(Option<Box<Streaming>>);

struct Streaming {
    ahead: VecDeque<Frame<Bytes>>,
    ahead_bytes: u64,
    incoming: Incoming,
    framing: FramingWatch,
    fate: Arc<Fate>,
    lease: Option<LeaseHold>,
}

/// Whether the client broke its body off; outlives the body.
#[derive(Debug, Default)]
pub(crate) struct Fate(AtomicBool);

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the client did not send the rest of its body")]
    Cut(#[source] hyper::Error),
    #[error("the body is not framed correctly")]
    Framing,
}

/// The body of an answer, with what must live as long as it does.
pub(crate) struct AnswerBody {
    kind: Kind,
    _request: OpenRequest,
}

/// Where an answer's body comes from.
pub(crate) enum Kind {
    /// From us, at once.
    Whole(Bytes),
    /// From a wake's story.
    Story(Box<StoryBody>),
    /// From an HTTP/1.1 upstream, whose connection is driven here.
    Exchange1(Box<Exchange1>),
    /// From an HTTP/2 upstream.
    Stream2(Box<Stream2>),
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, request: &OpenRequest) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Box::new(Streaming {
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            incoming,
            framing: request.watch(),
            fate: Arc::default(),
            lease: None,
        })))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Holds the lease until the body has been sent or given up.
    pub(crate) fn hold(&mut self, lease: &LeaseHold) {
        if let Some(body) = &mut self.0 {
            body.lease = Some(Arc::clone(lease));
        }
    }

    /// What becomes of the body; absent where there is none.
    pub(crate) fn fate(&self) -> Option<Arc<Fate>> {
        self.0.as_ref().map(|body| Arc::clone(&body.fate))
    }

    /// Bytes that were read ahead.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |body| body.ahead_bytes)
    }

    /// Reads one frame ahead; `None` at the end. An error ends the request.
    pub(crate) fn poll_read_ahead(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<u64, Broken>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match ready!(body.poll_incoming(context)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                body.ahead_bytes += bytes;
                body.ahead.push_back(frame);
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => Poll::Ready(None),
        }
    }
}

impl Streaming {
    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        let frame = match frame {
            _ if self.framing.is_wrong() => Err(Broken::Framing),
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => Err(Broken::Cut(error)),
            None => return Poll::Ready(None),
        };
        if frame.is_err() {
            self.fate.break_off();
        }
        Poll::Ready(Some(frame))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some(frame) = body.ahead.pop_front() {
            body.ahead_bytes -= frame.data_ref().map_or(0, |data| data.len() as u64);
            return Poll::Ready(Some(Ok(frame)));
        }
        body.poll_incoming(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.ahead.is_empty() && body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.0 else {
            return SizeHint::with_exact(0);
        };
        let rest = body.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + body.ahead_bytes);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + body.ahead_bytes);
        }
        hint
    }
}

impl Fate {
    /// The client did not send it to its end.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl AnswerBody {
    pub(crate) fn new(kind: Kind, request: OpenRequest) -> Self {
        Self { kind, _request: request }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Story(story) => {
                story.poll_bytes(context).map(|bytes| Some(Ok(Frame::data(bytes?))))
            }
            Kind::Exchange1(exchange) => exchange.poll_frame(context),
            Kind::Stream2(stream) => stream.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Story(_) => false,
            Kind::Exchange1(exchange) => exchange.is_end_stream(),
            Kind::Stream2(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Story(_) => SizeHint::new(),
            Kind::Exchange1(exchange) => exchange.size_hint(),
            Kind::Stream2(stream) => stream.size_hint(),
        }
    }
}
