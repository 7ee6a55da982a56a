//! The test application keeps its promises: whoever tests against it must be able to rely on it.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One start of the application; it ends with the test.
struct App {
    child: Child,
    /// What it says; it must be able to go on speaking.
    lines: Lines<BufReader<ChildStdout>>,
    /// Where it listens, once it has said so.
    at: SocketAddr,
}

impl App {
    /// Starts it on a port that the system chooses, and waits until it listens.
    async fn start(knobs: &[&str]) -> Self {
        let mut app = Self::begin(knobs);
        let line = timeout(PATIENCE, app.lines.next_line()).await.unwrap().unwrap().unwrap();
        let (_, port) = line.rsplit_once(" listens on ").expect("it says where it listens");
        app.at.set_port(port.parse().unwrap());
        app
    }

    fn begin(knobs: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testapp"))
            .args(knobs)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, at: (Ipv4Addr::LOCALHOST, 0).into() }
    }

    async fn connect(&self) -> TcpStream {
        timeout(PATIENCE, TcpStream::connect(self.at)).await.unwrap().unwrap()
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> (Response<()>, Bytes) {
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        let request = Request::builder().method(method).uri(path).header("host", "app");
        let request = request.body(Full::new(body)).unwrap();
        let asked = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            (Response::from_parts(head, ()), body.collect().await.unwrap().to_bytes())
        };
        tokio::select! {
            answer = timeout(PATIENCE, asked) => answer.unwrap(),
            ended = connection => panic!("the connection ended first: {ended:?}"),
        }
    }

    async fn get(&self, path: &str) -> (Response<()>, Bytes) {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).await.1).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("/bin/kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn it_greets_with_its_mark() {
    let app = App::start(&["--mark=violet"]).await;
    let (head, body) = app.get("/").await;
    assert_eq!(head.headers()["content-type"], "text/html; charset=utf-8");
    assert!(String::from_utf8_lossy(&body).contains("hello violet"));
    assert_eq!(app.get("/health").await.0.status(), 200);
    assert_eq!(app.get("/nothing/here").await.0.status(), 404);
}

#[tokio::test]
async fn it_answers_any_status_with_its_own_header() {
    let app = App::start(&[]).await;
    for status in [200, 204, 302, 304, 404, 418, 500, 503] {
        let (head, body) = app.get(&format!("/status/{status}")).await;
        assert_eq!(head.status().as_u16(), status);
        assert_eq!(head.headers()["x-app"], "1");
        assert_eq!(head.headers().contains_key("location"), (300..400).contains(&status));
        assert_eq!(body.is_empty(), [204, 304].contains(&status));
    }
}

#[tokio::test]
async fn it_shows_what_it_received() {
    let app = App::start(&[]).await;
    let seen = app.json("/headers?a=b").await;
    assert_eq!(seen["method"], "GET");
    assert_eq!(seen["uri"], "/headers?a=b");
    assert_eq!(seen["headers"], serde_json::json!([["host", "app"]]));
    assert!(seen["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn it_digests_uploads_and_sends_downloads_of_any_length() {
    let app = App::start(&[]).await;
    let body = Bytes::from(vec![b'x'; 3_000_000]);
    let (_, answer) = app.ask(Method::POST, "/upload", body).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["bytes"], 3_000_000);
    let (_, small) = app.ask(Method::POST, "/upload", Bytes::from_static(b"foobar")).await;
    assert_eq!(small, "{\"bytes\":6,\"fnv64\":\"85944171f73967e8\"}\n");
    let (head, body) = app.get("/download?bytes=1000000").await;
    assert_eq!(
        (head.headers()["content-length"].as_bytes(), body.len()),
        (&b"1000000"[..], 1_000_000)
    );
    let (head, body) = app.get("/download?bytes=70000&chunked=1").await;
    assert!(!head.headers().contains_key("content-length"));
    assert_eq!(body.len(), 70_000);
}

#[tokio::test]
async fn it_sends_events_one_by_one() {
    let app = App::start(&[]).await;
    let began = Instant::now();
    let (head, body) = app.get("/sse?n=4&every_ms=50").await;
    assert_eq!(head.headers()["content-type"], "text/event-stream");
    assert_eq!(body.windows(2).filter(|pair| pair == b"\n\n").count(), 4);
    assert!(began.elapsed() >= Duration::from_millis(150));
    let began = Instant::now();
    assert_eq!(app.get("/slow?ms=100").await.1, "slow\n");
    assert!(began.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn it_echoes_over_a_websocket() {
    let app = App::start(&[]).await;
    let stream = app.connect().await;
    let handshake = tokio_tungstenite::client_async("ws://app/ws", stream);
    let (mut socket, _) = timeout(PATIENCE, handshake).await.unwrap().unwrap();
    for message in [Message::text("hi"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
}

/// A gRPC call over cleartext HTTP/2 with one message; its answer and status.
async fn unary(app: &App, path: &str, message: &'static [u8]) -> (Bytes, String) {
    let io = TokioIo::new(app.connect().await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = grpc_request(path).body(Full::new(Bytes::from_static(message))).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let (head, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    connection.abort();
    let trailers = body.trailers().unwrap_or(&head.headers);
    let status = trailers["grpc-status"].to_str().unwrap().to_owned();
    (body.to_bytes(), status)
}

fn grpc_request(path: &str) -> http::request::Builder {
    let request = Request::post(format!("http://app{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers")
}

/// A gRPC call over cleartext HTTP/2 whose messages are sent one after the other, each after the
/// answer to the one before it.
async fn stream(app: &App, path: &str, messages: &[&'static [u8]]) -> (Vec<Bytes>, String) {
    let io = TokioIo::new(app.connect().await);
    let handshake = http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let (frames, body) = tokio::sync::mpsc::channel(1);
    let body = tokio_stream::wrappers::ReceiverStream::new(body);
    let body = StreamBody::new(body.map(Ok::<Frame<Bytes>, std::io::Error>));
    let request = grpc_request(path).body(body).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let mut answer: Incoming = response.into_body();
    let mut answers = Vec::new();
    for message in messages {
        frames.send(Frame::data(Bytes::from_static(message))).await.unwrap();
        let frame = timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap();
        answers.push(frame.into_data().unwrap());
    }
    drop(frames);
    let trailers = timeout(PATIENCE, answer.collect()).await.unwrap().unwrap();
    connection.abort();
    let status = trailers.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
    (answers, status)
}

#[tokio::test]
async fn it_streams_messages_both_ways_over_grpc() {
    let app = App::start(&[]).await;
    let messages: [&'static [u8]; 2] = [b"\0\0\0\0\x02hi", b"\0\0\0\0\x00"];
    let (answers, status) = stream(&app, "/test.Echo/Stream", &messages).await;
    assert_eq!((answers[0].as_ref(), answers[1].as_ref()), (messages[0], messages[1]));
    assert_eq!(status, "0");
    let (answer, status) = unary(&app, "/test.Echo/Unary", messages[0]).await;
    assert_eq!((answer.as_ref(), status.as_str()), (messages[0], "0"));
    assert_eq!(unary(&app, "/test.Echo/Nothing", messages[0]).await.1, "12");
}

#[tokio::test]
async fn it_speaks_of_its_health_as_told() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let question: &'static [u8] = &[0, 0, 0, 0, 0];
    for (knob, state) in [("serving", 1), ("not-serving", 2)] {
        let app = App::start(&[&format!("--grpc-health={knob}")]).await;
        let (answer, status) = unary(&app, CHECK, question).await;
        assert_eq!((answer.as_ref(), status.as_str()), (&[0, 0, 0, 0, 2, 8, state][..], "0"));
    }
    let app = App::start(&["--grpc-health=unimplemented"]).await;
    assert_eq!(unary(&app, CHECK, question).await.1, "12");
}

#[tokio::test]
async fn each_start_is_another_instance_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let count = format!("--count-file={}", folder.path().join("count").display());
    let mut ids = Vec::new();
    for start in 1..=2 {
        let app = App::start(&[&count]).await;
        let instance = app.json("/instance").await;
        assert_eq!(instance["starts"], start);
        assert_eq!(instance["id"], app.json("/instance").await["id"]);
        ids.push(instance["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn it_sends_datagrams_back() {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let _app = App::start(&[&format!("--udp-port={}", free.port())]).await;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    client.connect(free).await.unwrap();
    for text in ["one", "", "three"] {
        client.send(text.as_bytes()).await.unwrap();
        let mut back = [0; 16];
        let length = timeout(PATIENCE, client.recv(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back[..length], text.as_bytes());
    }
}

#[tokio::test]
async fn it_ends_when_asked_and_by_its_code() {
    let mut app = App::start(&[]).await;
    app.signal("TERM");
    assert_eq!(app.end().await.code(), Some(0));
    let mut app = App::begin(&["--crash-code=7"]);
    assert_eq!(app.end().await.code(), Some(7));
    let mut app = App::start(&["--crash-code=8", "--crash-after-ms=200"]).await;
    assert_eq!(app.end().await.code(), Some(8));
}

#[tokio::test]
async fn it_serves_on_for_a_while_after_term_or_for_ever() {
    let mut app = App::start(&["--term-delay-ms=300"]).await;
    let began = Instant::now();
    app.signal("TERM");
    assert_eq!(app.get("/").await.0.status(), 200);
    assert_eq!(app.end().await.code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(300));
    let mut app = App::start(&["--ignore-term"]).await;
    app.signal("TERM");
    app.signal("TERM");
    assert_eq!(app.get("/").await.0.status(), 200);
    app.signal("INT");
    assert_eq!(app.end().await.code(), Some(0));
}

#[tokio::test]
async fn it_is_late_or_silent_when_told() {
    let began = Instant::now();
    let _late = App::start(&["--start-delay-ms=300"]).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    let unanswered = App::start(&["--never-answer"]).await;
    let ask = unanswered.get("/");
    assert!(timeout(Duration::from_millis(300), ask).await.is_err());
    let mut silent = App::begin(&["--never-listen"]);
    let said = timeout(PATIENCE, silent.lines.next_line()).await.unwrap().unwrap();
    assert_eq!(said.as_deref(), Some("testapp  listens nowhere, as told"));
    silent.signal("TERM");
    assert_eq!(silent.end().await.code(), Some(0));
}

#[tokio::test]
async fn its_health_comes_late_when_told() {
    let app = App::start(&["--unhealthy-ms=400"]).await;
    assert_eq!(app.get("/health").await.0.status(), 500);
    let give_up_at = Instant::now() + PATIENCE;
    while app.get("/health").await.0.status() != 200 {
        assert!(Instant::now() < give_up_at, "it never recovers");
        sleep(Duration::from_millis(5)).await;
    }
}
