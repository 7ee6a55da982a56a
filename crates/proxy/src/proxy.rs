//! The data plane as its owner sees it: routes in, listeners in, counters out.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dormouse_core::routes::RouteTable;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::gatekeeper::Gatekeeper;
use crate::listener;
use crate::loading::Pages;
use crate::pool::Pool;
use crate::settings::ProxySettings;
use crate::site::Site;
use crate::tcp::{self, TcpEnds, TcpRoute};
use crate::udp::{self, UdpListener, UdpRoute};
use crate::waiting::WaitingRooms;
use crate::workers::Workers;

/// The table that leads from requests to sites.
pub type Sites<K> = RouteTable<Arc<Site<K>>>;

/// The data plane. Cheap to clone; all clones are one.
pub struct Proxy<G: Gatekeeper>(Arc<Shared<G>>);

/// Changes the routes of a running data plane.
pub struct Routes<G: Gatekeeper>(Arc<Shared<G>>);

/// What every connection and request of a data plane shares.
pub(crate) struct Shared<G: Gatekeeper> {
    pub(crate) gatekeeper: Arc<G>,
    pub(crate) sites: ArcSwap<Sites<G::Key>>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) rooms: Arc<WaitingRooms>,
    pub(crate) pages: Pages,
    pub(crate) counters: Arc<Counters>,
    /// Who serves connections, where it is not the runtime that accepts them.
    pub(crate) workers: Option<Workers>,
}

impl<G: Gatekeeper> Proxy<G> {
    /// A data plane without routes, which serves connections where it accepts them.
    pub fn new(gatekeeper: Arc<G>, settings: ProxySettings) -> Self {
        Self::build(gatekeeper, settings, None)
    }

    /// A data plane without routes, whose connections are served by these threads.
    pub fn on_workers(gatekeeper: Arc<G>, settings: ProxySettings, workers: Workers) -> Self {
        Self::build(gatekeeper, settings, Some(workers))
    }

    fn build(gatekeeper: Arc<G>, settings: ProxySettings, workers: Option<Workers>) -> Self {
        let settings = Arc::new(settings);
        let counters = Arc::<Counters>::default();
        Self(Arc::new(Shared {
            gatekeeper,
            sites: ArcSwap::from_pointee(RouteTable::default()),
            pool: Arc::new(Pool::new(Arc::clone(&settings), Arc::clone(&counters))),
            settings,
            rooms: Arc::default(),
            pages: Pages::new(),
            counters,
            workers,
        }))
    }

    /// The handle that changes the routes.
    pub fn routes(&self) -> Routes<G> {
        Routes(Arc::clone(&self.0))
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.0.counters)
    }

    /// Drops the idle connections to one start of a workload. Without this they are dropped a few
    /// seconds after the gatekeeper has dropped its [`crate::Upstream`].
    pub fn retire(&self, epoch: u64) {
        self.0.pool.retire(epoch);
    }

    /// Serves HTTP/1 and cleartext HTTP/2 until `shutdown`, then lets what is open go on for as
    /// long as [`ProxySettings::drain`] allows.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        listener::serve(&self.0, listener, shutdown).await
    }

    /// Serves the connections of one TCP listener until one of its ends comes.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        route: TcpRoute<G::Key>,
        ends: TcpEnds,
    ) -> io::Result<()> {
        tcp::serve(&self.0, listener, route, ends).await
    }

    /// Serves the flows of one UDP listener until `shutdown`, which ends them all: a flow has no
    /// end of its own that could be waited for.
    ///
    /// # Errors
    /// When the listener cannot be used at all.
    pub async fn serve_udp(
        &self,
        listener: UdpListener,
        route: UdpRoute<G::Key>,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        udp::listener::serve(&self.0, listener, route, shutdown).await
    }
}

impl<G: Gatekeeper> Routes<G> {
    /// Puts a whole table in the place of the one before. Requests in flight keep their site.
    pub fn swap(&self, sites: Sites<G::Key>) {
        self.0.sites.store(Arc::new(sites));
    }
}

impl<G: Gatekeeper> Clone for Proxy<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G: Gatekeeper> Clone for Routes<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
