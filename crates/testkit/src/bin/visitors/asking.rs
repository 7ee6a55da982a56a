//! Who asks at a fixed rate, whether the answers come or not: how long an answer took counts from
//! the moment at which its request was due.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// What is asked for.
const PATH: &str = "/instance";

/// How many requests, and when.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    count: u32,
    apart: Duration,
}

impl Plan {
    /// So many a second, for so many seconds.
    pub(crate) fn new(rate: &str, seconds: &str) -> Option<Self> {
        let rate: u32 = rate.parse().ok().filter(|rate| *rate > 0)?;
        let lasts = super::seconds(seconds)?;
        let apart = Duration::from_secs(1) / rate;
        Some(Self { count: rate * u32::try_from(lasts.as_secs()).ok()?, apart })
    }
}

/// What became of the requests; status 0 stands for no answer.
#[derive(Default)]
struct Told {
    statuses: BTreeMap<u16, usize>,
    took: Vec<Duration>,
}

/// Requests over so many connections in turns, which are kept.
pub(crate) async fn steady(at: SocketAddr, host: &str, plan: Plan, connections: u32) -> String {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for first in 0..connections {
        let host = host.to_owned();
        clients.spawn(async move {
            let (mut told, mut connection) = (Told::default(), None);
            for n in (first..plan.count).step_by(connections as usize) {
                let due = begin + plan.apart * n;
                sleep_until(due).await;
                let status = ask(at, &mut connection, request("GET", PATH, &host, "")).await;
                told.count(status, due);
            }
            told
        });
    }
    merged(clients).await
}

/// Requests over a connection each.
pub(crate) async fn crowd(at: SocketAddr, host: &str, plan: Plan) -> String {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for n in 0..plan.count {
        let due = begin + plan.apart * n;
        sleep_until(due).await;
        let host = host.to_owned();
        clients.spawn(async move {
            let mut told = Told::default();
            told.count(ask(at, &mut None, request("GET", PATH, &host, "")).await, due);
            told
        });
    }
    merged(clients).await
}

/// Pins and their ends, one after the other: each is told to everybody who reads events.
pub(crate) async fn pins(at: SocketAddr, name: &str, count: u32) -> String {
    let path = format!("/api/v1/workloads/{name}/pin");
    let (host, mut told, mut connection) = (at.to_string(), Told::default(), None);
    for n in 0..2 * count {
        let (method, body) = if n % 2 == 0 { ("PUT", r#"{"for":"1h"}"#) } else { ("DELETE", "") };
        let begun = Instant::now();
        told.count(ask(at, &mut connection, request(method, &path, &host, body)).await, begun);
    }
    told.to_json()
}

fn request(method: &str, path: &str, host: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    let request = request.header("content-type", "application/json");
    request.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("the caller names a path")
}

type Connection = (SendRequest<Full<Bytes>>, JoinSet<()>);

/// The status of the answer, over the connection that is there, or over a new one.
async fn ask(
    at: SocketAddr,
    connection: &mut Option<Connection>,
    request: Request<Full<Bytes>>,
) -> Option<u16> {
    let asked = timeout(REQUEST_MAX, async {
        if let Some((sender, _)) = connection
            && sender.ready().await.is_err()
        {
            *connection = None;
        }
        if connection.is_none() {
            *connection = Some(connect(at).await?);
        }
        let (sender, _) = connection.as_mut()?;
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.ok()?;
        Some(status)
    });
    let status = asked.await.ok().flatten();
    if status.is_none() {
        *connection = None;
    }
    status
}

async fn connect(at: SocketAddr) -> Option<Connection> {
    let stream = TcpStream::connect(at).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is seen in the answer.
        let _ = connection.await;
    });
    Some((sender, driver))
}

async fn merged(clients: JoinSet<Told>) -> String {
    let mut all = Told::default();
    for one in clients.join_all().await {
        all.took.extend(one.took);
        for (status, count) in one.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
    }
    all.to_json()
}

impl Told {
    fn count(&mut self, status: Option<u16>, due: Instant) {
        *self.statuses.entry(status.unwrap_or(0)).or_default() += 1;
        self.took.push(due.elapsed());
    }

    fn to_json(&self) -> String {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = |percent: usize| {
            let index = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        let good = self.statuses.get(&200).copied().unwrap_or(0);
        let mut statuses = String::new();
        for (status, count) in &self.statuses {
            let comma = if statuses.is_empty() { "" } else { "," };
            write!(statuses, r#"{comma}"{status}":{count}"#).expect("a text takes everything");
        }
        format!(
            r#"{{"asked":{},"failed":{},"p50_us":{:.1},"p99_us":{:.1},"statuses":{{{statuses}}}}}"#,
            took.len(),
            took.len() - good,
            at(50),
            at(99),
        )
    }
}
