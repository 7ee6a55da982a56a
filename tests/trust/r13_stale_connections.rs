//! R13: a workload's server is restarted again and again under load, as a supervisor inside its
//! container would with a socket that it holds: it ends what it is doing and closes what is idle, and
//! its successor accepts. No client sees anything of it, whatever connections to it lay in the pool.

use std::sync::Arc;
use std::time::Duration;

use dormouse_wire::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::client::exchange;
use crate::harness::house::{House, free_address};
use crate::harness::load::Load;
use crate::harness::local::{take_over, understudy};
use crate::harness::report::{Report, scale};
use crate::harness::vitals::metric;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

const RESTARTS: usize = 400;
/// The scale of 10^4 restarts.
const FULL: usize = 25;
const CLIENTS: usize = 4;
/// Between two restarts; connections are in the pool by then.
const RESTARTED_EVERY: Duration = Duration::from_millis(8);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_no_restart_of_a_server_is_seen_by_a_client() {
    let mut report = Report::of("R13");
    let port = free_address().port();
    let house = House::start(&understudy("web", port, "")).await;
    let listener = Arc::new(take_over(&house, "web", port).await);
    let load = Load::on(house.http, "web.test", CLIENTS).run();
    let connects = metric(&house, "dormouse_upstream_connects_total").await;
    let restarts = RESTARTS * scale(FULL);
    for round in 0..restarts {
        let server = Server::start(Arc::clone(&listener));
        tokio::time::sleep(RESTARTED_EVERY).await;
        // With a body, which is never sent twice: it must find a connection that is alive.
        let upload = Request::post("/").header("host", "web.test");
        let upload = upload.body(Full::new(Bytes::from_static(b"abc"))).unwrap();
        let answer = exchange(house.http, upload).await;
        report.case(match answer.map(|answer| answer.status) {
            Ok(200) => Ok(()),
            other => Err(format!("restart {round}: a body was answered {other:?}")),
        });
        server.end().await;
    }
    let server = Server::start(listener);
    let outcome = load.end().await;
    server.end().await;
    let connects = metric(&house, "dormouse_upstream_connects_total").await - connects;
    report.cases((0..outcome.failed()).map(|_| Err(format!("{:?}", outcome.statuses))));
    report.case(if connects >= restarts as u64 {
        Ok(())
    } else {
        Err(format!("only {connects} connections: the pool was never stale"))
    });
    assert_eq!(house.admin.phase("web").await, Phase::Ready, "its process ran all the time");
    report.finish(format_args!(
        "restarts; {} requests over {CLIENTS} connections meanwhile, {connects} connections to the \
         server",
        outcome.sent()
    ));
}

/// A server that ends in order.
struct Server {
    ends: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(listener: Arc<TcpListener>) -> Self {
        let ends = CancellationToken::new();
        let task = tokio::spawn(accept(listener, ends.clone()));
        Self { ends, task }
    }

    async fn end(self) {
        self.ends.cancel();
        self.task.await.unwrap();
    }
}

async fn accept(listener: Arc<TcpListener>, ends: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = ends.cancelled() => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(converse(stream, ends.clone()));
            }
        }
    }
    connections.join_all().await;
}

/// Answers one request after the other; an idle connection ends with the server.
async fn converse(mut stream: TcpStream, ends: CancellationToken) {
    let mut bytes = Vec::new();
    let mut is_new = true;
    loop {
        while !is_whole(&bytes) {
            let idle = bytes.is_empty() && !is_new;
            tokio::select! {
                read = stream.read_buf(&mut bytes) => {
                    if read.map_or(0, |amount| amount) == 0 {
                        return;
                    }
                }
                () = ends.cancelled(), if idle => return,
            }
        }
        bytes.clear();
        is_new = false;
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    bytes.len() >= end + 4 + length
}
