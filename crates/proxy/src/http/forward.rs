//! Sends a request to its upstream and takes the head of the answer; sends again only what the
//! upstream cannot have acted on, or may be sent twice.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::body::{Fate, Kind, LeaseHold};
use super::client::Client;
use super::headers::prepare_answer;
use super::outgoing::Outgoing;
use super::upgrade;
use crate::counters::count_one;
use crate::gatekeeper::Upstream;
use crate::pool::{Connection1, Exchange1, Failed, Home, Key, Pool, Unreachable, exchange1};
use crate::rescue::Refusal;

/// Where a request goes, and what keeps it awake.
pub(crate) struct Target {
    key: Key,
    upstream: Arc<Upstream>,
    lease: LeaseHold,
    http2: bool,
}

/// What became of a request.
pub(crate) enum Outcome {
    Answer(Response<Kind>),
    /// There is no connection to the upstream, and nothing was sent.
    Unreached(Box<Outgoing>, Unreachable),
    Refused(Refusal),
}

/// Limits from here on may be late by the time between two looks at a connection.
const ROUGH_LIMIT_MIN: Duration = Duration::from_secs(60);
/// Requests that are sent once more on a connection that nobody has used before.
const RESENDS_MAX: usize = 2;

impl Target {
    /// `None` where the upstream has no such port.
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        port: Option<u16>,
        lease: LeaseHold,
        http2: bool,
    ) -> Option<Self> {
        let address = upstream.address(port)?;
        let key = Key { epoch: upstream.epoch, address };
        Some(Self { key, upstream, lease, http2 })
    }
}

/// Sends a request.
pub(crate) async fn forward(
    pool: &Arc<Pool>,
    client: &Arc<Client>,
    mut request: Box<Outgoing>,
    target: Target,
    on_upgrade: &mut Option<OnUpgrade>,
) -> Outcome {
    request.body.hold(&target.lease);
    if target.http2 {
        Box::pin(forward2(pool, request, target)).await
    } else {
        forward1(pool, client, request, target, on_upgrade).await
    }
}

async fn forward1(
    pool: &Arc<Pool>,
    client: &Arc<Client>,
    mut request: Box<Outgoing>,
    target: Target,
    on_upgrade: &mut Option<OnUpgrade>,
) -> Outcome {
    let upload = request.body.fate();
    let repeatable = upload.is_none() && is_repeatable(&request.parts.method);
    let mut resends = 0;
    loop {
        let connection = connection1(pool, &target, repeatable, resends > 0).await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Outcome::Unreached(request, error),
        };
        let mut spare = None;
        if connection.is_used() && repeatable {
            spare = Some(request.copy_head());
        } else if connection.is_used() {
            connection.ask();
        }
        let exchange = pin!(exchange1(connection, request));
        let failed = match in_time(pool, client, exchange).await {
            Ok(Ok((response, connection))) => {
                let taken = Taken { response, connection, upload };
                if taken.response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return Box::pin(switch(pool, client, taken, target, on_upgrade)).await;
                }
                return answer1(pool, taken, target);
            }
            Ok(Err(failed)) => failed,
            Err(_) => return Outcome::Refused(Refusal::AnswerTimeout),
        };
        // The others of this upstream are most probably as stale as this one.
        pool.retire_idle(target.key);
        resends += 1;
        request = match (failed, spare) {
            (Failed::Unsent(unsent), _) if resends <= RESENDS_MAX => unsent.into(),
            (Failed::Sent(_), Some(spare)) if resends <= RESENDS_MAX => spare,
            (Failed::Unsent(_), _) => {
                return Outcome::Refused(Refusal::Unreachable(
                    std::io::ErrorKind::ConnectionReset.into(),
                ));
            }
            (Failed::Sent(error), _) => return Outcome::Refused(lost(error, upload.as_deref())),
        };
        count_one(&pool.counters().upstream_retries);
    }
}

/// Bounds the wait for an answer. The tasks of HTTP/1 connections wake now and then to be looked
/// at; there neither a timer is armed nor the time read before the first of these looks.
pub(crate) async fn in_time<T>(
    pool: &Pool,
    client: &Client,
    mut exchange: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Elapsed> {
    let limit = pool.settings().answer_timeout;
    if client.is_looked_at() && limit >= ROUGH_LIMIT_MIN {
        let looks = client.looks();
        let quick = poll_fn(|context| match exchange.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if client.looks() == looks => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(answer) = quick.await {
            return Ok(answer);
        }
    }
    timeout(limit, exchange).await
}

/// A connection that may carry the request.
async fn connection1(
    pool: &Pool,
    target: &Target,
    repeatable: bool,
    anew: bool,
) -> Result<Box<Connection1>, Unreachable> {
    if anew {
        return pool.new_connection1(target.key).await;
    }
    let connection = pool.connection1(target.key, &target.upstream).await?;
    if repeatable || connection.is_fresh() {
        return Ok(connection);
    }
    pool.new_connection1(target.key).await
}

/// An answer as it came from an HTTP/1.1 upstream.
struct Taken {
    response: Response<Incoming>,
    connection: Option<Box<Connection1>>,
    upload: Option<Arc<Fate>>,
}

/// The answer is that both ends go on in another protocol.
async fn switch(
    pool: &Arc<Pool>,
    client: &Arc<Client>,
    taken: Taken,
    target: Target,
    on_upgrade: &mut Option<OnUpgrade>,
) -> Outcome {
    let (Some(connection), Some(on_upgrade)) = (taken.connection, on_upgrade.take()) else {
        return Outcome::Refused(Refusal::UnaskedUpgrade);
    };
    let (mut parts, _) = taken.response.into_parts();
    parts.version = http::Version::HTTP_11;
    let held = (target.lease, Arc::clone(pool));
    match upgrade::begin(client, &mut parts, connection, on_upgrade, held).await {
        Ok(()) => Outcome::Answer(Response::from_parts(parts, Kind::Whole(Default::default()))),
        Err(error) => Outcome::Refused(Refusal::Closed(error.into())),
    }
}

fn answer1(pool: &Arc<Pool>, taken: Taken, target: Target) -> Outcome {
    let Taken { response, connection, upload } = taken;
    let (mut parts, incoming) = response.into_parts();
    parts.version = http::Version::HTTP_11;
    prepare_answer(&mut parts.headers);
    let home = Home { pool: Arc::clone(pool), key: target.key, upstream: target.upstream };
    let exchange = Exchange1::new(incoming, connection, upload, home, target.lease);
    Outcome::Answer(Response::from_parts(parts, Kind::Exchange1(Box::new(exchange))))
}

async fn forward2(pool: &Pool, mut request: Box<Outgoing>, target: Target) -> Outcome {
    let upload = request.body.fate();
    let mut resends = 0;
    loop {
        let slot = match pool.slot2(target.key, &target.upstream).await {
            Ok(slot) => slot,
            Err(error) => return Outcome::Unreached(request, error),
        };
        let exchange = slot.exchange(request.into_request(), Arc::clone(&target.lease));
        request = match timeout(pool.settings().answer_timeout, exchange).await {
            Ok(Ok(response)) => {
                let (mut parts, stream) = response.into_parts();
                parts.version = http::Version::HTTP_11;
                prepare_answer(&mut parts.headers);
                let body = Kind::Stream2(Box::new(stream));
                return Outcome::Answer(Response::from_parts(parts, body));
            }
            Ok(Err(Failed::Unsent(unsent))) if resends < RESENDS_MAX => unsent.into(),
            Ok(Err(Failed::Unsent(_))) => {
                let reset = std::io::ErrorKind::ConnectionReset;
                return Outcome::Refused(Refusal::Unreachable(reset.into()));
            }
            Ok(Err(Failed::Sent(error))) => {
                return Outcome::Refused(lost(error, upload.as_deref()));
            }
            Err(_) => return Outcome::Refused(Refusal::AnswerTimeout),
        };
        resends += 1;
        count_one(&pool.counters().upstream_retries);
    }
}

/// Whose fault it is that there is no answer.
fn lost(error: hyper::Error, upload: Option<&Fate>) -> Refusal {
    if upload.is_some_and(Fate::is_broken) {
        Refusal::BodyBroken
    } else if error.is_parse() {
        Refusal::Garbled(error.into())
    } else {
        Refusal::Closed(error.into())
    }
}

/// Whether a request without a body may reach the workload twice (RFC 9110, section 9.2.2).
fn is_repeatable(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE]
        .contains(method)
}
