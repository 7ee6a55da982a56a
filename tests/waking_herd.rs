//! Ten thousand first requests at once: one start at the engine, and every one of them is answered
//! by the app.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dormouse_wire::Phase;
use harness::client::{Answer, fetch, get};
use harness::docker::{App, Docker};
use harness::house::{House, raise_open_files};
use harness::report::Report;
use harness::{eventually, quiet};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

const REQUESTS: usize = 10_000;
const H2_CONNECTIONS: usize = 100;
/// Of all of them, from the first connection to the last answer.
const HERD_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_ten_thousand_connections_wake_a_stopped_container_once() {
    check("stop", ("start", 2), http1_herd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_ten_thousand_connections_wake_a_paused_container_once() {
    check("pause", ("unpause", 1), http1_herd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_ten_thousand_http_2_streams_wake_a_stopped_container_once() {
    check("stop", ("start", 2), http2_herd).await;
}

/// Sends a herd at a workload that rests as `rest` says. `wake` is what the engine is asked then, and
/// how often it will have done so in all: the first start is the one before the herd.
async fn check(
    rest: &str,
    (wake, wakes): (&str, usize),
    herd: impl AsyncFn(SocketAddr, &str) -> Vec<(Answer, SystemTime)>,
) {
    let _alone = quiet().await;
    raise_open_files();
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let workload = app.workload(&format!("rest = \"{rest}\"\nidle_timeout = \"never\""));
    let house = House::start(&(docker.environment() + &workload)).await;
    put_to_sleep(&house, &app).await;
    docker.forget_calls();

    let hold = docker.hold(wake);
    let began = Instant::now();
    let host = app.host();
    let sent = herd(house.http, &host);
    let all_wait = async {
        let waiting = async || house.admin.workload("web").await.waiting == REQUESTS as u32;
        eventually(HERD_MAX, "everybody waits", waiting).await;
        drop(hold);
        began.elapsed()
    };
    let both = async { tokio::join!(sent, all_wait) };
    let (answers, gathered) = timeout(HERD_MAX, both).await.unwrap();

    let mut report = Report::of("R01");
    assert_answered(&answers);
    report.cases(
        answers
            .iter()
            .map(|(answer, _)| (answer.status == 200).then_some(()).ok_or_else(|| answer.text())),
    );
    let asked = docker.calls_of(&app, wake);
    report.case((asked == 1).then_some(()).ok_or_else(|| format!("{asked} {wake} at the engine")));
    docker.said(&app, wake, wakes).await;
    assert_eq!(docker.times(&app, wake), wakes, "and one {wake} in its history");
    let last_wake = house.admin.workload("web").await.last_wake.unwrap();
    let at: jiff::Timestamp = last_wake.at.parse().unwrap();
    let ready = SystemTime::from(at) + Duration::from_millis(last_wake.ms.unwrap());
    let last = answers.iter().map(|(_, at)| *at).max().unwrap();
    report.finish(format_args!(
        "first requests from a {rest} and one {wake}; gathered in {gathered:.1?}, the last answered \
         {:.1?} after ready",
        last.duration_since(ready).unwrap_or_default(),
    ));
}

async fn put_to_sleep(house: &House, app: &App) {
    house.admin.until("web", Phase::Asleep).await;
    fetch(house.http, get(&app.host(), "/")).await;
    house.admin.sleep_by_force("web").await;
    house.admin.until("web", Phase::Asleep).await;
}

/// Everybody was answered by the same start of the app; one request woke it, the others joined.
fn assert_answered(answers: &[(Answer, SystemTime)]) {
    assert_eq!(answers.len(), REQUESTS);
    let mut outcomes = BTreeMap::<_, usize>::new();
    for (answer, _) in answers {
        let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        let wake = answer.header("x-dormouse-wake").to_owned();
        *outcomes.entry((answer.status, id, wake)).or_default() += 1;
    }
    let seen: Vec<_> =
        outcomes.iter().map(|((status, _, wake), n)| (*status, &**wake, *n)).collect();
    assert_eq!(seen, [(200, "cold", 1), (200, "joined", REQUESTS - 1)], "{outcomes:?}");
    assert!(outcomes.keys().all(|(_, id, _)| *id == answers[0].0.json()["id"]), "{outcomes:?}");
}

/// A connection for each request; all are open before any asks.
async fn http1_herd(address: SocketAddr, host: &str) -> Vec<(Answer, SystemTime)> {
    let request: Arc<str> = format!("GET /instance HTTP/1.1\r\nHost: {host}\r\n\r\n").into();
    let all_open = Arc::new(Barrier::new(REQUESTS));
    let mut herd = JoinSet::new();
    for _ in 0..REQUESTS {
        let (request, all_open) = (Arc::clone(&request), Arc::clone(&all_open));
        herd.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            all_open.wait().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            (answer, SystemTime::now())
        });
    }
    herd.join_all().await
}

/// A hundred requests on each connection.
async fn http2_herd(address: SocketAddr, host: &str) -> Vec<(Answer, SystemTime)> {
    let mut drivers = JoinSet::new();
    let mut herd = JoinSet::new();
    for _ in 0..H2_CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        drivers.spawn(connection);
        for _ in 0..REQUESTS / H2_CONNECTIONS {
            let mut sender = sender.clone();
            let uri = format!("http://{host}/instance");
            herd.spawn(async move {
                let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
                let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (status, headers) = (parts.status.as_u16(), parts.headers);
                (Answer { status, headers, body, before: Vec::new() }, SystemTime::now())
            });
        }
    }
    herd.join_all().await
}

/// Reads one answer with a length.
async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut received = Vec::new();
    loop {
        let read = stream.read_buf(&mut received).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&received));
        if let Some(answer) = Answer::parse_whole(&received) {
            return answer;
        }
    }
}
