//! Readiness probes against real listeners that are late, wrong, silent, broken or slow.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dormouse_core::observation::Health;
use dormouse_core::policy::Readiness;
use dormouse_core::{Condition, RunId, limits};
use dormouse_keeper::probe::{ProbeError, ProbeProgress, Prober, Proven};
use dormouse_providers::{Address, Sighting, Transport, Via};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a probe to fail a few times.
const SHORT: Duration = Duration::from_millis(300);

/// A workload that runs with these addresses.
fn running(run: u64, health: Health, addresses: Vec<Address>) -> Sighting {
    let condition = Condition::Running { run: RunId(run), health };
    Sighting { condition, as_of: Instant::now(), addresses, default_port: None }
}

fn published(at: SocketAddr) -> Address {
    Address::Published { port: PORT, transport: Transport::Tcp, at }
}

/// The workload's own port where it is reached through another.
const PORT: u16 = 80;

fn own() -> Address {
    Address::Own { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), via: Via::Direct }
}

/// A probe of a port on this machine, and the feed that drives it.
fn direct(readiness: Readiness, port: u16) -> (Prober, watch::Sender<Option<Sighting>>) {
    prober(readiness, Some(port), running(1, Health::Undeclared, vec![own()]))
}

fn prober(
    readiness: Readiness,
    port: Option<u16>,
    sighting: Sighting,
) -> (Prober, watch::Sender<Option<Sighting>>) {
    let (looks, sightings) = watch::channel(Some(sighting));
    (Prober { readiness, port, sightings }, looks)
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn http(path: &str) -> Readiness {
    Readiness::Http { path: path.into(), status: 200..=399 }
}

fn grpc(service: &str) -> Readiness {
    Readiness::Grpc { service: service.into() }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port on which nobody listens.
async fn closed_port() -> u16 {
    listener().await.1
}

/// Answers requests over HTTP/1.1 with the status that the script gives to each, in order.
async fn scripted(
    script: impl Fn(u32) -> (StatusCode, Duration) + Clone + Send + 'static,
) -> (u16, Arc<AtomicU32>, JoinSet<()>) {
    let (listener, port) = listener().await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, count) = (script.clone(), Arc::clone(&count));
            let service = service_fn(move |_: http::Request<Incoming>| {
                let (status, delay) = script(count.fetch_add(1, Ordering::SeqCst));
                async move {
                    sleep(delay).await;
                    let mut response = Response::new(Full::new(Bytes::from_static(b"app")));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, asked, tasks)
}

/// Speaks gRPC's health protocol; the answer is one message and a status.
async fn health_service(message: Option<&'static [u8]>, status: u16) -> (u16, JoinSet<()>) {
    let (listener, port) = listener().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: http::Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.headers()["content-type"], "application/grpc");
                let asked = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(&asked[..], [0, 0, 0, 0, 5, 0x0A, 3, b's', b'v', b'c']);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status.into());
                let data = message.map(|message| Frame::data(Bytes::from_static(message)));
                let frames = data.into_iter().chain([Frame::trailers(trailers)]);
                let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
                Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
            });
            connections.spawn(async move {
                let builder = http2::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, tasks)
}

/// A socket whose queue is full: it neither accepts nor refuses.
async fn silent_listener() -> (TcpListener, Vec<TcpStream>, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(connected) = timeout(SHORT, TcpStream::connect(at)).await {
        queued.push(connected.unwrap());
    }
    (listener, queued, at.port())
}

/// The connection reaches the application, and nothing was said on it.
async fn greets(stream: TcpStream) -> bool {
    let (mut stream, mut answer) = (stream, Vec::new());
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"app")
}

async fn error_of(prober: Prober) -> String {
    let began = Instant::now();
    let error = prober.run(began + SHORT).await.unwrap_err();
    assert!(began.elapsed() >= SHORT);
    error.to_string()
}

#[tokio::test]
async fn one_that_listens_late_is_ready_soon_after() {
    let mut late = Vec::new();
    for round in 0..40 {
        let port = closed_port().await;
        let (prober, _looks) = direct(Readiness::Tcp, port);
        let probing = tokio::spawn(prober.run(soon()));
        sleep(Duration::from_millis(round * 3)).await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let listens = Instant::now();
        let proven = probing.await.unwrap().unwrap();
        late.push(listens.elapsed());
        assert_eq!(proven.at, Some(listener.local_addr().unwrap()));
    }
    late.sort();
    println!("ready after listening: p50 {:?}, p99 {:?}", late[20], late[39]);
    // The longest wait between two attempts, and what a busy machine adds in the middle of the
    // field, where no single hiccup counts.
    assert!(late[20] < limits::PROBE_DELAY_MAX * 4, "{late:?}");
}

#[tokio::test]
async fn a_look_ends_the_wait_between_two_attempts() {
    let port = closed_port().await;
    let (prober, looks) = direct(Readiness::Tcp, port);
    let (told, mut progress) = watch::channel(ProbeProgress::default());
    let probing = tokio::spawn(async move { prober.run_telling(soon(), &told).await });
    // By then the waits are at their longest.
    progress.wait_for(|progress| progress.attempts >= 60).await.unwrap();
    let look = looks.borrow().clone();
    let before = progress.borrow().attempts;
    let began = Instant::now();
    // Each look gives an attempt of its own; without them 20 would take a second.
    for asked in 1..=20 {
        looks.send_replace(look.clone());
        progress.wait_for(|progress| progress.attempts >= before + asked).await.unwrap();
    }
    let twenty = began.elapsed();
    assert!(twenty < limits::PROBE_DELAY_MAX * 20, "{twenty:?}");
    probing.abort();
}

#[tokio::test]
async fn the_connection_that_proves_is_kept_for_the_first_request() {
    let (port, asked, _tasks) = scripted(|_| (StatusCode::OK, Duration::ZERO)).await;
    let (prober, _looks) = direct(Readiness::Tcp, port);
    let proven = prober.run(soon()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert!(greets(proven.warm.unwrap()).await);
}

#[tokio::test]
async fn a_wrong_port_is_told_as_refused() {
    let port = closed_port().await;
    let (prober, _looks) = direct(Readiness::Auto, port);
    let error = error_of(prober).await;
    assert_eq!(error, format!("127.0.0.1:{port}: connection refused: nobody listens"));
}

#[tokio::test]
async fn one_that_accepts_and_never_answers_is_told_so() {
    let (_listener, port) = listener().await;
    let (prober, _looks) = direct(http("/"), port);
    assert_eq!(error_of(prober).await, "it did not answer within 0.3 s");
}

#[tokio::test]
async fn statuses_outside_the_range_are_waited_out() {
    let bad = (StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO);
    let script = move |n| if n < 5 { bad } else { (StatusCode::OK, Duration::ZERO) };
    let (port, asked, _tasks) = scripted(script).await;
    let (prober, _looks) = direct(http("/health?deep=1"), port);
    let (told, progress) = watch::channel(ProbeProgress::default());
    let proven = prober.run_telling(soon(), &told).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    let progress = progress.borrow().clone();
    assert_eq!(progress.attempts, 5);
    let told = format!("GET /health?deep=1 at 127.0.0.1:{port} answered 500");
    assert_eq!(progress.last_failure, Some(told));
    assert!(greets(proven.warm.unwrap()).await);
}

#[tokio::test]
async fn what_does_not_speak_http_is_told_so() {
    let (listener, port) = listener().await;
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    let (prober, _looks) = direct(http("/"), port);
    assert_eq!(error_of(prober).await, format!("127.0.0.1:{port} does not speak HTTP"));
    server.abort();
}

#[tokio::test]
async fn a_slow_answer_is_not_disturbed_by_frequent_looks() {
    let (port, asked, _tasks) = scripted(|_| (StatusCode::OK, SHORT)).await;
    let (prober, looks) = direct(http("/"), port);
    let looking = async {
        loop {
            looks.send_modify(|_| {});
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        proven = prober.run(soon()) => assert!(proven.is_ok()),
        () = looking => {}
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_of_an_earlier_run_is_not_waited_for() {
    let (_never, port) = listener().await;
    let (good, _asked, _tasks) = scripted(|_| (StatusCode::OK, Duration::ZERO)).await;
    let at = |port| published((Ipv4Addr::LOCALHOST, port).into());
    let sighting = running(1, Health::Undeclared, vec![at(port)]);
    let (prober, looks) = prober(http("/"), Some(PORT), sighting);
    let began = Instant::now();
    let probing = tokio::spawn(prober.run(soon()));
    sleep(Duration::from_millis(20)).await;
    looks.send_replace(Some(running(2, Health::Undeclared, vec![at(good)])));
    let proven = probing.await.unwrap().unwrap();
    assert_eq!(proven.at, Some((Ipv4Addr::LOCALHOST, good).into()));
    assert!(began.elapsed() < limits::PROBE_ATTEMPT_MAX);
}

#[tokio::test]
async fn a_look_interrupts_a_connect_that_nobody_answers() {
    let (_listener, _queued, silent) = silent_listener().await;
    let (good, _asked, _tasks) = scripted(|_| (StatusCode::OK, Duration::ZERO)).await;
    let at = |port| published((Ipv4Addr::LOCALHOST, port).into());
    let sighting = running(1, Health::Undeclared, vec![at(silent)]);
    let (prober, looks) = prober(Readiness::Tcp, Some(PORT), sighting);
    let (told, mut progress) = watch::channel(ProbeProgress::default());
    let probing = tokio::spawn(async move { prober.run_telling(soon(), &told).await });
    // After five silences the next connect waits for more than a second.
    progress.wait_for(|progress| progress.attempts >= 5).await.unwrap();
    let failure = progress.borrow().last_failure.clone().unwrap();
    let at_silent = format!("127.0.0.1:{silent}");
    assert!(failure.starts_with(&format!("{at_silent} does not answer")), "{failure}");
    looks.send_replace(Some(running(1, Health::Undeclared, vec![at(good)])));
    let proven = timeout(Duration::from_secs(1), probing).await.expect("not after the connect");
    assert_eq!(proven.unwrap().unwrap().at, Some((Ipv4Addr::LOCALHOST, good).into()));
}

#[tokio::test]
async fn a_forwarder_that_accepts_for_nobody_proves_nothing() {
    let (listener, port) = listener().await;
    let at: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let sighting = running(1, Health::Undeclared, vec![published(at)]);
    let closing = async {
        loop {
            drop(listener.accept().await);
        }
    };
    let (first, _looks) = prober(Readiness::Tcp, Some(PORT), sighting.clone());
    let error = tokio::select! {
        error = error_of(first) => error,
        () = closing => unreachable!(),
    };
    assert!(error.starts_with(&format!("{at} accepts and closes at once")), "{error}");
    // The same forwarder with somebody behind it.
    let (second, _looks) = prober(Readiness::Tcp, Some(PORT), sighting);
    let mut probing = tokio::spawn(second.run(soon()));
    let mut streams = Vec::new();
    let proven = loop {
        tokio::select! {
            accepted = listener.accept() => streams.push(accepted.unwrap().0),
            proven = &mut probing => break proven,
        }
    };
    let mut warm = proven.unwrap().unwrap().warm.unwrap();
    warm.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    let mut last = streams.pop().unwrap();
    timeout(PATIENCE, last.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn the_preferred_address_wins_where_both_answer() {
    let (_first, first) = listener().await;
    let (_second, second) = listener().await;
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let transport = Transport::Tcp;
    let addresses = vec![own(), Address::Published { port: first, transport, at: at(second) }];
    let (prober, _looks) =
        prober(Readiness::Tcp, Some(first), running(1, Health::Undeclared, addresses));
    assert_eq!(prober.run(soon()).await.unwrap().at, Some(at(first)));
}

#[tokio::test]
async fn the_next_address_is_used_where_the_preferred_is_dead() {
    let dead = closed_port().await;
    let (_listener, alive) = listener().await;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, alive));
    let addresses = vec![own(), Address::Published { port: dead, transport: Transport::Tcp, at }];
    let (prober, _looks) =
        prober(Readiness::Tcp, Some(dead), running(1, Health::Undeclared, addresses));
    assert_eq!(prober.run(soon()).await.unwrap().at, Some(at));
}

#[tokio::test]
async fn an_unspecified_address_is_never_tried() {
    let (_listener, port) = listener().await;
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    for readiness in [Readiness::Tcp, Readiness::Auto, http("/")] {
        let sighting = running(1, Health::Undeclared, vec![published(nowhere)]);
        let (prober, _looks) = prober(readiness, Some(PORT), sighting);
        let error = prober.run(Instant::now() + SHORT).await.unwrap_err();
        assert!(matches!(error, ProbeError::NoAddress { port: PORT }), "{error:?}");
    }
}

#[tokio::test]
async fn declared_health_decides_and_its_change_is_seen_at_once() {
    for readiness in [Readiness::Auto, Readiness::Engine] {
        // Nobody listens: for these it is the engine's word that counts.
        let port = closed_port().await;
        let (prober, looks) =
            prober(readiness, Some(port), running(1, Health::Starting, vec![own()]));
        let (told, mut progress) = watch::channel(ProbeProgress::default());
        let probing = tokio::spawn(async move { prober.run_telling(soon(), &told).await });
        progress.wait_for(|progress| progress.attempts == 1).await.unwrap();
        looks.send_replace(Some(running(1, Health::Unhealthy, vec![own()])));
        let unhealthy = |progress: &ProbeProgress| progress.attempts == 2;
        let progress = progress.wait_for(unhealthy).await.unwrap().clone();
        assert_eq!(progress.last_failure.as_deref(), Some("its health check fails"));
        looks.send_replace(Some(running(1, Health::Healthy, vec![own()])));
        let Proven { at, warm } = timeout(PATIENCE, probing).await.unwrap().unwrap().unwrap();
        assert_eq!(at, Some((Ipv4Addr::LOCALHOST, port).into()));
        assert!(warm.is_none());
    }
}

#[tokio::test]
async fn an_engine_without_a_verdict_is_ready_when_it_runs() {
    let sighting = running(1, Health::Undeclared, Vec::new());
    for readiness in [Readiness::Engine, Readiness::Auto] {
        let (prober, _looks) = prober(readiness, None, sighting.clone());
        assert!(prober.run(soon()).await.is_ok());
    }
    let (prober, _looks) = prober(Readiness::Tcp, None, sighting);
    let error = prober.run(Instant::now() + SHORT).await.unwrap_err();
    assert!(matches!(error, ProbeError::NoPort), "{error:?}");
}

#[tokio::test]
async fn what_does_not_run_is_not_connected_to() {
    let (listener, port) = listener().await;
    let paused = Condition::Paused { run: RunId(1) };
    let (prober, looks) = direct(Readiness::Tcp, port);
    looks.send_modify(|look| look.as_mut().unwrap().condition = paused);
    let error = prober.run(Instant::now() + SHORT).await.unwrap_err();
    assert!(matches!(error, ProbeError::NotRunning), "{error:?}");
    let nobody = timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(nobody.is_err(), "somebody connected");
}

#[tokio::test]
async fn a_grpc_service_that_serves_is_ready() {
    let (port, _tasks) = health_service(Some(&[0, 0, 0, 0, 2, 0x08, 1]), 0).await;
    let (prober, _looks) = direct(grpc("svc"), port);
    let proven = prober.run(soon()).await.unwrap();
    assert_eq!(proven.at, Some((Ipv4Addr::LOCALHOST, port).into()));
    assert!(proven.warm.is_some());
}

#[tokio::test]
async fn a_grpc_service_that_does_not_serve_says_why() {
    let cases: [(Option<&'static [u8]>, u16, &str); 4] = [
        (Some(&[0, 0, 0, 0, 2, 0x08, 2]), 0, "NOT_SERVING"),
        (Some(&[0, 0, 0, 0, 0]), 0, "UNKNOWN"),
        (None, 12, "not offered: it has no health service"),
        (None, 5, "not known: it serves no service of that name"),
    ];
    for (message, status, state) in cases {
        let (port, _tasks) = health_service(message, status).await;
        let (prober, _looks) = direct(grpc("svc"), port);
        let told = format!("the gRPC health of 127.0.0.1:{port} is {state}");
        assert_eq!(error_of(prober).await, told);
    }
}

#[tokio::test]
async fn a_probe_that_is_given_up_leaves_no_connection() {
    for readiness in [http("/"), grpc("svc")] {
        let (listener, port) = listener().await;
        let (prober, _looks) = direct(readiness, port);
        let probing = tokio::spawn(prober.run(soon()));
        let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        // It has begun to speak, and is never answered.
        let mut heard = [0; 1024];
        assert!(timeout(PATIENCE, stream.read(&mut heard)).await.unwrap().unwrap() > 0);
        probing.abort();
        let rest = timeout(PATIENCE, read_to_end(&mut stream)).await;
        assert!(rest.is_ok(), "the connection is still open");
    }
}

async fn read_to_end(stream: &mut TcpStream) -> io::Result<()> {
    let mut heard = [0; 1024];
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}
