//! The door of this crate: what a runtime must be able to do for the house.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::policy::Rest;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What the runtime calls a workload: a container's name, a process's key. Never an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Arc<str>);

/// The adapter for one environment. Every method is bounded by the caller's deadline, idempotent
/// (already there is success) and cancel-safe (dropping the future leaves nothing behind but what
/// the runtime has already begun).
pub trait Provider: Send + Sync + 'static {
    /// What this runtime can do at all.
    fn abilities(&self) -> Abilities;

    /// Everything the runtime has, with its labels.
    fn list(&self, deadline: Instant) -> BoxFuture<'_, Result<Vec<Found>, ProviderError>>;

    /// Looks at one target. Absence is an `Ok` with [`Condition::Absent`].
    fn observe<'a>(
        &'a self,
        target: &'a Target,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>>;

    /// Makes the target run, from whichever rest it is in, and answers with a look taken *after*
    /// the runtime confirmed: it is running and not paused in that look, or this is an error. A
    /// status code of the runtime alone is never believed. What this call itself has started and
    /// what has ended by then is [`ProviderError::Ended`]; it is not started a second time.
    fn start<'a>(
        &'a self,
        target: &'a Target,
        order: &'a StartOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>>;

    /// Rests the target and answers with a look that shows it resting.
    fn rest<'a>(
        &'a self,
        target: &'a Target,
        order: &'a RestOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>>;

    /// A new subscription to the stream of observations. It starts with a resync, never ends while
    /// the provider lives, reconnects by itself with backoff, and marks every gap with
    /// `Lost`, then `Resync … ResyncDone`. A subscriber that falls [`dormouse_core::limits::FEED_QUEUE`] items
    /// behind is given a resync instead of what it missed.
    fn feed(&self) -> mpsc::Receiver<FeedItem>;

    /// Names the targets whose details the feed should carry beside those with labels of ours.
    fn follow(&self, targets: BTreeSet<Target>);

    /// Whether the runtime answers at all, asked as cheaply as it can be. One that is a part of this
    /// process always does.
    fn alive(&self, deadline: Instant) -> BoxFuture<'_, Result<(), ProviderError>> {
        let _ = deadline;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Somebody has seen the runtime fail, or work again: the feed makes sure now instead of at its
    /// next check or attempt.
    fn check_now(&self) {}

    /// The last `lines` lines that the target wrote, oldest first.
    fn log_tail<'a>(
        &'a self,
        target: &'a Target,
        lines: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<String>, ProviderError>>;

    /// Ends every task and connection, and every child that must not outlive this process.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// What a runtime can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It can freeze a workload with its memory kept.
    pub pause: bool,
    /// It carries labels from which workloads can be defined.
    pub labels: bool,
    /// It judges health by itself.
    pub health: bool,
}

/// How to start. Runtimes that keep their own definitions (containers) need none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartOrder {
    /// What to run, for runtimes that keep no definitions of their own.
    pub launch: Option<Arc<LaunchSpec>>,
}

/// What to run, for the process provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LaunchSpec {
    /// Program and arguments; `$PORT` in an argument becomes the port.
    pub command: Vec<String>,
    /// Environment variables beside those of dormouse itself; `PORT` is always set.
    pub env: BTreeMap<String, String>,
    /// Environment variables of dormouse itself that it does not get: they hold secrets.
    pub withheld: BTreeSet<String>,
    /// The working folder.
    pub folder: Option<std::path::PathBuf>,
    /// The port to listen on; a free one is found when absent.
    pub port: Option<u16>,
}

/// How to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestOrder {
    /// Which rest.
    pub rest: Rest,
    /// The signal for a stop; the runtime's own when absent.
    pub signal: Option<String>,
    /// How long a stop may take before the runtime kills.
    pub grace: Duration,
}

/// One look at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What the runtime said.
    pub condition: Condition,
    /// When the look began (before the request was sent).
    pub as_of: Instant,
    /// Where it can be reached, in order of preference; empty unless it runs.
    pub addresses: Vec<Address>,
    /// The port to use when nobody named one: the only one it declares, or the lowest.
    pub default_port: Option<u16>,
}

/// One way to reach a running target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of its own, on which every port is its own.
    Own {
        /// Never unspecified.
        ip: IpAddr,
        /// Host networking shares this machine's ports; anything else is a network of its own.
        via: Via,
    },
    /// One port of it, published elsewhere.
    Published {
        /// Its own port.
        port: u16,
        /// For what it is published.
        transport: Transport,
        /// Where that port is published; never an unspecified address.
        at: SocketAddr,
    },
}

/// What a port carries: the same number is two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// How an address leads to the target. A forwarder accepts before the target does, so a bare
/// connect through it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Straight to the target's own network stack.
    Direct,
    /// Through the engine's port forwarder.
    Forwarder,
}

/// A socket address to try, and what a connect to it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to connect.
    pub at: SocketAddr,
    /// What stands in between.
    pub via: Via,
}

/// A target with its labels, as a listing or a change shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub target: Target,
    /// Its labels; empty where the runtime has none.
    pub labels: BTreeMap<String, String>,
    /// How it was.
    pub sighting: Sighting,
}

/// An item of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedItem {
    /// A full listing begins; what it does not name by `ResyncDone` is absent.
    Resync,
    /// One thing of the listing.
    Listed(Found),
    /// The listing is complete.
    ResyncDone,
    /// Something changed; absence is a change too.
    Changed(Found),
    /// The runtime cannot be reached; nothing is known until the next `Resync`.
    Lost {
        /// Why.
        reason: String,
    },
}

/// Why the runtime did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It knows nothing under that name.
    #[error("nothing is called {0}")]
    Absent(Target),
    /// It understood and said no.
    #[error("the runtime refused: {0}")]
    Refused(String),
    /// It could not be spoken to.
    #[error("the runtime is not reachable: {0}")]
    Unreachable(String),
    /// It did not answer before the deadline.
    #[error("the runtime did not answer in time to {0}")]
    Timeout(&'static str),
    /// It was started and has already ended: the look after the start shows it stopped.
    #[error("it ended at once{}", exit_phrase(*exit_code))]
    Ended {
        /// How it ended, where the runtime knows.
        exit_code: Option<i32>,
    },
    /// The order cannot work, whatever the state of the runtime.
    #[error("{0}")]
    Misconfigured(String),
}

fn exit_phrase(exit_code: Option<i32>) -> String {
    exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"))
}

impl Target {
    /// Takes any name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as the runtime says it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Sighting {
    /// A look that found nothing.
    pub fn absent(as_of: Instant) -> Self {
        Self { condition: Condition::Absent, as_of, addresses: Vec::new(), default_port: None }
    }

    /// Where the TCP port `port` can be reached, best first.
    pub fn candidates(&self, port: u16) -> Vec<Candidate> {
        self.reach(port, Transport::Tcp)
    }

    /// Where the UDP port `port` can be reached, best first.
    pub fn udp_candidates(&self, port: u16) -> Vec<Candidate> {
        self.reach(port, Transport::Udp)
    }

    fn reach(&self, wanted: u16, over: Transport) -> Vec<Candidate> {
        let reach = |address: &Address| match *address {
            Address::Own { ip, via } => Some(Candidate { at: SocketAddr::new(ip, wanted), via }),
            Address::Published { port, transport, at } if (port, transport) == (wanted, over) => {
                Some(Candidate { at, via: Via::Forwarder })
            }
            Address::Published { .. } => None,
        };
        self.addresses.iter().filter_map(reach).collect()
    }
}
