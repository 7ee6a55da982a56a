//! What is in use does not sleep, however long it takes: a slow download, a slow upload, an event
//! stream, a silent WebSocket and raw TCP connections, silent or at work, keep their workload awake far beyond `idle_timeout`. It rests when
//! that much time has passed since the last of them ended, and not before.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dormouse_wire::Phase;
use futures_util::StreamExt;
use harness::client::{Stream, exchange, get};
use harness::docker::{App, Docker};
use harness::house::{House, free_address};
use harness::report::Report;
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

const IDLE: Duration = Duration::from_secs(3);
/// Of every use.
const LASTS: Duration = Duration::from_secs(10);
/// How late a rest may be.
const LATE_MAX: Duration = Duration::from_secs(1);
/// What the app listens on.
const PORT: u16 = 8080;
const CHUNKS: u32 = 20;
const CHUNK_BYTES: u32 = 1000;

/// When a use ended, as far as a client can tell.
#[derive(Clone, Copy)]
struct Ended {
    not_before: SystemTime,
    by: SystemTime,
}

#[tokio::test]
async fn r04_whatever_outlasts_idle_timeout_keeps_its_workload_awake() {
    let Some(docker) = Docker::of_machine().await else { return };
    let download = docker.app("download", &[]).await;
    let upload = docker.app("upload", &[]).await;
    let events = docker.app("events", &[]).await;
    let socket = docker.app("socket", &[]).await;
    let workloads = [
        download.workload("idle_timeout = \"3s\""),
        upload.workload("idle_timeout = \"3s\""),
        events.workload("idle_timeout = \"3s\""),
        socket.workload("idle_timeout = \"3s\"\nrest = \"pause\""),
    ];
    let house = House::start(&(docker.environment() + &workloads.concat())).await;
    let (one, two, three, four) = tokio::join!(
        check(&docker, &download, ("stop", "die"), slow_download(&house, &download)),
        check(&docker, &upload, ("stop", "die"), slow_upload(&house, &upload)),
        check(&docker, &events, ("stop", "die"), event_stream(&house, &events, LASTS)),
        check(&docker, &socket, ("pause", "pause"), silent_socket(&house, &socket, LASTS)),
    );
    let mut report = Report::of("R04");
    report.cases([one, two, three, four]);
    report
        .finish("a download, an upload, an event stream and a WebSocket, each above idle_timeout");
}

#[tokio::test]
async fn r04_a_tcp_connection_keeps_its_workload_awake_silent_or_at_work() {
    let Some(docker) = Docker::of_machine().await else { return };
    let silent = docker.app("silent", &[]).await;
    let frozen = docker.app("frozen", &[]).await;
    let bulk = docker.app("bulk", &[]).await;
    let addresses = [free_address(), free_address(), free_address()];
    let listening = |app: &App, at: SocketAddr, keys: &str| {
        let tcp = format!("tcp = [{{ listen = \"{at}\", port = {PORT} }}]");
        app.workload(&format!("idle_timeout = \"3s\"\n{keys}\n{tcp}"))
    };
    let workloads = [
        listening(&silent, addresses[0], ""),
        listening(&frozen, addresses[1], "rest = \"pause\""),
        listening(&bulk, addresses[2], ""),
    ];
    let house = House::start(&(docker.environment() + &workloads.concat())).await;
    let (one, two, three) = tokio::join!(
        check(&docker, &silent, ("stop", "die"), silent_connection(&house, &silent, addresses[0])),
        check(
            &docker,
            &frozen,
            ("pause", "pause"),
            silent_connection(&house, &frozen, addresses[1])
        ),
        check(&docker, &bulk, ("stop", "die"), bulk_connection(&bulk, addresses[2])),
    );
    let mut report = Report::of("R04");
    report.cases([one, two, three]);
    report.finish("two silent TCP connections and one at work, each above idle_timeout");
}

#[tokio::test]
async fn r04_the_last_of_several_decides() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let workload = app.workload("idle_timeout = \"3s\"");
    let house = House::start(&(docker.environment() + &workload)).await;
    let last_of_three = async {
        let (first, second, third) = tokio::join!(
            event_stream(&house, &app, LASTS / 4),
            silent_socket(&house, &app, LASTS),
            event_stream(&house, &app, LASTS / 2),
        );
        assert!(first.by < third.not_before && third.by < second.not_before);
        second
    };
    let mut report = Report::of("R04");
    report.case(check(&docker, &app, ("stop", "die"), last_of_three).await);
    house.admin.until("web", Phase::Asleep).await;
    let leases = house.admin.workload("web").await.leases;
    assert_eq!((leases.request, leases.connection), (0, 0));
    report.finish("three uses that overlap");
}

/// Uses an app until the use ends, and looks at the engine when it is put to rest: `asked` is the
/// call that does it, `said` is what the engine says then.
async fn check(
    docker: &Docker,
    app: &App,
    (asked, said): (&str, &str),
    use_it: impl Future<Output = Ended>,
) -> Result<(), String> {
    let began = SystemTime::now();
    let ended = use_it.await;
    let lasted = ended.not_before.duration_since(began).unwrap();
    assert!(lasted > IDLE * 3 - LATE_MAX, "{}: lasted only {lasted:?}", app.short);

    let rested = docker.said(app, said, 1).await;
    let idle_at = ended.not_before + IDLE;
    if let Ok(early) = idle_at.duration_since(rested) {
        return Err(format!("{}: rested {early:?} early", app.short));
    }
    let asked_at = docker.last_call_of(app, asked).unwrap();
    let late = asked_at.duration_since(ended.by + IDLE).unwrap_or_default();
    println!("{}: {asked} was asked {late:?} late", app.short);
    assert!(late <= LATE_MAX, "{}: {late:?} late", app.short);
    assert_eq!(docker.calls_of(app, asked), 1);
    assert_eq!(docker.calls_of(app, "start"), 1, "{} was woken once", app.short);
    Ok(())
}

async fn slow_download(house: &House, app: &App) -> Ended {
    let pause_ms = LASTS.as_millis() / u128::from(CHUNKS - 1);
    let bytes = CHUNKS * CHUNK_BYTES;
    let path = format!("/download?bytes={bytes}&chunk={CHUNK_BYTES}&chunk_ms={pause_ms}");
    let mut download = Stream::open(house.http, get(&app.host(), &path)).await;
    let (mut received, mut not_before) = (0, SystemTime::now());
    while let Some(piece) = download.next().await {
        received += u32::try_from(piece.len()).unwrap();
        if received < bytes {
            not_before = SystemTime::now();
        }
    }
    assert_eq!(received, bytes);
    Ended { not_before, by: SystemTime::now() }
}

async fn slow_upload(house: &House, app: &App) -> Ended {
    let pause = LASTS / (CHUNKS - 1);
    let chunks = futures_util::stream::iter(0..CHUNKS).then(move |at| async move {
        if at > 0 {
            sleep(pause).await;
        }
        let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES as usize]);
        Ok::<_, std::io::Error>(Frame::data(chunk))
    });
    let began = SystemTime::now();
    let request = Request::post("/upload").header("host", app.host());
    let request = request.body(StreamBody::new(Box::pin(chunks))).unwrap();
    let answer = exchange(house.http, request).await.unwrap();
    assert_eq!(answer.json()["bytes"], CHUNKS * CHUNK_BYTES);
    Ended { not_before: began + LASTS, by: SystemTime::now() }
}

async fn event_stream(house: &House, app: &App, lasts: Duration) -> Ended {
    let mut events = Stream::open(house.http, get(&app.host(), "/sse?n=0&every_ms=700")).await;
    assert_eq!(events.status, 200);
    let end_at = SystemTime::now() + lasts;
    while SystemTime::now() < end_at {
        assert!(events.next().await.is_some(), "the stream goes on");
    }
    let not_before = SystemTime::now();
    drop(events);
    Ended { not_before, by: SystemTime::now() }
}

/// Nothing is said on it, from its handshake to its end.
async fn silent_socket(house: &House, app: &App, lasts: Duration) -> Ended {
    let stream = TcpStream::connect(house.http).await.unwrap();
    let url = format!("ws://{}/ws", app.host());
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    sleep(lasts).await;
    let not_before = SystemTime::now();
    close(&mut socket).await;
    Ended { not_before, by: SystemTime::now() }
}

/// Nothing is said on it by anybody.
async fn silent_connection(house: &House, app: &App, at: SocketAddr) -> Ended {
    let connection = TcpStream::connect(at).await.unwrap();
    let began = SystemTime::now();
    house.admin.until(&app.short, Phase::Ready).await;
    assert_eq!(house.admin.workload(&app.short).await.leases.connection, 1);
    sleep(LASTS.saturating_sub(began.elapsed().unwrap())).await;
    let not_before = SystemTime::now();
    drop(connection);
    Ended { not_before, by: SystemTime::now() }
}

/// A download without a pause, as bytes that nobody on the way understands.
async fn bulk_connection(app: &App, at: SocketAddr) -> Ended {
    const PIECES: u128 = 320;
    const PIECE_BYTES: u128 = 64 << 10;
    let (bytes, every_ms) = (PIECES * PIECE_BYTES, LASTS.as_millis() / (PIECES - 1) + 1);
    let path = format!("/download?bytes={bytes}&chunk={PIECE_BYTES}&chunk_ms={every_ms}");
    let mut download = Stream::open(at, get(&app.host(), &path)).await;
    let (mut received, mut not_before) = (0, SystemTime::now());
    while let Some(piece) = download.next().await {
        received += piece.len() as u128;
        if received < bytes {
            not_before = SystemTime::now();
        }
    }
    assert_eq!(received, bytes);
    drop(download);
    Ended { not_before, by: SystemTime::now() }
}

async fn close(socket: &mut WebSocketStream<TcpStream>) {
    socket.close(None).await.unwrap();
    while let Some(message) = socket.next().await {
        assert!(message.unwrap().is_close(), "nobody else says anything");
    }
}
