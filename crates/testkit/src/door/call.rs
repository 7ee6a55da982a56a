//! One call: passed on to the engine, its answer passed back, and what a rule does to either.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Inside;
use super::lines;
use super::rule::{Fault, Passing, Subject};
use crate::engine::Call;

/// The bytes of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// The longest body that is read whole, to be sent twice or cut in the middle.
const BODY_MAX: usize = 16 << 20;
/// How long an answer waits for another one to overtake it.
const OVERTAKEN_MAX: Duration = Duration::from_secs(1);
/// How long the bytes before a cut may take to leave.
const CUT_DELAY: Duration = Duration::from_millis(5);

/// The body of an answer, and the connection that it comes from.
pub(super) struct PassedOn {
    pub(super) body: Incoming,
    _connection: JoinSet<()>,
}

/// Passes one call on, or does what a rule says.
pub(super) async fn pass(
    inside: Arc<Inside>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let call = call_of(&request);
    let (op, container) = (call.op.clone(), call.container.clone().unwrap_or_default());
    let index = inside.calls.arrived(call);
    let mut held = inside.held.subscribe();
    held.wait_for(|held| !held.contains(&op)).await.map_err(io::Error::other)?;
    let mark = u64::try_from(index).unwrap_or(u64::MAX);
    let containers = [container.as_str(), container.as_str()];
    let fault = inside.rules.hit(&Passing { subject: Subject::Call, word: &op, containers, mark });
    let response = spoil(&inside, request, fault).await?;
    inside.calls.answered(index, response.status().as_u16());
    inside.answers.send_modify(|answers| *answers += 1);
    Ok(response)
}

async fn spoil(
    inside: &Arc<Inside>,
    request: Request<Incoming>,
    fault: Option<Fault>,
) -> io::Result<Response<Body>> {
    let Some(fault) = fault else { return pass_on(inside, request).await };
    match fault {
        Fault::Delay(delay) => {
            sleep(delay).await;
            pass_on(inside, request).await
        }
        Fault::AnswerLate(delay) => {
            let response = pass_on(inside, request).await;
            sleep(delay).await;
            response
        }
        Fault::Hang => pending().await,
        Fault::HangAfterDeed => {
            let _unanswered = pass_on(inside, request).await?;
            pending().await
        }
        Fault::Drop => Err(io::Error::other("dropped")),
        Fault::DropAfterDeed => {
            let _lost = pass_on(inside, request).await?;
            Err(io::Error::other("dropped after the deed"))
        }
        Fault::Twice => pass_on_twice(inside, request).await,
        Fault::Overtaken => {
            let mut answers = inside.answers.subscribe();
            answers.mark_unchanged();
            let response = pass_on(inside, request).await;
            // Nobody else may be there.
            let _ = timeout(OVERTAKEN_MAX, answers.changed()).await;
            response
        }
        Fault::Truncate => truncated(pass_on(inside, request).await?).await,
        Fault::Answer { status, body } => answer(status, body),
        Fault::AnswerAfterDeed { status, body } => {
            let _hidden = pass_on(inside, request).await?;
            answer(status, body)
        }
    }
}

async fn pass_on(inside: &Arc<Inside>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let is_stream = request.uri().path().ends_with("/events");
    let response = ask(inside, request).await?;
    if is_stream && response.status().is_success() {
        return Ok(response.map(|body| lines::pass_on(Arc::clone(inside), body)));
    }
    Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

/// The engine hears the same call again as soon as it has answered the first.
async fn pass_on_twice(
    inside: &Arc<Inside>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let again = Request::from_parts(parts.clone(), Full::new(body.clone()));
    let first = ask(inside, Request::from_parts(parts, Full::new(body))).await?;
    // It is read to its end, as by a caller that then calls again.
    first.into_body().collect().await.map_err(io::Error::other)?;
    let second = ask(inside, again).await?;
    Ok(second.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

/// Asks the engine, over a connection of its own that ends with its answer.
async fn ask<B>(inside: &Inside, request: Request<B>) -> io::Result<Response<PassedOn>>
where
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let stream = UnixStream::connect(&inside.engine).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is seen in the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.map(|body| PassedOn { body, _connection: driver }))
}

/// Announces the whole body, sends its first half, and ends the connection.
async fn truncated(response: Response<Body>) -> io::Result<Response<Body>> {
    let (mut parts, body) = response.into_parts();
    let whole = Limited::new(body, BODY_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len().max(1)));
    let half = Frame::data(whole.slice(..whole.len() / 2));
    let cut = stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(half), None)),
            None => {
                sleep(CUT_DELAY).await;
                Some((Err(io::Error::other("cut in the middle")), None))
            }
        }
    });
    Ok(Response::from_parts(parts, StreamBody::new(cut).boxed_unsync()))
}

fn answer(status: u16, body: String) -> io::Result<Response<Body>> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(body).map_err(io::Error::other)
}

/// The call as it arrived, without an answer yet.
fn call_of(request: &Request<Incoming>) -> Call {
    let path = request.uri().path();
    let words: Vec<&str> = path
        .split('/')
        .filter(|word| !word.is_empty())
        .skip_while(|word| word.starts_with("v1."))
        .collect();
    let (op, container) = match words[..] {
        ["containers", "json"] => ("json", None),
        ["containers", container] => ("remove", Some(container)),
        ["containers", container, op] => (op, Some(container)),
        [.., last] => (last, None),
        [] => ("", None),
    };
    Call {
        at: Instant::now(),
        method: request.method().to_string(),
        path: path.to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        op: op.to_owned(),
        container: container.map(str::to_owned),
        status: None,
    }
}

impl http_body::Body for PassedOn {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
