//! What the tests stand on: a gatekeeper that a test opens and shuts, applications, raw clients.

mod app;
mod gate;
mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::routes::{Pattern, RouteTable};
use dormouse_proxy::{Proxy, ProxySettings, Site, Workers};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use app::{App, AppBody, digest, full, streamed};
pub(crate) use gate::{FakeGatekeeper, Gate};
pub(crate) use raw::{Raw, Received};

/// A running data plane with one site, `app.test`.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    pub(crate) proxy: Proxy<FakeGatekeeper>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ProxySettings::default(), |_| {}).await
    }

    /// Served on threads of their own, as in the program.
    pub(crate) async fn with(
        settings: ProxySettings,
        adapt: impl FnOnce(&mut Site<Arc<Gate>>),
    ) -> Self {
        let workers = Workers::begin(2).unwrap();
        Self::of(adapt, |gatekeeper| Proxy::on_workers(gatekeeper, settings, workers)).await
    }

    /// Served on the test's own runtime, whose clock the test may stop.
    pub(crate) async fn here() -> Self {
        Self::of(|_| {}, |gatekeeper| Proxy::new(gatekeeper, ProxySettings::default())).await
    }

    async fn of(
        adapt: impl FnOnce(&mut Site<Arc<Gate>>),
        proxy: impl FnOnce(Arc<FakeGatekeeper>) -> Proxy<FakeGatekeeper>,
    ) -> Self {
        let gate = Arc::<Gate>::default();
        let mut site = Site {
            key: Arc::clone(&gate),
            workload: "test/app".into(),
            port: None,
            scheme: dormouse_proxy::Scheme::Http,
            loading: Arc::default(),
            held: dormouse_proxy::Held::default(),
            counters: Arc::default(),
        };
        adapt(&mut site);
        let proxy = proxy(Arc::new(FakeGatekeeper));
        let pattern = Pattern::parse("app.test").unwrap();
        proxy.routes().swap(RouteTable::build([(pattern, Arc::new(site))]).0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn({
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            async move { proxy.serve(listener, shutdown).await }
        });
        Self { address, gate, proxy, shutdown, served }
    }

    /// With an application that is awake.
    pub(crate) async fn awake(app: &App) -> Self {
        let world = Self::new().await;
        world.gate.open(app.address);
        world
    }

    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send(&self, request: &str) -> Received {
        let mut raw = self.connect().await;
        raw.write(request).await;
        raw.response().await
    }
}

/// A client that speaks HTTP/2 with prior knowledge.
pub(crate) async fn http2_client(
    address: std::net::SocketAddr,
) -> hyper::client::conn::http2::SendRequest<AppBody> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

/// Waits until something is so, for at most ten seconds.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Panics where something takes longer than ten seconds.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), what).await.expect("it takes too long")
}
