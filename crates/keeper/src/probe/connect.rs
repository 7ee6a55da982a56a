//! Connects, and what they prove.

use std::time::Duration;

use dormouse_providers::{Candidate, Via};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ProbeError;

/// How long a connection through a forwarder must stay open and silent before it proves anything.
/// A forwarder accepts first and closes as soon as its own connect is refused, which on one
/// machine takes well under a millisecond.
const SETTLING: Duration = Duration::from_millis(10);

/// Connects.
pub(super) async fn to(candidate: Candidate) -> Result<TcpStream, ProbeError> {
    let at = candidate.at;
    let connected = TcpStream::connect(at).await;
    let stream = connected.map_err(|source| ProbeError::Connect { at, source })?;
    // Small writes of requests and answers must not wait for each other.
    stream.set_nodelay(true).map_err(|source| ProbeError::Connect { at, source })?;
    Ok(stream)
}

/// Connects, and makes sure that it is the workload that has accepted.
pub(super) async fn proven(candidate: Candidate) -> Result<TcpStream, ProbeError> {
    let stream = to(candidate).await?;
    match candidate.via {
        Via::Direct => Ok(stream),
        Via::Forwarder => settled(stream, candidate).await,
    }
}

async fn settled(stream: TcpStream, candidate: Candidate) -> Result<TcpStream, ProbeError> {
    let at = candidate.at;
    let mut first = [0];
    match timeout(SETTLING, stream.peek(&mut first)).await {
        // Silence is what most servers have to say first; a greeting is proof too.
        Err(_) => Ok(stream),
        Ok(Ok(count)) if count > 0 => Ok(stream),
        Ok(Ok(_)) => Err(ProbeError::Closed { at }),
        Ok(Err(source)) => Err(ProbeError::Connect { at, source }),
    }
}
