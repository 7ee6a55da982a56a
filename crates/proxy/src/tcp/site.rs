//! Where the connections of a TCP listener lead.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::counters::SiteCounters;
use crate::site::Held;

/// The end of a TCP listener: one port of one workload.
#[derive(Clone, Debug)]
pub struct TcpSite<K> {
    /// The gate.
    pub key: K,
    /// The workload's name, whose waiting room is shared with its other routes.
    pub workload: String,
    /// The workload's own port.
    pub port: u16,
    /// The bounds of the waiting room.
    pub held: Held,
    /// A connection that has been silent for this long stops counting as a use; never when absent.
    pub connection_idle: Option<Duration>,
    /// What is counted about it; kept over reloads.
    pub counters: Arc<SiteCounters>,
}

/// Leads a running listener elsewhere: connections that are open stay where they are.
#[derive(Debug)]
pub struct TcpRoute<K>(Arc<ArcSwap<TcpSite<K>>>);

/// How a TCP listener ends.
#[derive(Clone, Debug, Default)]
pub struct TcpEnds {
    /// Nobody asks for the address any more: nothing more is accepted, and what is open goes on
    /// for as long as it likes.
    pub closed: CancellationToken,
    /// Everything ends: what is open may go on for as long as
    /// [`crate::ProxySettings::drain`] allows.
    pub shutdown: CancellationToken,
}

impl<K> TcpRoute<K> {
    /// A route to `site`.
    pub fn new(site: TcpSite<K>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(site)))
    }

    /// From now on connections that are accepted go to `site`.
    pub fn lead_to(&self, site: TcpSite<K>) {
        self.0.store(Arc::new(site));
    }

    pub(super) fn site(&self) -> Arc<TcpSite<K>> {
        self.0.load_full()
    }
}

impl<K> Clone for TcpRoute<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
