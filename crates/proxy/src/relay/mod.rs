//! Passes bytes on between two sockets, both ways, until both ends have ended.
//!
//! A few bytes go through a buffer that all connections of a thread share, many through a pipe that
//! the kernel fills and empties without copying. A connection that is silent keeps neither.

mod pipes;
mod pump;
mod silence;

use std::io;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpStream;

use pump::{Broken, Pump};

pub(crate) use pipes::Pipes;
pub(crate) use silence::Silence;

/// One end of a connection, with what it had sent before and was read already.
pub(crate) type End<'a> = (&'a TcpStream, Vec<u8>);

/// Bytes that were passed on, both ways.
#[derive(Debug, Default)]
pub struct PassedBytes {
    /// From clients to the workload.
    pub received: AtomicU64,
    /// From the workload to clients.
    pub sent: AtomicU64,
}

/// What a relay uses and tells.
#[derive(Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) pipes: &'a Pipes,
    pub(crate) bytes: &'a PassedBytes,
    pub(crate) silence: &'a Silence,
}

/// Passes on until both ends have ended. An end of one way is passed on and leaves the other way
/// open.
///
/// # Errors
/// When an end was reset; the other one is reset then.
pub(crate) async fn relay(
    (client, client_begun): End<'_>,
    (upstream, upstream_begun): End<'_>,
    means: Means<'_>,
) -> io::Result<()> {
    let Means { pipes, bytes, silence } = means;
    let up = Pump { from: client, to: upstream, bytes: &bytes.received, pipes, silence };
    let down = Pump { from: upstream, to: client, bytes: &bytes.sent, pipes, silence };
    let up = lasting(up.run(client_begun));
    let down = lasting(down.run(upstream_begun));
    let outcome = tokio::try_join!(up, down).map(|_| ());
    if outcome.is_err() {
        reset(client);
        reset(upstream);
    }
    outcome
}

/// Makes the coming close of a socket a reset: whoever is there learns that this is no orderly end.
pub(crate) fn reset(stream: &TcpStream) {
    // Where it cannot be set the end is an orderly one.
    stream.set_zero_linger().ok();
}

/// What an end does not take any more is its own decision: what it still has to say is passed on to
/// the end. What cannot be read ends both ways at once.
async fn lasting(pumping: impl Future<Output = Result<(), Broken>>) -> io::Result<()> {
    match pumping.await {
        Ok(()) | Err(Broken::Writing) => Ok(()),
        Err(Broken::Reading(error)) => Err(error),
    }
}
