//! The engine's socket: connections, the faults of their answers, the record of their calls.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::calls::Call;
use super::faults::Fault;
use super::routes::{self, Route};
use super::shapes;
use super::shared::Shared;

/// The bytes of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// How long the bytes before a cut may take to leave.
const CUT_DELAY: Duration = Duration::from_millis(5);
/// The longest request body that is read.
const REQUEST_BODY_MAX: usize = 8 << 20;

/// Binds the socket and serves it until the engine's present process ends.
pub(super) fn serve(shared: &Arc<Shared>, socket: &Path) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::bind(socket)?;
    let (shared, end) = (Arc::clone(shared), shared.incarnation());
    let tasks = shared.tasks.clone();
    Ok(tasks.spawn(async move {
        let mut connections = JoinSet::new();
        end.run_until_cancelled(accept_all(shared, listener, &mut connections)).await;
        connections.shutdown().await;
    }))
}

async fn accept_all(shared: Arc<Shared>, listener: UnixListener, connections: &mut JoinSet<()>) {
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
            // A client that leaves early, and a fault that cuts, both end a connection with an
            // error that is nobody's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// Answers one call, or errs to end the connection without an answer.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let route = Route::find(&shared, &parts.method, &path);
    let container = route.container_name(&shared);
    let index = shared.calls.arrived(Call {
        at: Instant::now(),
        method: parts.method.to_string(),
        path: path.clone(),
        query: query.clone(),
        op: route.op().to_owned(),
        container: container.clone(),
        status: None,
    });
    let fault = shared.faults.hit(parts.method.as_str(), &path, container.as_deref());
    if let Some(early) = before_the_deed(fault.as_ref()).await {
        return early.inspect(|answer| shared.calls.answered(index, answer.status().as_u16()));
    }
    let body = http_body_util::Limited::new(body, REQUEST_BODY_MAX);
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let mut response = routes::carry_out(&shared, route, &query, &body).await;
    sign(&shared, &mut response);
    let response = after_the_deed(fault, response).await?;
    shared.calls.answered(index, response.status().as_u16());
    Ok(response)
}

/// The faults that keep a call from being heard.
async fn before_the_deed(fault: Option<&Fault>) -> Option<io::Result<Response<Body>>> {
    match fault? {
        Fault::Delay(delay) => {
            sleep(*delay).await;
            None
        }
        Fault::Hang => std::future::pending().await,
        Fault::Answer { status, body } => Some(Ok(json_text(*status, body.clone()))),
        Fault::Drop => Some(Err(io::Error::other("dropped"))),
        Fault::AnswerLate(_)
        | Fault::HangAfterDeed
        | Fault::DropAfterDeed
        | Fault::CutAfter(_)
        | Fault::Truncate
        | Fault::Garbage => None,
    }
}

/// The faults that spoil an answer.
async fn after_the_deed(
    fault: Option<Fault>,
    response: Response<Body>,
) -> io::Result<Response<Body>> {
    match fault {
        None | Some(Fault::Delay(_) | Fault::Hang | Fault::Answer { .. } | Fault::Drop) => {
            Ok(response)
        }
        Some(Fault::AnswerLate(delay)) => {
            sleep(delay).await;
            Ok(response)
        }
        Some(Fault::HangAfterDeed) => std::future::pending().await,
        Some(Fault::DropAfterDeed) => Err(io::Error::other("dropped")),
        Some(Fault::CutAfter(bytes)) => cut_after(response, bytes).await,
        Some(Fault::Truncate) => {
            let (parts, body) = response.into_parts();
            let whole = body.collect().await?.to_bytes();
            let half = whole.slice(..whole.len() / 2);
            Ok(Response::from_parts(parts, full(half)))
        }
        Some(Fault::Garbage) => {
            let (parts, _) = response.into_parts();
            Ok(Response::from_parts(parts, full(Bytes::from_static(b"<html>{[\"\xff,"))))
        }
    }
}

/// Announces the whole body, sends its beginning, and ends the connection.
async fn cut_after(response: Response<Body>, bytes: usize) -> io::Result<Response<Body>> {
    let (mut parts, body) = response.into_parts();
    let endless = parts.headers.get(CONTENT_TYPE).is_some() && !body_ends(&body);
    if endless {
        let body = StreamBody::new(cut_stream(body, bytes));
        return Ok(Response::from_parts(parts, body.boxed_unsync()));
    }
    let whole = body.collect().await?.to_bytes();
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let beginning = whole.slice(..bytes.min(whole.len().saturating_sub(1)));
    let first = stream::once(async move { Ok(Frame::data(beginning)) });
    let body = StreamBody::new(first.chain(the_cut()));
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

fn body_ends(body: &Body) -> bool {
    http_body::Body::size_hint(body).exact().is_some()
}

fn cut_stream(
    body: Body,
    bytes: usize,
) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send {
    let begun = stream::unfold((body, bytes), |(mut body, left)| async move {
        if left == 0 {
            return None;
        }
        let data = body.frame().await?.ok()?.into_data().ok()?;
        let data = data.slice(..left.min(data.len()));
        let left = left - data.len();
        Some((Ok(Frame::data(data)), (body, left)))
    });
    begun.chain(the_cut())
}

/// Lets what was written leave, then ends the connection.
fn the_cut() -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::once(async {
        sleep(CUT_DELAY).await;
        Err(io::Error::other("cut"))
    })
}

/// The headers that every answer of the engine carries.
fn sign(shared: &Shared, response: &mut Response<Body>) {
    let server = if shared.is_podman() {
        format!("Libpod/{} (linux)", shapes::server_version(shared))
    } else {
        format!("Docker/{} (linux)", shapes::server_version(shared))
    };
    let signature = [
        ("api-version", shared.config.api_version.to_string()),
        ("docker-experimental", "false".to_owned()),
        ("ostype", "linux".to_owned()),
        ("server", server),
    ];
    for (name, value) in signature {
        let value = HeaderValue::try_from(value).expect("versions are legal in a header");
        response.headers_mut().insert(name, value);
    }
}

/// A body that is complete.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of JSON text.
pub(super) fn json_text(status: u16, text: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(full(text))
        .expect("the status of a fault is one that HTTP has")
}
