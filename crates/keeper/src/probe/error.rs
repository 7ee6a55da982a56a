//! Why a probe did not succeed, as a sentence that a person can act on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// What the last attempt found.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No look at the workload has come.
    #[error("the runtime has not shown it")]
    NotSeen,
    /// The last look shows it stopped or paused.
    #[error("it does not run")]
    NotRunning,
    /// No port is configured, and it declares none.
    #[error("no port is known: set port")]
    NoPort,
    /// It runs without an address at which the port could be reached.
    #[error("port {port} cannot be reached: it is neither published nor in a reachable network")]
    NoAddress {
        /// Which.
        port: u16,
    },
    /// The connection was not accepted.
    #[error("{at}: {}", reason(.source))]
    Connect {
        /// Where.
        at: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection was neither accepted nor refused.
    #[error("{at} does not answer: the packets may be lost on the way")]
    Silent {
        /// Where.
        at: SocketAddr,
    },
    /// A forwarder accepted, and closed at once because nobody listens behind it.
    #[error("{at} accepts and closes at once: nobody listens behind the published port")]
    Closed {
        /// Where.
        at: SocketAddr,
    },
    /// It accepted and did not answer.
    #[error("it did not answer within {:.1} s", within.as_secs_f64())]
    NoAnswer {
        /// How long was waited.
        within: Duration,
    },
    /// It answered with a status that does not count as ready.
    #[error("GET {path} at {at} answered {status}")]
    Status {
        /// Where.
        at: SocketAddr,
        /// What was asked.
        path: String,
        /// The answer.
        status: u16,
    },
    /// What it answered is not HTTP.
    #[error("{at} does not speak HTTP")]
    Http {
        /// Where.
        at: SocketAddr,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The path to ask for is not one.
    #[error("{path:?} is not a path")]
    Path {
        /// What was configured.
        path: String,
    },
    /// The gRPC health service does not say `SERVING`.
    #[error("the gRPC health of {at} is {state}")]
    Grpc {
        /// Where.
        at: SocketAddr,
        /// What it said.
        state: String,
    },
    /// The engine's health check has not decided.
    #[error("its health check has not decided yet")]
    HealthStarting,
    /// The engine's health check fails.
    #[error("its health check fails")]
    Unhealthy,
}

/// Why an attempt came to nothing.
pub(super) enum Setback {
    /// A new look came: try again at once.
    Outdated,
    /// It failed.
    Failed(ProbeError),
}

impl ProbeError {
    /// Whether only a new look at the workload can change it.
    pub(super) fn is_of_the_look(&self) -> bool {
        match self {
            Self::NotSeen
            | Self::NotRunning
            | Self::NoPort
            | Self::NoAddress { .. }
            | Self::Path { .. }
            | Self::HealthStarting
            | Self::Unhealthy => true,
            Self::Connect { .. }
            | Self::Silent { .. }
            | Self::Closed { .. }
            | Self::NoAnswer { .. }
            | Self::Status { .. }
            | Self::Http { .. }
            | Self::Grpc { .. } => false,
        }
    }
}

impl From<ProbeError> for Setback {
    fn from(error: ProbeError) -> Self {
        Self::Failed(error)
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nobody listens".to_owned(),
        _ => error.to_string(),
    }
}
