//! Where a UDP listener leads, which may change while it listens.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::trials::Trials;

/// The end of a UDP listener: one port of one workload, and how its flows are treated.
#[derive(Clone, Debug)]
pub struct UdpSite<K> {
    /// The gate.
    pub key: K,
    /// The workload's name.
    pub workload: String,
    /// The workload's own port.
    pub port: u16,
    /// A flow ends when neither side has sent anything for this long.
    pub silence: Duration,
    /// Bytes of datagrams that may wait for the gate, of all flows together.
    pub bytes_max: u64,
}

/// Leads a listener to a site. Cheap to clone; all clones are one.
#[derive(Debug)]
pub struct UdpRoute<K>(Arc<ArcSwap<Destination<K>>>);

/// A site, and what was found out about it.
#[derive(Debug)]
pub(super) struct Destination<K> {
    pub(super) site: UdpSite<K>,
    pub(super) trials: Trials,
}

impl<K> UdpRoute<K> {
    /// Leads to `site`.
    pub fn new(site: UdpSite<K>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Destination { site, trials: Trials::new() })))
    }

    /// Leads to another site from the next datagram on; the flows to the one before end then.
    pub fn lead_to(&self, site: UdpSite<K>) {
        self.0.store(Arc::new(Destination { site, trials: Trials::new() }));
    }

    pub(super) fn destination(&self) -> Arc<Destination<K>> {
        self.0.load_full()
    }
}

impl<K> Clone for UdpRoute<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
