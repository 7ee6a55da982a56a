//! The data plane's only question to the rest of the house: may this request go on, and where to.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dormouse_core::failure::Denial;
use tokio::net::TcpStream;

/// Decides about admission. Generic, not boxed: a request on the ready path must cost two atomics
/// and one load.
pub trait Gatekeeper: Send + Sync + 'static {
    /// One workload's gate, as routes name it. Cheap to clone; cloned once a request.
    type Key: Clone + Send + Sync + 'static;
    /// Keeps the workload awake until it is dropped.
    type Lease: Send + Sync + 'static;
    /// Waits for the gate to open; dropping it leaves the waiting room.
    type Wait: Future<Output = WaitOutcome<Self::Lease>> + Send + 'static;

    /// Asks for admission. A shut gate begins the wake at once, whether or not the wait is polled.
    fn open(&self, key: &Self::Key, kind: LeaseKind) -> Admission<Self::Lease, Self::Wait>;

    /// Whether a wait's request began the wake, rather than joined one; absent where the
    /// gatekeeper does not know, and the first in the waiting room is taken to have begun it.
    fn began(&self, _wait: &Self::Wait) -> Option<bool> {
        None
    }

    /// Asks for admission only where the gate is open already; neither wakes nor counts as use.
    fn peek(&self, key: &Self::Key) -> Option<Arc<Upstream>>;

    /// Begins a wake without waiting for it.
    fn wake(&self, key: &Self::Key);

    /// What is going on, for the status page.
    fn moment(&self, key: &Self::Key) -> Moment;

    /// The story of the current or last wake, from after `seq`, then live.
    fn story(&self, key: &Self::Key, after_seq: Option<u64>) -> tokio::sync::mpsc::Receiver<Story>;
}

/// Why a lease is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// One request and its answer.
    Request,
    /// An upgraded or raw connection.
    Connection,
    /// A UDP flow.
    Flow,
}

/// The answer to [`Gatekeeper::open`].
#[derive(Debug)]
pub enum Admission<L, W> {
    /// The gate is open.
    Pass(L, Arc<Upstream>),
    /// It is shut, and being opened.
    Wait(W),
    /// It will not open for now.
    Denied(Denial),
}

/// How a wait ended.
#[derive(Debug)]
pub enum WaitOutcome<L> {
    /// The gate opened.
    Pass(L, Arc<Upstream>),
    /// The wake failed, or took longer than `wake_timeout`.
    Denied(Denial),
}

/// Where a ready workload is reached. One value per start of one workload: whoever pools
/// connections keys them by `epoch`, so that no connection outlives the start it was made to.
#[derive(Debug)]
pub struct Upstream {
    /// Unique per opening of any gate of this process.
    pub epoch: u64,
    /// Own port to address; the first is the default.
    pub ports: Vec<(u16, SocketAddr)>,
    /// The same for ports of UDP, without a default.
    pub udp_ports: Vec<(u16, SocketAddr)>,
    /// The connection that proved readiness, for the first request to the first port.
    pub warm: Mutex<Option<TcpStream>>,
}

/// What a status page may say. The data plane does not know why a gate is shut.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The phase's word, such as `waking`.
    pub phase: &'static str,
    /// One sentence for a person.
    pub why: String,
    /// Whether `/.dormouse/health` answers 200.
    pub healthy: bool,
}

/// One line of a wake's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Counts up over all wakes of the workload.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The step itself.
    pub step: dormouse_core::progress::Step,
    /// The failure's detail, when the step is an error.
    pub error: Option<String>,
}

impl Upstream {
    /// The address of `port`, or of the default port.
    pub fn address(&self, port: Option<u16>) -> Option<SocketAddr> {
        let mut ports = self.ports.iter();
        match port {
            Some(port) => ports.find(|(own, _)| *own == port).map(|(_, at)| *at),
            None => ports.next().map(|(_, at)| *at),
        }
    }

    /// The address of a port of UDP.
    pub fn udp_address(&self, port: u16) -> Option<SocketAddr> {
        self.udp_ports.iter().find(|(own, _)| *own == port).map(|(_, at)| *at)
    }
}
