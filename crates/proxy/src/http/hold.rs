//! Holds a request while its workload wakes: nothing is written to the client, and of its body no
//! more is read than it takes to notice that it has left.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::time::{Interval, interval_at};

use super::body::RequestBody;
use super::client::Client;
use crate::counters::{Gauge, count_one};
use crate::gatekeeper::{Gatekeeper, Upstream, WaitOutcome};
use crate::proxy::Shared;
use crate::rescue::Refusal;
use crate::settings::{LEFT_CHECK_EVERY, READ_AHEAD_MAX};
use crate::site::Site;
use crate::waiting::{Full, Place};

static WAKE: HeaderName = HeaderName::from_static("x-dormouse-wake");
static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A request that may have to wait.
pub(crate) struct Visitor<'a> {
    pub(crate) client: &'a Client,
    /// The client's own address, behind trusted proxies.
    pub(crate) address: std::net::IpAddr,
    /// Whether it waits for a 100 before it sends its body.
    pub(crate) expects: bool,
    pub(crate) body: &'a mut RequestBody,
}

/// That a request was held, for the headers of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    began: bool,
    since: Instant,
    took: Duration,
}

/// Why a held request does not go on.
pub(crate) enum Unheld {
    /// It is refused.
    Refused(Refusal),
    /// Nobody is there to be answered.
    Left,
}

/// What a gatekeeper lets through.
pub(crate) type Passed<G> = (<G as Gatekeeper>::Lease, Arc<Upstream>);

/// Waits for the gate. Dropping this leaves the waiting room.
pub(crate) async fn hold<G: Gatekeeper>(
    shared: &Shared<G>,
    site: &Site<G::Key>,
    wait: G::Wait,
    visitor: Visitor<'_>,
) -> Result<(Passed<G>, Waited), Unheld> {
    let since = Instant::now();
    let place = shared.rooms.enter(&site.workload, &site.held, visitor.address);
    let place = place.map_err(|full| {
        let rejected = &shared.counters.held_rejected;
        count_one(match full {
            Full::Requests => &rejected.requests,
            Full::PerClient => &rejected.per_client,
        });
        Unheld::Refused(Refusal::RoomFull(full))
    })?;
    let _held = Gauge::raise(&shared.counters.held);
    let began = shared.gatekeeper.began(&wait).unwrap_or_else(|| place.is_first());
    let mut ahead = ReadAhead::new(visitor, place);
    let mut wait = pin!(wait);
    let outcome = poll_fn(|context| {
        if let Poll::Ready(outcome) = wait.as_mut().poll(context) {
            return Poll::Ready(Ok(outcome));
        }
        ahead.poll(context).map(Err)
    });
    match outcome.await {
        Ok(WaitOutcome::Pass(lease, upstream)) => {
            Ok(((lease, upstream), Waited { began, since, took: since.elapsed() }))
        }
        Ok(WaitOutcome::Denied(denial)) => Err(Unheld::Refused(Refusal::Denied(denial))),
        Err(unheld) => {
            if matches!(unheld, Unheld::Left) {
                count_one(&shared.counters.held_left);
            }
            Err(unheld)
        }
    }
}

impl Waited {
    /// Says in an answer that it was held, by what, and for how long.
    pub(crate) fn note(self, headers: &mut HeaderMap) {
        headers.insert(&WAKE, HeaderValue::from_static(self.cause()));
        if let Ok(timing) = HeaderValue::try_from(self.timing()) {
            headers.append(&SERVER_TIMING, timing);
        }
    }

    /// The same as lines of a head.
    pub(crate) fn lines(self) -> String {
        let (cause, timing) = (self.cause(), self.timing());
        format!("{WAKE}: {cause}\r\n{SERVER_TIMING}: {timing}\r\n")
    }

    fn cause(self) -> &'static str {
        if self.began { "cold" } else { "joined" }
    }

    fn timing(self) -> String {
        format!("wake;dur={:.1}", self.took.as_secs_f64() * 1e3)
    }

    /// This wait and a later one of the same request.
    pub(crate) fn and(self, later: Self) -> Self {
        Self { took: later.since + later.took - self.since, ..self }
    }
}

/// Watches a client that waits. A connection whose request is complete is watched by hyper; one
/// whose body is still to come is read ahead a little, and looked at now and then.
struct ReadAhead<'a> {
    visitor: Visitor<'a>,
    place: Place,
    reads: bool,
    complete: bool,
    /// Absent until it is needed.
    look: Option<Interval>,
}

impl<'a> ReadAhead<'a> {
    fn new(visitor: Visitor<'a>, place: Place) -> Self {
        let complete = visitor.body.is_empty();
        let reads = !complete && !visitor.expects && place.may_read();
        Self { visitor, place, reads, complete, look: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Unheld> {
        while self.reads {
            match self.visitor.body.poll_read_ahead(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.reads = self.place.add_bytes(bytes)
                        && self.visitor.body.ahead_bytes() < READ_AHEAD_MAX as u64;
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Unheld::Refused(Refusal::BodyBroken));
                }
                Poll::Ready(None) => {
                    self.complete = true;
                    self.reads = false;
                }
                Poll::Pending => break,
            }
        }
        if self.complete || self.reads {
            return Poll::Pending;
        }
        if self.visitor.client.has_left() {
            return Poll::Ready(Unheld::Left);
        }
        let look = self.look.get_or_insert_with(|| {
            interval_at(tokio::time::Instant::now() + LEFT_CHECK_EVERY, LEFT_CHECK_EVERY)
        });
        while look.poll_tick(context).is_ready() {
            self.visitor.client.ask_left();
        }
        Poll::Pending
    }
}
