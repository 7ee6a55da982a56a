//! Readiness probes: find out, without a polling quantum, when a workload that runs can be used.
//!
//! What races: connects, whose waits double from one millisecond to fifty; and every new look that
//! the feed brings (a start, a health verdict), which tries again at once. The connection that
//! proves readiness is kept for the first request.

mod connect;
mod error;
mod grpc;
mod http;

use std::net::SocketAddr;
use std::time::Duration;

use dormouse_core::observation::Health;
use dormouse_core::policy::Readiness;
use dormouse_core::{Condition, limits};
use dormouse_providers::{Candidate, Sighting};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

pub use error::ProbeError;

/// How long the preferred address is tried alone before the next one joins.
const HEAD_START: Duration = Duration::from_millis(2);

/// Probes one workload until it is ready.
#[derive(Debug)]
pub struct Prober {
    /// What counts as ready.
    pub readiness: Readiness,
    /// The port to probe, where one is known.
    pub port: Option<u16>,
    /// The looks at the workload, as they come.
    pub sightings: watch::Receiver<Option<Sighting>>,
}

/// What a successful probe has found.
#[derive(Debug)]
pub struct Proven {
    /// Where the probed port was reached; absent when nothing was connected to and no address is
    /// known.
    pub at: Option<SocketAddr>,
    /// The connection that proved it, unused, where the probe leaves one.
    pub warm: Option<TcpStream>,
}

/// What one attempt has to find out.
enum Question<'a> {
    Health,
    Running,
    Connect(u16),
    Http(u16, &'a Readiness),
}

impl Prober {
    /// Probes until it succeeds or the deadline comes.
    ///
    /// # Errors
    /// At the deadline, with what the last attempt found.
    pub async fn run(mut self, deadline: Instant) -> Result<Proven, ProbeError> {
        let mut delay = limits::PROBE_DELAY_MIN;
        let mut last = ProbeError::NotSeen;
        while Instant::now() < deadline {
            let sighting = self.sightings.borrow_and_update().clone();
            let patience = limits::PROBE_ATTEMPT_MAX;
            let attempt = timeout(patience, self.attempt(sighting.as_ref()));
            match timeout_at(deadline, attempt).await {
                Ok(Ok(Ok(proven))) => return Ok(proven),
                Ok(Ok(Err(error))) => last = error,
                Ok(Err(_)) | Err(_) => last = ProbeError::NoAnswer { within: patience },
            }
            delay = self.pause(delay, deadline).await;
        }
        Err(last)
    }

    /// Waits for the next attempt; a new look ends the wait and starts the doubling afresh.
    async fn pause(&mut self, delay: Duration, deadline: Instant) -> Duration {
        let until = (Instant::now() + delay).min(deadline);
        match timeout_at(until, self.sightings.changed()).await {
            Ok(Ok(())) => limits::PROBE_DELAY_MIN,
            Ok(Err(_)) => {
                // Nobody looks any more; the doubling goes on by itself.
                tokio::time::sleep_until(until).await;
                (delay * 2).min(limits::PROBE_DELAY_MAX)
            }
            Err(_) => (delay * 2).min(limits::PROBE_DELAY_MAX),
        }
    }

    async fn attempt(&self, sighting: Option<&Sighting>) -> Result<Proven, ProbeError> {
        let sighting = sighting.ok_or(ProbeError::NotSeen)?;
        let Condition::Running { health, .. } = sighting.condition else {
            return Err(ProbeError::NotRunning);
        };
        match self.question(health)? {
            Question::Running => Ok(self.without_connection(sighting)),
            Question::Health => match health {
                Health::Healthy | Health::Undeclared => Ok(self.without_connection(sighting)),
                Health::Starting => Err(ProbeError::HealthStarting),
                Health::Unhealthy => Err(ProbeError::Unhealthy),
            },
            Question::Connect(port) => {
                let (at, stream) = first_of(candidates(sighting, port)?, connect::proven).await?;
                Ok(Proven { at: Some(at), warm: Some(stream) })
            }
            Question::Http(port, readiness) => {
                let ask = |candidate| ask(candidate, readiness);
                let (at, ()) = first_of(candidates(sighting, port)?, ask).await?;
                Ok(Proven { at: Some(at), warm: None })
            }
        }
    }

    fn question(&self, health: Health) -> Result<Question<'_>, ProbeError> {
        match (&self.readiness, self.port) {
            (Readiness::Engine, _) => Ok(Question::Health),
            (Readiness::Auto, _) if health != Health::Undeclared => Ok(Question::Health),
            (Readiness::Auto, None) => Ok(Question::Running),
            (Readiness::Auto | Readiness::Tcp, Some(port)) => Ok(Question::Connect(port)),
            (Readiness::Http { .. } | Readiness::Grpc { .. }, Some(port)) => {
                Ok(Question::Http(port, &self.readiness))
            }
            (Readiness::Tcp | Readiness::Http { .. } | Readiness::Grpc { .. }, None) => {
                Err(ProbeError::NoPort)
            }
        }
    }

    /// Where it would be reached, though nobody has tried.
    fn without_connection(&self, sighting: &Sighting) -> Proven {
        let candidates = self.port.map(|port| sighting.candidates(port)).unwrap_or_default();
        Proven { at: candidates.first().map(|candidate| candidate.at), warm: None }
    }
}

fn candidates(sighting: &Sighting, port: u16) -> Result<Vec<Candidate>, ProbeError> {
    let mut candidates = sighting.candidates(port);
    candidates.retain(|candidate| !candidate.at.ip().is_unspecified());
    if candidates.is_empty() { Err(ProbeError::NoAddress { port }) } else { Ok(candidates) }
}

/// The first candidate that succeeds; each joins a head start after the one before it. When all
/// fail, the failure of the preferred one is told.
async fn first_of<T, F>(
    candidates: Vec<Candidate>,
    attempt: impl Fn(Candidate) -> F,
) -> Result<(SocketAddr, T), ProbeError>
where
    F: Future<Output = Result<T, ProbeError>>,
{
    let attempts = candidates.into_iter().enumerate().map(|(position, candidate)| {
        let attempt = &attempt;
        let late = HEAD_START * u32::try_from(position).unwrap_or(u32::MAX);
        async move {
            tokio::time::sleep(late).await;
            (position, candidate.at, attempt(candidate).await)
        }
    });
    let mut attempts: FuturesUnordered<_> = attempts.collect();
    let mut failure: Option<(usize, ProbeError)> = None;
    while let Some((position, at, outcome)) = attempts.next().await {
        match outcome {
            Ok(found) => return Ok((at, found)),
            Err(error) if failure.as_ref().is_none_or(|(best, _)| position < *best) => {
                failure = Some((position, error));
            }
            Err(_) => {}
        }
    }
    Err(failure.map_or(ProbeError::NotSeen, |(_, error)| error))
}

async fn ask(candidate: Candidate, readiness: &Readiness) -> Result<(), ProbeError> {
    let stream = connect::to(candidate).await?;
    match readiness {
        Readiness::Http { path, status } => http::ask(stream, candidate.at, path, status).await,
        Readiness::Grpc { service } => grpc::ask(stream, candidate.at, service).await,
        Readiness::Auto | Readiness::Engine | Readiness::Tcp => Ok(()),
    }
}
