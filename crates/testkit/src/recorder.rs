//! A unix socket in front of an engine, real or fake, that passes everything through and remembers
//! every call: tests count at the engine's door, not at what the code under test believes.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Call;

/// Calls kept; a test that makes more of them fails when it counts.
const CALLS_MAX: usize = 1_000_000;

/// A recording socket. It stops passing calls on when it is dropped.
pub struct Recorder {
    socket: PathBuf,
    calls: Arc<Calls>,
    _folder: TempDir,
    _acceptor: JoinSet<()>,
}

/// Every call so far, in the order of arrival.
#[derive(Default)]
struct Calls(Mutex<Vec<Call>>);

/// The body of an answer, and the connection that it comes from.
struct PassedOn {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Recorder {
    /// Listens in front of the engine on `engine`.
    ///
    /// # Errors
    /// When no socket can be made in the folder for temporary files.
    pub fn before(engine: impl AsRef<Path>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("recorder-").tempdir()?;
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket)?;
        let calls = Arc::new(Calls::default());
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, engine.as_ref().to_owned(), Arc::clone(&calls)));
        Ok(Self { socket, calls, _folder: folder, _acceptor: acceptor })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every call so far, oldest first.
    ///
    /// # Panics
    /// When there were more than are kept.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.all();
        assert!(calls.len() < CALLS_MAX, "more calls than are kept");
        calls
    }
}

impl Calls {
    fn arrived(&self, call: Call) -> usize {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() < CALLS_MAX {
            calls.push(call);
        }
        calls.len() - 1
    }

    fn answered(&self, index: usize, status: u16) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls[index].status = Some(status);
    }

    fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept_all(listener: UnixListener, engine: PathBuf, calls: Arc<Calls>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        let (engine, calls) = (engine.clone(), Arc::clone(&calls));
        connections.spawn(async move {
            let pass = service_fn(move |request| pass(engine.clone(), Arc::clone(&calls), request));
            // Either side may leave at any time; the other one then sees its connection end.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), pass)
                .await;
        });
    }
}

/// Passes one call on, over a connection of its own that ends with its answer.
async fn pass(
    engine: PathBuf,
    calls: Arc<Calls>,
    request: Request<Incoming>,
) -> io::Result<Response<PassedOn>> {
    let index = calls.arrived(call_of(&request));
    let stream = UnixStream::connect(&engine).await?;
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is seen in the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    calls.answered(index, response.status().as_u16());
    Ok(response.map(|body| PassedOn { body, _connection: driver }))
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

impl Body for PassedOn {
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

#[cfg(test)]
mod tests {
    use super::Recorder;
    use crate::engine::{ContainerSpec, FakeEngine, RawClient};

    #[tokio::test]
    async fn calls_are_passed_on_and_remembered() {
        let engine = FakeEngine::docker().await;
        engine.by_hand().create(ContainerSpec::named("web")).unwrap();
        let recorder = Recorder::before(engine.socket()).unwrap();
        let client = RawClient::new(recorder.socket());
        assert_eq!(client.post("/v1.41/containers/web/start").await.unwrap().status, 204);
        assert_eq!(client.post("/containers/web/start").await.unwrap().status, 304);
        assert_eq!(client.read("/_ping").await.unwrap().body, "OK");
        let calls = recorder.calls();
        let seen = calls.iter().map(|call| (&*call.op, call.container.as_deref(), call.status));
        let expected = [
            ("start", Some("web"), Some(204)),
            ("start", Some("web"), Some(304)),
            ("_ping", None, Some(200)),
        ];
        assert!(seen.eq(expected), "{calls:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_comes_through_line_by_line() {
        let engine = FakeEngine::docker().await;
        engine.by_hand().create(ContainerSpec::named("web")).unwrap();
        let recorder = Recorder::before(engine.socket()).unwrap();
        let client = RawClient::new(recorder.socket());
        let mut events = client.lines("/events").await.unwrap();
        client.post("/containers/web/start").await.unwrap();
        let first = events.next().await.unwrap().expect("the stream goes on");
        let second = events.next().await.unwrap().expect("the stream goes on");
        assert!(String::from_utf8_lossy(&first).contains("connect"), "{first:?}");
        assert!(String::from_utf8_lossy(&second).contains("start"), "{second:?}");
    }
}
