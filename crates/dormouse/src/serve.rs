//! `dormouse serve`: puts the house together and lives in it until it is asked to end.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse_keeper::{Handle, Keeper, KeeperSettings, Witness};
use dormouse_proxy::{Proxy, ProxySettings};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::conductor::{ApplyError, Conductor, Score};
use crate::config::{Gateway, Listen};
use crate::gatekeeping::Gatekeeping;
use crate::reload::Reloader;

/// What may still run this long after everything was asked to end is left behind.
const END_MAX: Duration = Duration::from_secs(20);

/// A running house.
pub struct House {
    /// The keeper.
    pub keeper: Handle,
    /// The data plane.
    pub proxy: Proxy<Gatekeeping>,
    /// The registry and its readers.
    pub score: Score,
    /// Where HTTP visitors come in, as bound.
    pub http: Vec<SocketAddr>,
    conductor: JoinHandle<()>,
    listeners: Vec<JoinHandle<()>>,
    keeper_task: JoinHandle<()>,
    ends: Ends,
}

/// The order in which a house ends: visitors first, then the conductor, then the keeper.
#[derive(Clone, Default)]
struct Ends {
    visitors: CancellationToken,
    conductor: CancellationToken,
    keeper: CancellationToken,
}

/// Why a house could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The configuration cannot be applied.
    #[error("the configuration cannot be applied")]
    Apply(#[from] ApplyError),
    /// An address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error("the state folder {}", path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl House {
    /// Starts everything but the admin side: listeners first, so that nobody is turned away while
    /// the runtimes are being asked.
    ///
    /// # Errors
    /// When a listener cannot be bound or the configuration cannot be applied.
    pub async fn start(reloader: Reloader, witness: Arc<dyn Witness>) -> Result<Self, HouseError> {
        let gateway = reloader.settings().gateway.clone();
        let mut bound = Vec::new();
        for listen in &gateway.http {
            bound.push(bind(listen)?);
        }
        let ends = Ends::default();
        let shutdown = ends.keeper.clone();
        let seed = seed();
        let (keeper, keeper_task) = Keeper::spawn(KeeperSettings { seed, witness, shutdown });
        let proxy = Proxy::new(Arc::new(Gatekeeping), proxy_settings(&gateway));
        let (conductor, score) = Conductor::begin(reloader, keeper.clone(), proxy.routes()).await?;
        let conductor = tokio::spawn(conductor.run(ends.conductor.clone()));
        let mut http = Vec::new();
        let mut listeners = Vec::new();
        for listener in bound {
            http.extend(listener.local_addr());
            listeners.push(tokio::spawn(visit(proxy.clone(), listener, ends.visitors.clone())));
        }
        Ok(Self { keeper, proxy, score, http, conductor, listeners, keeper_task, ends })
    }

    /// Ends everything in order: what is open may finish within the gateway's drain.
    pub async fn end(self) {
        self.ends.visitors.cancel();
        for listener in self.listeners {
            // A listener's own drain bounds this wait.
            let _ = listener.await;
        }
        self.ends.conductor.cancel();
        let conductor = tokio::time::timeout(END_MAX, self.conductor).await;
        self.ends.keeper.cancel();
        let keeper = tokio::time::timeout(END_MAX, self.keeper_task).await;
        if conductor.is_err() || keeper.is_err() {
            tracing::error!("Gave up waiting for everything to end");
        }
    }
}

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// Binds one address for HTTP visitors.
fn bind(listen: &Listen) -> Result<TcpListener, HouseError> {
    let failed = |address: String| move |source| HouseError::Listen { address, source };
    match listen {
        Listen::Everywhere(port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            // A machine without IPv6 has no such address at all.
            let v4 = SocketAddr::from(([0, 0, 0, 0], *port));
            bind_to(both).or_else(|_| bind_to(v4)).map_err(failed(v4.to_string()))
        }
        Listen::At(address) => bind_to(*address).map_err(failed(address.to_string())),
        Listen::Unix(path) => {
            let source = io::Error::from(io::ErrorKind::Unsupported);
            Err(HouseError::Listen { address: path.display().to_string(), source })
        }
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn visit(proxy: Proxy<Gatekeeping>, listener: TcpListener, end: CancellationToken) {
    if let Err(error) = proxy.serve(listener, end).await {
        tracing::error!(%error, "Stopped listening for visitors");
    }
}

fn proxy_settings(gateway: &Gateway) -> ProxySettings {
    ProxySettings {
        trusted_proxies: gateway.trusted_proxies.clone(),
        drain: gateway.drain,
        ..ProxySettings::default()
    }
}

/// Spreads retries differently in every process.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.unwrap_or_default().subsec_nanos();
    u64::from(std::process::id()) << 32 | u64::from(nanos)
}
