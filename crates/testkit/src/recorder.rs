//! A unix socket in front of an engine, real or fake, that passes everything through and remembers
//! every call: tests count at the engine's door, not at what the code under test believes. It can
//! hold one kind of call back for as long as a test likes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Call;

/// Calls kept; a test that makes more of them fails.
const CALLS_MAX: usize = 1_000_000;

/// A recording socket. It stops passing calls on when it is dropped.
pub struct Recorder {
    socket: PathBuf,
    calls: Arc<Calls>,
    held: Arc<watch::Sender<BTreeSet<String>>>,
    _folder: TempDir,
    _acceptor: JoinSet<()>,
}

/// One kind of call is held back for as long as this lives.
#[must_use]
pub struct Hold {
    op: String,
    held: Arc<watch::Sender<BTreeSet<String>>>,
}

/// What every connection works with.
#[derive(Clone)]
struct Door {
    engine: PathBuf,
    calls: Arc<Calls>,
    held: watch::Receiver<BTreeSet<String>>,
}

/// Every call so far, in the order of arrival. The first ones may be forgotten, but they keep their
/// places: an answer may still come.
#[derive(Default)]
struct Calls {
    all: Mutex<Vec<Call>>,
    forgotten: AtomicUsize,
}

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
        let held = Arc::new(watch::Sender::default());
        let door = Door {
            engine: engine.as_ref().to_owned(),
            calls: Arc::clone(&calls),
            held: held.subscribe(),
        };
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, door));
        Ok(Self { socket, calls, held, _folder: folder, _acceptor: acceptor })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every call since the last [`Self::forget`], oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.remembered()
    }

    /// Holds back every call of one operation, such as `start`. They are remembered as they arrive.
    pub fn hold(&self, op: &str) -> Hold {
        self.held.send_modify(|held| {
            held.insert(op.to_owned());
        });
        Hold { op: op.to_owned(), held: Arc::clone(&self.held) }
    }

    /// Counts from here on: what was called before is forgotten.
    pub fn forget(&self) {
        self.calls.forget();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.send_modify(|held| {
            held.remove(&self.op);
        });
    }
}

impl Calls {
    fn arrived(&self, call: Call) -> usize {
        let mut calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(calls.len() < CALLS_MAX, "more calls than are kept");
        calls.push(call);
        calls.len() - 1
    }

    fn answered(&self, index: usize, status: u16) {
        let mut calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        calls[index].status = Some(status);
    }

    fn remembered(&self) -> Vec<Call> {
        let calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        calls[self.forgotten.load(Ordering::Acquire)..].to_vec()
    }

    fn forget(&self) {
        let calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.store(calls.len(), Ordering::Release);
    }
}

async fn accept_all(listener: UnixListener, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        let door = door.clone();
        connections.spawn(async move {
            let pass = service_fn(move |request| pass(door.clone(), request));
            // Either side may leave at any time; the other one then sees its connection end.
            let _ = server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), pass)
                .await;
        });
    }
}

/// Passes one call on, over a connection of its own that ends with its answer.
async fn pass(mut door: Door, request: Request<Incoming>) -> io::Result<Response<PassedOn>> {
    let call = call_of(&request);
    let op = call.op.clone();
    let index = door.calls.arrived(call);
    door.held.wait_for(|held| !held.contains(&op)).await.map_err(io::Error::other)?;
    let stream = UnixStream::connect(&door.engine).await?;
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is seen in the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    door.calls.answered(index, response.status().as_u16());
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
        recorder.forget();
        client.post("/containers/web/stop").await.unwrap();
        let calls = recorder.calls();
        assert!(calls.iter().map(|call| &*call.op).eq(["stop"]), "{calls:?}");
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

    #[tokio::test]
    async fn a_held_call_reaches_the_engine_when_it_is_let_go() {
        let engine = FakeEngine::docker().await;
        engine.by_hand().create(ContainerSpec::named("web")).unwrap();
        let recorder = Recorder::before(engine.socket()).unwrap();
        let client = RawClient::new(recorder.socket());
        let hold = recorder.hold("start");
        let start = client.clone();
        let start = tokio::spawn(async move { start.post("/containers/web/start").await });
        while recorder.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.read("/_ping").await.unwrap().status, 200, "others pass");
        assert!(engine.calls().iter().all(|call| call.op != "start"));
        drop(hold);
        assert_eq!(start.await.unwrap().unwrap().status, 204);
    }
}
