//! What the owner of a workload wants: how long idle is, how it rests, what it needs.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::id::WorkloadId;
use crate::load::IdleBelow;

/// Everything the lifecycle of one workload has to know about its owner's wishes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// No lease for this long makes a workload idle. `None` is "never".
    pub idle_timeout: Option<Duration>,
    /// What it must do less than, beside having no lease, to be idle.
    pub idle_below: IdleBelow,
    /// How long a wake may take before everybody who waits is told that it failed.
    pub wake_timeout: Duration,
    /// How it sleeps.
    pub rest: Rest,
    /// The signal that asks it to stop; the runtime's own default when absent.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed.
    pub stop_timeout: Duration,
    /// How long a forced sleep waits for what is open.
    pub drain_timeout: Duration,
    /// What to do when resting keeps failing.
    pub on_rest_failure: OnRestFailure,
    /// What to do with one that is found running and that nobody uses.
    pub adopt: Adopt,
    /// What must be awake before this one may start.
    pub needs: Vec<Need>,
    /// What counts as ready.
    pub readiness: Readiness,
    /// The ports that requests and connections lead to; the first is the one that is probed.
    pub ports: Vec<u16>,
    /// The ports that datagrams lead to. Nothing tells from outside whether somebody listens on
    /// one, so they are never probed.
    pub udp_ports: Vec<u16>,
}

/// How a workload sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rest {
    /// Asked to end, killed after `stop_timeout`.
    Stop,
    /// Frozen; its memory is kept.
    Pause,
    /// Ended at once.
    Kill,
}

/// What to do with a workload whose rest keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnRestFailure {
    /// Leave it awake and try again later.
    Keep,
    /// Kill it after [`crate::limits::REST_ATTEMPTS_MAX`] failures.
    Kill,
}

/// What to do with a workload that is found running and that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adopt {
    /// Grant it a full idle period, as if it had just been used.
    Keep,
    /// Put it to sleep.
    Rest,
}

/// A dependency edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// The workload that is needed.
    pub on: WorkloadId,
    /// How far it must have come.
    pub until: Until,
}

/// How far a needed workload must have come before its dependent may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    /// Its start has been confirmed.
    Started,
    /// Its probe has succeeded.
    Ready,
    /// It has run to its end with exit code zero since its dependent began to wake.
    Completed,
}

/// What counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// The engine's health where the workload declares one, a TCP connect where it has a port for
    /// TCP, running otherwise.
    Auto,
    /// The engine's health verdict; running where none is declared.
    Engine,
    /// That it runs, and nothing else. What its owner asks for is [`Readiness::Engine`].
    Running,
    /// A TCP connection to the first port.
    Tcp,
    /// An HTTP GET whose status is in the range.
    Http {
        /// Path and query, from `/`.
        path: String,
        /// Statuses that count as ready, inclusive.
        status: RangeInclusive<u16>,
    },
    /// The standard gRPC health service says `SERVING`.
    Grpc {
        /// The service asked about; empty for the server as a whole.
        service: String,
    },
}

impl Policy {
    /// Whether datagrams are all that leads to it.
    pub fn is_udp_alone(&self) -> bool {
        self.ports.is_empty() && !self.udp_ports.is_empty()
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            idle_below: IdleBelow::default(),
            wake_timeout: Duration::from_secs(60),
            rest: Rest::Stop,
            stop_signal: None,
            stop_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            on_rest_failure: OnRestFailure::Keep,
            adopt: Adopt::Keep,
            needs: Vec::new(),
            readiness: Readiness::Auto,
            ports: Vec::new(),
            udp_ports: Vec::new(),
        }
    }
}

impl Rest {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Kill => "kill",
        }
    }
}
