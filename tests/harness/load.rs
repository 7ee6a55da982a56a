//! Many requests over connections that are kept: what became of them, and how long each took.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::get;

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(90);

/// Clients that send one request after the other, each over a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    at: SocketAddr,
    host: String,
    path: String,
    clients: usize,
    pause: Duration,
    left: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Answers by status; 0 counts the requests that were not answered.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// How long each answer took, in order of length.
    pub(crate) took: Vec<Duration>,
}

/// A load that goes on until it is ended.
pub(crate) struct Running {
    ended: Arc<AtomicBool>,
    clients: JoinSet<Outcome>,
}

impl Load {
    /// So many clients that ask `host` for `/instance`.
    pub(crate) fn on(at: SocketAddr, host: &str, clients: usize) -> Self {
        Self {
            at,
            host: host.to_owned(),
            path: "/instance".to_owned(),
            clients,
            pause: Duration::ZERO,
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            ended: Arc::default(),
        }
    }

    /// Of another path.
    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Each client waits so long before its next request.
    pub(crate) fn every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sends so many requests in all.
    pub(crate) async fn send(mut self, requests: usize) -> Outcome {
        self.left = Arc::new(AtomicUsize::new(requests));
        self.run().outcome().await
    }

    /// Sends requests until it is ended.
    pub(crate) fn run(self) -> Running {
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            clients.spawn(self.clone().client());
        }
        Running { ended: self.ended, clients }
    }

    async fn client(self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut connection = None;
        while !self.ended.load(Ordering::Relaxed) && self.takes_one() {
            let began = Instant::now();
            let answer = timeout(REQUEST_MAX, self.ask(&mut connection)).await.ok().flatten();
            outcome.took.push(began.elapsed());
            *outcome.statuses.entry(answer.unwrap_or(0)).or_default() += 1;
            tokio::time::sleep(self.pause).await;
        }
        outcome
    }

    fn takes_one(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    async fn ask(&self, connection: &mut Option<Connection>) -> Option<u16> {
        if connection.as_mut().is_none_or(|it| !it.sender.is_ready()) {
            *connection = Some(Connection::open(self.at).await?);
        }
        let request: Request<Full<Bytes>> = get(&self.host, &self.path);
        let answer = connection.as_mut()?.sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.ok()?;
        // hyper says that a connection is ready once its task has run again.
        let ready = connection.as_mut()?.sender.ready().await;
        if ready.is_err() {
            *connection = None;
        }
        Some(status)
    }
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn open(at: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(at).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How it ended is seen in the answer.
            let _ = connection.await;
        });
        Some(Self { sender, _driver: driver })
    }
}

impl Running {
    /// Ends it, and tells what became of it.
    pub(crate) async fn end(self) -> Outcome {
        self.ended.store(true, Ordering::Relaxed);
        self.outcome().await
    }

    async fn outcome(self) -> Outcome {
        let mut all = Outcome::default();
        for one in self.clients.join_all().await {
            all.took.extend(one.took);
            for (status, count) in one.statuses {
                *all.statuses.entry(status).or_default() += count;
            }
        }
        all.took.sort_unstable();
        all
    }
}

impl Outcome {
    /// How many were sent.
    pub(crate) fn sent(&self) -> usize {
        self.took.len()
    }

    /// How many were not answered with 200.
    pub(crate) fn failed(&self) -> usize {
        self.sent() - self.statuses.get(&200).copied().unwrap_or(0)
    }

    /// Below what `percent` of the answers lie.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let index = (self.took.len() * percent / 100).min(self.took.len().saturating_sub(1));
        self.took.get(index).copied().unwrap_or_default()
    }
}
