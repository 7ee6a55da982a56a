//! Connects, and what they prove.

use std::time::Duration;

use dormouse_providers::{Candidate, Sighting, Via};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::Setback;
use super::{ProbeError, next_look};

/// How long a connection through a forwarder must stay open and silent before it proves anything.
/// A forwarder accepts first and closes as soon as its own connect is refused, which on one
/// machine takes well under a millisecond.
const SETTLING: Duration = Duration::from_millis(10);
/// How long the first connects wait for an answer; after each silence the next waits twice as long.
/// The kernel would ask again only after a second, and an address that was not there a moment ago
/// may be there now.
pub(super) const PATIENCE_MIN: Duration = Duration::from_millis(50);

/// How the connects of one attempt are made.
pub(super) struct Connector {
    /// How long each waits for an answer.
    pub(super) patience: Duration,
    /// A new look interrupts a connect.
    pub(super) looks: watch::Receiver<Option<Sighting>>,
}

impl Connector {
    /// Connects.
    pub(super) async fn connect(&self, candidate: Candidate) -> Result<TcpStream, Setback> {
        let at = candidate.at;
        let mut looks = self.looks.clone();
        let connected = tokio::select! {
            biased;
            connected = timeout(self.patience, TcpStream::connect(at)) => connected,
            () = next_look(&mut looks) => return Err(Setback::Outdated),
        };
        let stream = connected.map_err(|_| ProbeError::Silent { at })?;
        let stream = stream.map_err(|source| ProbeError::Connect { at, source })?;
        // Small writes of requests and answers must not wait for each other.
        stream.set_nodelay(true).map_err(|source| ProbeError::Connect { at, source })?;
        Ok(stream)
    }

    /// Connects, and makes sure that it is the workload that has accepted.
    pub(super) async fn proven(&self, candidate: Candidate) -> Result<TcpStream, Setback> {
        let stream = self.connect(candidate).await?;
        match candidate.via {
            Via::Direct => Ok(stream),
            Via::Forwarder => Ok(settled(stream, candidate).await?),
        }
    }
}

async fn settled(stream: TcpStream, candidate: Candidate) -> Result<TcpStream, ProbeError> {
    let at = candidate.at;
    let mut first = [0];
    match timeout(SETTLING, stream.peek(&mut first)).await {
        // Silence is what most servers have to say first; a greeting is proof too.
        Err(_) => Ok(stream),
        Ok(Ok(count)) if count > 0 => Ok(stream),
        // However it closes, nobody listens behind it.
        Ok(_) => Err(ProbeError::Closed { at }),
    }
}
