//! Readiness probes: find out, without a polling quantum, when a workload that runs can be used.
//!
//! What races: connects, whose waits double from one millisecond to fifty, each wait used a few times
//! so that it stays a small part of what was waited already; and every new look that the feed brings (a start, a health verdict), which tries again at once. A look interrupts a wait
//! and a connect, which may be lost in a network that was not there yet; it lets an exchange go on
//! that the workload has accepted, so that frequent looks do not keep a slow answer from arriving.
//!
//! A connection is kept for the first request: the one that proved readiness where nothing was said
//! on it, a fresh one behind it otherwise.

pub mod command;
mod connect;
pub(crate) mod dns;
mod error;
pub(crate) mod grpc;
mod http;
mod service;
mod target;
pub mod webhook;

use std::net::SocketAddr;
use std::time::Duration;

use dormouse_core::backoff::Backoff;
use dormouse_core::observation::Health;
use dormouse_core::policy::Readiness;
use dormouse_core::{Condition, RunId, limits};
use dormouse_providers::{Candidate, Sighting};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use connect::Connector;
pub use error::ProbeError;
use error::Setback;
pub use service::{Probe, Unreached};
pub use target::{DnsTarget, GrpcTarget, HttpTarget, Peer, Record, Target, TargetError, Wire};

/// How long the preferred address is tried alone before the next one joins.
const HEAD_START: Duration = Duration::from_millis(2);
/// How long a connection for the first request may take after readiness is proven without one.
const EXTRA_CONNECT_MAX: Duration = Duration::from_millis(100);
/// How often each wait is used before it doubles. The wait is then about a tenth of the time since the
/// first attempt, and so is the most that the probe can be late.
const USES_OF_EACH_WAIT: u32 = 8;
/// Ways to one port that are tried.
const CANDIDATES_MAX: usize = 8;

/// Probes one workload until it is ready.
#[derive(Debug)]
pub struct Prober {
    /// What counts as ready.
    pub readiness: Readiness,
    /// The port to probe, where one is known.
    pub port: Option<u16>,
    /// The looks at the workload, as they come; each send is a reason to try again at once, also
    /// when it shows nothing new.
    pub sightings: watch::Receiver<Option<Sighting>>,
}

/// What a successful probe has found.
#[derive(Debug)]
pub struct Proven {
    /// Where the probed port was reached; absent when nothing was connected to and no address is
    /// known.
    pub at: Option<SocketAddr>,
    /// A connection on which nothing was said, where the probe leaves one.
    pub warm: Option<TcpStream>,
}

/// How far a probe has come, for whoever asks why the workload is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeProgress {
    /// Attempts that have ended.
    pub attempts: u32,
    /// What the last of them found.
    pub last_failure: Option<String>,
}

/// The waits between attempts, from the beginning or since the last look.
#[derive(Default)]
struct Waits {
    used: u32,
}

/// What one attempt has to find out.
enum Question<'a> {
    Health,
    Running,
    Connect(u16),
    Ask(u16, &'a Readiness),
}

impl Prober {
    /// Probes until it succeeds or the deadline comes.
    ///
    /// # Errors
    /// At the deadline, with what the last attempt found.
    pub async fn run(self, deadline: Instant) -> Result<Proven, ProbeError> {
        self.run_telling(deadline, &watch::Sender::default()).await
    }

    /// Like [`Prober::run`], and tells after each attempt how it went.
    ///
    /// # Errors
    /// At the deadline, with what the last attempt found.
    pub async fn run_telling(
        mut self,
        deadline: Instant,
        progress: &watch::Sender<ProbeProgress>,
    ) -> Result<Proven, ProbeError> {
        let mut waits = Waits::default();
        let mut patience = connect::PATIENCE_MIN;
        let mut last = None;
        while Instant::now() < deadline {
            let sighting = self.sightings.borrow_and_update().clone();
            let connector = Connector { patience, looks: self.sightings.clone() };
            let attempt = self.attempt_while_true(sighting.as_ref(), &connector);
            let began = Instant::now();
            let Ok(outcome) = timeout_at(deadline, attempt).await else {
                let within = began.elapsed();
                // An attempt that is cut off at once has found nothing.
                if last.is_none() || within > limits::PROBE_DELAY_MAX {
                    last = Some(ProbeError::NoAnswer { within });
                }
                break;
            };
            let error = match outcome {
                Ok(proven) => return Ok(proven),
                Err(Setback::Outdated) => {
                    waits = Waits::default();
                    continue;
                }
                Err(Setback::Failed(error)) => error,
            };
            if matches!(error, ProbeError::Silent { .. }) {
                patience = (patience * 2).min(limits::PROBE_ATTEMPT_MAX);
            }
            progress.send_modify(|progress| {
                progress.attempts = progress.attempts.saturating_add(1);
                progress.last_failure = Some(error.to_string());
            });
            self.pause(&mut waits, &error, deadline).await;
            last = Some(error);
        }
        Err(last.unwrap_or(ProbeError::NotSeen))
    }

    /// Waits for the next attempt; a new look ends the wait and starts the doubling afresh. What only
    /// a look can change waits for one.
    async fn pause(&mut self, waits: &mut Waits, error: &ProbeError, deadline: Instant) {
        let of_the_look = error.is_of_the_look();
        let until =
            if of_the_look { deadline } else { deadline.min(Instant::now() + waits.next()) };
        if timeout_at(until, next_look(&mut self.sightings)).await.is_ok() {
            *waits = Waits::default();
        }
    }

    /// One attempt, bounded, and given up when a look shows that it asks another run, or none.
    async fn attempt_while_true(
        &self,
        sighting: Option<&Sighting>,
        connector: &Connector,
    ) -> Result<Proven, Setback> {
        let within = limits::PROBE_ATTEMPT_MAX;
        let run = sighting.and_then(|seen| seen.condition.run());
        tokio::select! {
            biased;
            outcome = timeout(within, self.attempt(sighting, connector)) => {
                outcome.unwrap_or(Err(Setback::Failed(ProbeError::NoAnswer { within })))
            }
            () = runs_otherwise(self.sightings.clone(), run) => Err(Setback::Outdated),
        }
    }

    async fn attempt(
        &self,
        sighting: Option<&Sighting>,
        connector: &Connector,
    ) -> Result<Proven, Setback> {
        let sighting = sighting.ok_or(ProbeError::NotSeen)?;
        let Condition::Running { health, .. } = sighting.condition else {
            return Err(ProbeError::NotRunning.into());
        };
        match self.question(health)? {
            Question::Running => Ok(self.reached(sighting, connector).await),
            Question::Health => match health {
                Health::Healthy | Health::Undeclared => Ok(self.reached(sighting, connector).await),
                Health::Starting => Err(ProbeError::HealthStarting.into()),
                Health::Unhealthy => Err(ProbeError::Unhealthy.into()),
            },
            Question::Connect(port) => {
                let connect = |candidate| connector.proven(candidate);
                let (at, stream) = first_of(candidates(sighting, port)?, connect).await?;
                Ok(Proven { at: Some(at), warm: Some(stream) })
            }
            Question::Ask(port, readiness) => {
                let ask = |candidate| ask(candidate, readiness, connector);
                let (at, warm) = first_of(candidates(sighting, port)?, ask).await?;
                Ok(Proven { at: Some(at), warm })
            }
        }
    }

    fn question(&self, health: Health) -> Result<Question<'_>, ProbeError> {
        match (&self.readiness, self.port) {
            (Readiness::Running, _) => Ok(Question::Running),
            (Readiness::Engine, _) => Ok(Question::Health),
            (Readiness::Auto, _) if health != Health::Undeclared => Ok(Question::Health),
            (Readiness::Auto, None) => Ok(Question::Running),
            (Readiness::Auto | Readiness::Tcp, Some(port)) => Ok(Question::Connect(port)),
            (Readiness::Http { .. } | Readiness::Grpc { .. }, Some(port)) => {
                Ok(Question::Ask(port, &self.readiness))
            }
            (Readiness::Tcp | Readiness::Http { .. } | Readiness::Grpc { .. }, None) => {
                Err(ProbeError::NoPort)
            }
        }
    }

    /// Where a workload that is ready by somebody's word is reached: the address that takes a
    /// connection, or else the preferred one.
    async fn reached(&self, sighting: &Sighting, connector: &Connector) -> Proven {
        let candidates = self.port.and_then(|port| candidates(sighting, port).ok());
        let Some(candidates) = candidates else {
            return Proven { at: None, warm: None };
        };
        let preferred = candidates.first().map(|candidate| candidate.at);
        let connect = first_of(candidates, |candidate| connector.proven(candidate));
        match timeout(EXTRA_CONNECT_MAX, connect).await {
            Ok(Ok((at, stream))) => Proven { at: Some(at), warm: Some(stream) },
            Ok(Err(_)) | Err(_) => Proven { at: preferred, warm: None },
        }
    }
}

impl Waits {
    fn next(&mut self) -> Duration {
        let backoff = Backoff::doubling(limits::PROBE_DELAY_MIN, limits::PROBE_DELAY_MAX);
        let wait = backoff.delay(self.used / USES_OF_EACH_WAIT + 1);
        self.used = self.used.saturating_add(1);
        wait
    }
}

/// The next look. When nobody looks any more, it never comes.
async fn next_look(looks: &mut watch::Receiver<Option<Sighting>>) {
    if looks.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Ends when a look shows another run than this, or that it does not execute.
async fn runs_otherwise(mut looks: watch::Receiver<Option<Sighting>>, run: Option<RunId>) {
    loop {
        next_look(&mut looks).await;
        let condition = looks.borrow_and_update().as_ref().map(|seen| seen.condition);
        match condition {
            Some(Condition::Running { run: now, .. }) if Some(now) == run => {}
            Some(
                Condition::Running { .. }
                | Condition::Paused { .. }
                | Condition::Stopped { .. }
                | Condition::Restarting { .. }
                | Condition::Absent,
            )
            | None => return,
        }
    }
}

fn candidates(sighting: &Sighting, port: u16) -> Result<Vec<Candidate>, ProbeError> {
    let mut candidates = sighting.candidates(port);
    candidates.retain(|candidate| !candidate.at.ip().is_unspecified());
    candidates.truncate(CANDIDATES_MAX);
    if candidates.is_empty() { Err(ProbeError::NoAddress { port }) } else { Ok(candidates) }
}

/// The first candidate that succeeds; each joins a head start after the one before it. When all
/// fail, the failure of the preferred one is told, unless one of them deserves another try at once.
async fn first_of<T, F>(
    candidates: Vec<Candidate>,
    attempt: impl Fn(Candidate) -> F,
) -> Result<(SocketAddr, T), Setback>
where
    F: Future<Output = Result<T, Setback>>,
{
    let attempts = candidates.into_iter().enumerate().map(|(position, candidate)| {
        let attempt = &attempt;
        let late = HEAD_START * u32::try_from(position).unwrap_or(u32::MAX);
        async move {
            if !late.is_zero() {
                tokio::time::sleep(late).await;
            }
            (position, candidate.at, attempt(candidate).await)
        }
    });
    let mut attempts: FuturesUnordered<_> = attempts.collect();
    let mut failure: Option<(usize, ProbeError)> = None;
    let mut outdated = false;
    while let Some((position, at, outcome)) = attempts.next().await {
        match outcome {
            Ok(found) => return Ok((at, found)),
            Err(Setback::Outdated) => outdated = true,
            Err(Setback::Failed(error)) => {
                if failure.as_ref().is_none_or(|(best, _)| position < *best) {
                    failure = Some((position, error));
                }
            }
        }
    }
    match failure {
        Some((_, error)) if !outdated => Err(Setback::Failed(error)),
        Some(_) | None => Err(Setback::Outdated),
    }
}

/// Asks, and opens a connection for the first request behind a good answer.
async fn ask(
    candidate: Candidate,
    readiness: &Readiness,
    connector: &Connector,
) -> Result<Option<TcpStream>, Setback> {
    let stream = connector.connect(candidate).await?;
    match readiness {
        Readiness::Http { path, status } => http::ask(stream, candidate.at, path, status).await?,
        Readiness::Grpc { service } => {
            let at = candidate.at;
            grpc::ask(stream, &at, service).await.map_err(|refusal| match refusal {
                grpc::Refusal::Broken(source) => ProbeError::Http { at, source },
                grpc::Refusal::State(state) => ProbeError::Grpc { at, state },
            })?;
        }
        Readiness::Auto | Readiness::Engine | Readiness::Running | Readiness::Tcp => {}
    }
    let warm = timeout(EXTRA_CONNECT_MAX, connector.connect(candidate)).await;
    Ok(warm.ok().and_then(Result::ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_wait_is_a_small_part_of_what_was_waited() {
        let mut waits = Waits::default();
        let mut waited = Duration::ZERO;
        for attempt in 0..200 {
            let wait = waits.next();
            assert!(wait >= limits::PROBE_DELAY_MIN && wait <= limits::PROBE_DELAY_MAX);
            if attempt >= USES_OF_EACH_WAIT {
                assert!(wait <= waited / 4, "{wait:?} after {waited:?}");
            }
            waited += wait;
        }
        assert_eq!(waits.next(), limits::PROBE_DELAY_MAX);
    }
}
