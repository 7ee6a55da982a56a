//! R1: however many first requests come at once, from a stop or from a pause, over HTTP/1.1, HTTP/2,
//! as WebSockets or over raw TCP: the engine is asked once, and everybody is answered. The herd of ten thousand
//! is a story of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dormouse_wire::Phase;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::client::{exchange, get};
use crate::harness::docker::Docker;
use crate::harness::house::{House, free_address, raise_open_files};
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::{eventually, quiet};

/// What the app listens on.
const PORT: u16 = 8080;
const HERDS: [usize; 4] = [1, 10, 100, 1000];
const HERD_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Manner {
    Http1,
    Http2,
    WebSocket,
    Tcp,
}

/// Where the house takes requests for one workload.
#[derive(Clone)]
struct Doors {
    http: SocketAddr,
    tcp: SocketAddr,
    host: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_however_many_come_first_one_start_serves_them_all() {
    let Some(docker) = Docker::of_machine().await else { return };
    let _alone = quiet().await;
    raise_open_files();
    let mut report = Report::of("R01");
    let rests = [("stop", "start"), ("pause", "unpause")];
    let mut configuration = docker.environment();
    let addresses = rests.map(|_| free_address());
    for ((rest, _), at) in rests.iter().zip(addresses) {
        let app = docker.app(rest, &[]).await;
        let tcp = format!("tcp = [{{ listen = \"{at}\", port = {PORT} }}]");
        let keys = format!("rest = \"{rest}\"\nidle_timeout = \"never\"\n{tcp}");
        configuration += &app.workload(&keys);
    }
    let house = House::start(&configuration).await;
    let mut wakes = 0;
    for ((rest, wake), tcp) in rests.into_iter().zip(addresses) {
        let host = format!("{rest}.test");
        let doors = Doors { http: house.http, tcp, host: host.clone() };
        house.admin.until(rest, Phase::Asleep).await;
        // From a pause only what has run before is woken.
        exchange(house.http, get(&host, "/")).await.unwrap();
        for _ in 0..scale(UNNAMED) {
            for herd in HERDS {
                for manner in [Manner::Http1, Manner::Http2, Manner::WebSocket, Manner::Tcp] {
                    house.admin.sleep_by_force(rest).await;
                    house.admin.until(rest, Phase::Asleep).await;
                    docker.forget_calls();
                    // Nobody is late: all of them wait before anything is done.
                    let hold = docker.hold(wake);
                    let mut callers = gather(manner, herd, &doors);
                    let all = async || house.admin.workload(rest).await.waiting as usize == herd;
                    eventually(HERD_MAX, "everybody waits", all).await;
                    drop(hold);
                    while let Some(outcome) = callers.join_next().await {
                        report.case(outcome.unwrap());
                    }
                    let asked = docker.calls().iter().filter(|it| it.op == wake).count();
                    let once = (asked == 1).then_some(());
                    report.case(once.ok_or_else(|| format!("{manner:?} {herd}: {asked} {wake}")));
                    wakes += 1;
                }
            }
        }
    }
    report.finish(format_args!("first requests and {wakes} wakes counted at the engine"));
}

fn gather(manner: Manner, herd: usize, doors: &Doors) -> JoinSet<Result<(), String>> {
    let mut callers = JoinSet::new();
    for _ in 0..herd {
        let Doors { http, tcp, host } = doors.clone();
        callers.spawn(async move {
            let call = async {
                match manner {
                    Manner::Http1 => http1(http, &host).await,
                    Manner::Http2 => http2_call(http, &host).await,
                    Manner::WebSocket => websocket(http, &host).await,
                    Manner::Tcp => raw(tcp, &host).await,
                }
            };
            timeout(HERD_MAX, call).await.map_err(|_| "never answered".to_owned())?
        });
    }
    callers
}

async fn http1(at: SocketAddr, host: &str) -> Result<(), String> {
    let answer = exchange(at, get(host, "/instance")).await.map_err(|error| error.to_string())?;
    (answer.status == 200).then_some(()).ok_or_else(|| answer.text())
}

async fn http2_call(at: SocketAddr, host: &str) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(at).await.map_err(|error| told(&error))?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| told(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(format!("http://{host}/instance"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.map_err(|error| told(&error))?;
    let status = response.status();
    response.into_body().collect().await.map_err(|error| told(&error))?;
    (status == 200).then_some(()).ok_or_else(|| status.to_string())
}

/// Bytes that only the workload understands, sent before it is awake.
async fn raw(at: SocketAddr, host: &str) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(at).await.map_err(told)?;
    for part in
        ["GET /instance HTTP/1.1\r\n", &format!("host: {host}\r\nconnection: close\r\n\r\n")]
    {
        stream.write_all(part.as_bytes()).await.map_err(told)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(told)?;
    answer.starts_with("HTTP/1.1 200").then_some(()).ok_or(answer)
}

async fn websocket(at: SocketAddr, host: &str) -> Result<(), String> {
    let stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
    let opened = tokio_tungstenite::client_async(format!("ws://{host}/ws"), stream).await;
    let (mut socket, answer) = opened.map_err(|error| error.to_string())?;
    // A polite end, so that nobody is still connected when it is put to sleep again.
    let _ = socket.close(None).await;
    (answer.status() == 101).then_some(()).ok_or_else(|| answer.status().to_string())
}
