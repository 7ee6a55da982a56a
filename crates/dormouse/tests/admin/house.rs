//! A house for one test: a keeper, a registry from a real file, and the admin API on a real port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dormouse::api::{AdminListener, AdminState, serve_admin};
use dormouse::client::{Address, Call, Client, ClientError};
use dormouse::conductor::{Adapters, ReloadRequest, Score};
use dormouse::config::{AdminToken, Listen, load};
use dormouse::metering::{Board, Meters};
use dormouse::metrics::{Metrics, SiteTable, Traffic};
use dormouse::pins::Pins;
use dormouse::registry::{Registry, assemble};
use dormouse::reload::Reading;
use dormouse::watch::Watches;
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_keeper::{Definition, EnvironmentDefinition, Handle, Keeper, KeeperSettings, Layout};
use dormouse_providers::Provider;
use dormouse_store::{MemoryStore, Store};
use dormouse_wire::{Phase, Problem, Workload};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two environments, so that a name can be ambiguous.
pub(super) const FILE: &str = r#"
[environment.local]
docker = "unix:///nowhere.sock"
[environment.other]
docker = "unix:///nowhere.sock"
[defaults]
ready = { engine = true }
[workload.blog]
target = "local/blog"
hosts = ["blog.example.com", "example.com/blog"]
needs = ["db"]
wake_timeout = "3s"
[workload.db]
target = "local/db"
idle_timeout = "never"
[workload.app]
target = "local/app"
hosts = ["app.example.com"]
port = 80
idle_timeout = "20m"
"#;

/// Everything that one test needs; ends with it.
pub(super) struct House {
    pub(super) runtime: Arc<Runtime>,
    pub(super) keeper: Handle,
    pub(super) pins: Arc<Pins>,
    pub(super) address: SocketAddr,
    /// The same API on a unix socket.
    pub(super) socket: PathBuf,
    pub(super) client: Client,
    pub(super) reloads: mpsc::Receiver<ReloadRequest>,
    pub(super) registry: watch::Sender<Arc<Registry>>,
    adapters: Adapters,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
    _reading: watch::Sender<Arc<Reading>>,
    _adapters: watch::Sender<Adapters>,
    _sites: watch::Sender<SiteTable>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl House {
    /// A house of [`FILE`] that needs no token.
    pub(super) async fn open() -> Self {
        Self::of(FILE, Vec::new(), Arc::new(MemoryStore::default())).await
    }

    /// A house of a file, with its tokens and its store.
    pub(super) async fn of(file: &str, tokens: Vec<AdminToken>, store: Arc<dyn Store>) -> Self {
        let registry = Arc::new(registry_of(file));
        let runtime = Runtime::with(&["blog", "db", "app", "twin"]);
        let shutdown = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let (keeper, _) = Keeper::spawn(KeeperSettings {
            recalled: std::collections::BTreeMap::new(),
            seed: 1,
            witness: Arc::clone(&metrics) as Arc<_>,
            shutdown: shutdown.clone(),
        });
        let names = registry.environments.keys().cloned();
        let adapter = || Arc::clone(&runtime) as Arc<dyn Provider>;
        let adapters: Adapters = Arc::new(names.map(|name| (name, adapter())).collect());
        let (pins, _) = Pins::spawn(keeper.clone(), store, shutdown.clone());
        let pins = Arc::new(pins);
        let registry_sender = watch::Sender::new(registry);
        let reading = watch::Sender::new(Arc::new(Reading::default()));
        let adapters_sender = watch::Sender::new(Arc::clone(&adapters));
        let sites = watch::Sender::new(SiteTable::default());
        let meters = watch::Sender::new(Meters::default());
        let (reload, reloads) = mpsc::channel(1);
        let score = Score {
            registry: registry_sender.subscribe(),
            reading: reading.subscribe(),
            adapters: adapters_sender.subscribe(),
            meters: meters.subscribe(),
            sites: sites.subscribe(),
            watches: Watches::default(),
            reload,
        };
        metrics.connect(Traffic {
            counters: Arc::default(),
            sites: score.sites.clone(),
            workers: dormouse_proxy::Workers::begin(1).unwrap(),
        });
        let board = Arc::<Board>::default();
        let listen = Listen::At(([127, 0, 0, 1], 0).into());
        let listener = AdminListener::bind(&listen).await.unwrap();
        let Listen::At(address) = listener.listen().unwrap() else { panic!("not an address") };
        let state = AdminState {
            keeper: keeper.clone(),
            score,
            pins: Arc::clone(&pins),
            metrics,
            board,
            tokens,
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let unix = AdminListener::bind(&Listen::Unix(socket.clone())).await.unwrap();
        tokio::spawn(serve_admin(vec![listener, unix], state, shutdown.clone()));
        let client = client(address, None);
        let mut house = Self {
            runtime,
            keeper,
            pins,
            address,
            socket,
            client,
            reloads,
            registry: registry_sender,
            adapters,
            shutdown,
            _folder: folder,
            _reading: reading,
            _adapters: adapters_sender,
            _sites: sites,
        };
        let registry = Arc::clone(&house.registry.borrow());
        house.apply(registry).await;
        house.pins.restore().await.unwrap();
        house.settled().await;
        house
    }

    /// Makes a registry hold.
    pub(super) async fn apply(&mut self, registry: Arc<Registry>) {
        let environment = |(name, provider): (&EnvironmentName, &Arc<dyn Provider>)| {
            EnvironmentDefinition { name: name.clone(), provider: Arc::clone(provider) }
        };
        let workloads = registry.workloads.values().map(|spec| Definition {
            id: spec.id.clone(),
            target: spec.target.clone(),
            launch: spec.launch.clone(),
            policy: Ok(Arc::clone(&spec.policy)),
        });
        let layout = Layout {
            environments: self.adapters.iter().map(environment).collect(),
            workloads: workloads.collect(),
        };
        self.keeper.apply(layout).await.unwrap();
        self.registry.send_replace(registry);
    }

    /// Waits until nothing is unknown any more.
    async fn settled(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let views = self.keeper.views().await.unwrap();
            if views.iter().all(|view| view.explanation.phase != "unknown") {
                return;
            }
            assert!(Instant::now() < deadline, "still unknown");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a workload is in a phase, as the API tells it.
    pub(super) async fn until(&self, name: &str, phase: Phase) -> Workload {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let workload = self.workload(name).await;
            if workload.phase == phase {
                return workload;
            }
            assert!(Instant::now() < deadline, "{name} is still {:?}", workload.phase);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A workload as the API tells it.
    pub(super) async fn workload(&self, name: &str) -> Workload {
        let call = Call::get(format!("/api/v1/workloads/{name}"));
        self.client.call(call).await.unwrap().1
    }

    /// A call that answers with JSON.
    pub(super) async fn json(&self, method: Method, path: &str) -> (StatusCode, Value) {
        self.client.call(Call::new(method, path)).await.unwrap()
    }

    /// A call that answers with a problem.
    pub(super) async fn problem(&self, method: Method, path: &str) -> Problem {
        problem(self.client.fetch(Call::new(method, path)).await)
    }

    /// A call with a body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, Value), ClientError> {
        let call = Call { body: Some(body.to_owned()), ..Call::new(method, path) };
        self.client.call(call).await
    }

    /// The URL for the command line.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The problem that a call came to.
pub(super) fn problem<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> Problem {
    match outcome {
        Err(ClientError::Problem(problem)) => *problem,
        other => panic!("not a problem: {other:?}"),
    }
}

/// A client of an address.
pub(super) fn client(address: SocketAddr, token: Option<&str>) -> Client {
    let address = Address::Tcp { host: address.ip().to_string(), port: address.port() };
    Client::new(address, token).unwrap()
}

/// The registry of a file's text.
pub(super) fn registry_of(file: &str) -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dormouse.toml");
    std::fs::write(&path, file).unwrap();
    let loaded = load(Path::new(&path));
    let settings = loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.findings));
    assemble(1, &settings, &BTreeMap::new())
}

/// The id of a name in the environment `local`.
pub(super) fn id(name: &str) -> WorkloadId {
    WorkloadId::new(&EnvironmentName::new("local"), name)
}

/// Sends bytes as they are and reads the answer to its end: status, head and body.
pub(super) async fn raw(address: SocketAddr, request: &str) -> (u16, String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}
