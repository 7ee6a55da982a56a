//! `dormouse serve`: puts the house together and lives in it until it is asked to end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse_keeper::{Handle, Keeper, KeeperSettings};
use dormouse_proxy::{Proxy, ProxySettings, Workers};
use dormouse_store::{SqliteStore, Store, StoreError};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::guard::{StartRefusal, admit};
use crate::api::{AdminListener, AdminState, serve_admin};
use crate::conductor::{ApplyError, Conductor, Score};
use crate::config::{Gateway, Listen, Loaded};
use crate::gatekeeping::Gatekeeping;
use crate::idleness;
use crate::listen::bind_tcp;
use crate::listeners::Attended;
use crate::metering::Metering;
use crate::metrics::{Metrics, Traffic};
use crate::pins::Pins;
use crate::reload::Reloader;

/// The database in the state folder.
const STATE_FILE: &str = "dormouse.db";

/// What still runs this long after it was asked to end is left behind.
const END_MAX: Duration = Duration::from_secs(20);

/// Why serving ended early or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration has errors.
    #[error("the configuration has errors")]
    Config(Box<Loaded>),
    /// The configuration cannot be applied.
    #[error("the configuration cannot be applied")]
    Apply(#[from] ApplyError),
    /// The admin side must not be served like this.
    #[error("the admin side at {address}")]
    Admin {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: StartRefusal,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error("the state folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was kept cannot be read.
    #[error("the state in {}", path.display())]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The system gives no threads, or no descriptors for them.
    #[error("the threads that serve visitors")]
    Threads(#[source] io::Error),
    /// The system gives no signals.
    #[error("the signals that end the process")]
    Signals(#[source] io::Error),
}

/// A running house.
struct House {
    visitors: Vec<JoinHandle<()>>,
    /// The listeners of workloads.
    listeners: TaskTracker,
    admin: JoinHandle<()>,
    conductor: JoinHandle<()>,
    /// Pins and measuring.
    household: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    handle: Handle,
    store: Arc<dyn Store>,
    ends: Ends,
}

/// The order in which a house ends: visitors first, then the admin side and the configuration,
/// then the keeper.
#[derive(Clone, Default)]
struct Ends {
    visitors: CancellationToken,
    household: CancellationToken,
    keeper: CancellationToken,
}

/// The sockets, bound before anything else is begun: a port that is taken must not cost a start.
struct Sockets {
    http: Vec<TcpListener>,
    admin: Vec<AdminListener>,
}

/// Serves what the file says (what holds without one, when absent) until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration has errors or the house cannot be put together.
pub async fn run(file: Option<PathBuf>) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    raise_descriptor_limit();
    let reloader = Reloader::open(file).map_err(ServeError::Config)?;
    let house = House::start(reloader).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("Ending: asked by SIGTERM"),
        _ = interrupt.recv() => tracing::info!("Ending: asked by SIGINT"),
    }
    house.end().await;
    Ok(())
}

impl House {
    async fn start(reloader: Reloader) -> Result<Self, ServeError> {
        let gateway = reloader.settings().gateway.clone();
        let sockets = Sockets::bind(&gateway).await?;
        let store = open_store(&gateway).await?;
        let ends = Ends::default();
        let metrics = Arc::new(Metrics::default());
        let recalled = idleness::recall(&*store).await;
        let (keeper, keeper_task) = Keeper::spawn(KeeperSettings {
            seed: seed(),
            witness: Arc::clone(&metrics) as Arc<_>,
            recalled,
            shutdown: ends.keeper.clone(),
        });
        let workers = Workers::begin(cores()).map_err(ServeError::Threads)?;
        let settings = proxy_settings(&gateway);
        let proxy = Proxy::on_workers(Arc::new(Gatekeeping), settings, workers.clone());
        let attended = Attended { end: ends.visitors.clone(), ..Attended::default() };
        let (conductor, score) =
            Conductor::begin(reloader, keeper.clone(), &proxy, attended.clone()).await?;
        let sites = score.sites.clone();
        metrics.connect(Traffic { counters: proxy.counters(), sites, workers });
        let (pins, shelf) = Pins::spawn(keeper.clone(), Arc::clone(&store), ends.household.clone());
        let pins = Arc::new(pins);
        restore(&pins).await;
        let restorer =
            tokio::spawn(restore_always(Arc::clone(&pins), score.clone(), ends.household.clone()));
        let handle = keeper.clone();
        let (metering, board) =
            Metering::new(score.meters.clone(), score.registry.clone(), keeper.clone());
        metrics.measure(Arc::clone(&board));
        let metering = tokio::spawn(metering.run(ends.household.clone()));
        let tokens = gateway.admin_tokens;
        let state = AdminState { keeper, score, pins, metrics, board, tokens };
        Ok(Self {
            visitors: sockets
                .http
                .into_iter()
                .map(|listener| tokio::spawn(visit(proxy.clone(), listener, ends.visitors.clone())))
                .collect(),
            listeners: attended.tasks,
            admin: tokio::spawn(serve_admin(sockets.admin, state, ends.household.clone())),
            conductor: tokio::spawn(conductor.run(ends.household.clone())),
            household: vec![shelf, restorer, metering],
            keeper: keeper_task,
            handle,
            store,
            ends,
        })
    }

    /// Ends everything in order: what is open may finish within the gateway's drain.
    async fn end(self) {
        // Whoever ends us may lose patience with the drain.
        idleness::remember(&self.handle, &*self.store).await;
        self.ends.visitors.cancel();
        for listener in self.visitors {
            // The data plane's own drain bounds this wait.
            let _ = listener.await;
        }
        self.listeners.close();
        self.listeners.wait().await;
        self.ends.household.cancel();
        let household = [self.admin, self.conductor].into_iter().chain(self.household);
        all_within_end_max(household).await;
        idleness::remember(&self.handle, &*self.store).await;
        self.ends.keeper.cancel();
        all_within_end_max([self.keeper]).await;
        self.store.close().await;
    }
}

impl Sockets {
    async fn bind(gateway: &Gateway) -> Result<Self, ServeError> {
        let mut sockets = Self { http: Vec::new(), admin: Vec::new() };
        for listen in &gateway.http {
            sockets.http.push(bind_tcp(listen).map_err(cannot_listen(listen))?);
        }
        for listen in &gateway.admin {
            admit(listen, &gateway.admin_tokens)
                .map_err(|source| ServeError::Admin { address: listen.to_string(), source })?;
            sockets.admin.push(AdminListener::bind(listen).await.map_err(cannot_listen(listen))?);
        }
        Ok(sockets)
    }
}

fn cannot_listen(listen: &Listen) -> impl FnOnce(io::Error) -> ServeError {
    let address = listen.to_string();
    move |source| ServeError::Listen { address, source }
}

async fn open_store(gateway: &Gateway) -> Result<Arc<dyn Store>, ServeError> {
    let folder = &gateway.state;
    std::fs::create_dir_all(folder)
        .map_err(|source| ServeError::Folder { path: folder.clone(), source })?;
    let path = folder.join(STATE_FILE);
    match SqliteStore::open(&path).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(ServeError::Store { path, source }),
    }
}

/// Pins that were set for workloads that come to be defined later, by a label or a reload.
async fn restore_always(pins: Arc<Pins>, mut score: Score, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            changed = score.registry.changed() => match changed {
                Ok(()) => restore(&pins).await,
                Err(_) => return,
            },
        }
    }
}

async fn restore(pins: &Pins) {
    if let Err(error) = pins.restore().await {
        tracing::error!(%error, "Could not restore the pins");
    }
}

async fn visit(proxy: Proxy<Gatekeeping>, listener: TcpListener, end: CancellationToken) {
    if let Err(error) = proxy.serve(listener, end).await {
        tracing::error!(%error, "Stopped listening for visitors");
    }
}

async fn all_within_end_max(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    let all = futures_util::future::join_all(tasks);
    if tokio::time::timeout(END_MAX, all).await.is_err() {
        tracing::error!("Gave up waiting for everything to end");
    }
}

fn proxy_settings(gateway: &Gateway) -> ProxySettings {
    ProxySettings {
        trusted_proxies: gateway.trusted_proxies.clone(),
        drain: gateway.drain,
        ..ProxySettings::default()
    }
}

/// As many threads serve visitors as there are processors to run them.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A herd of ten thousand visitors is twenty thousand sockets: takes what the system grants.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "Could not raise the limit of open files");
    }
}

/// Spreads retries differently in every process.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.unwrap_or_default().subsec_nanos();
    u64::from(std::process::id()) << 32 | u64::from(nanos)
}
