//! Holds a connection while its workload wakes: of what it says a bounded amount is read ahead, so
//! that it is noticed when its client leaves.

use std::io;
use std::net::IpAddr;
use std::pin::pin;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::site::TcpSite;
use super::visit::Refused;
use crate::counters::{Gauge, count_one};
use crate::gatekeeper::{Gatekeeper, Upstream, WaitOutcome};
use crate::proxy::Shared;
use crate::settings::READ_AHEAD_MAX;
use crate::waiting::{Full, Place};

/// What a gatekeeper lets through.
pub(super) type Passed<G> = (<G as Gatekeeper>::Lease, std::sync::Arc<Upstream>);

/// Bytes that are read at once while a connection is held.
const CHUNK_BYTES: usize = 4 << 10;

/// Waits for the gate. What is read ahead comes after what `begun` has already.
pub(super) async fn hold<G: Gatekeeper>(
    shared: &Shared<G>,
    site: &TcpSite<G::Key>,
    wait: G::Wait,
    (client, address): (&TcpStream, IpAddr),
    begun: &mut Vec<u8>,
) -> Result<Passed<G>, Refused> {
    let place = shared.rooms.enter(&site.workload, &site.held, address);
    let mut place = place.map_err(|full| {
        let rejected = &shared.counters.held_rejected;
        count_one(match full {
            Full::Requests => &rejected.requests,
            Full::PerClient => &rejected.per_client,
        });
        Refused::RoomFull
    })?;
    let _held = Gauge::raise(&shared.counters.held);
    place.add_bytes(begun.len() as u64);
    let wait = pin!(wait);
    tokio::select! {
        biased;
        outcome = wait => match outcome {
            WaitOutcome::Pass(lease, upstream) => Ok((lease, upstream)),
            WaitOutcome::Denied(denial) => Err(Refused::Denied(denial.failure.detail)),
        },
        () = leaves(client, &mut place, begun) => {
            count_one(&shared.counters.held_left);
            Err(Refused::Left)
        }
    }
}

/// Reads ahead, and ends when the client has left. One that has said something and then ended its
/// own way waits for the answer, as far as TCP can tell, so what it said is kept for the workload;
/// one that ended without a word, or was reset, has left.
async fn leaves(client: &TcpStream, place: &mut Place, begun: &mut Vec<u8>) {
    let mut may_read = place.may_read();
    while may_read && begun.len() < READ_AHEAD_MAX {
        if client.readable().await.is_err() {
            return;
        }
        match read_some(client, begun) {
            Ok(0) if begun.is_empty() => return,
            Ok(0) => break,
            Ok(amount) => may_read = place.add_bytes(amount as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    // Whatever else it says stays with the system; only a reset is looked for.
    client.ready(Interest::ERROR).await.ok();
}

fn read_some(client: &TcpStream, begun: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; CHUNK_BYTES];
    let room = CHUNK_BYTES.min(READ_AHEAD_MAX - begun.len());
    let amount = client.try_read(&mut chunk[..room])?;
    begun.extend_from_slice(&chunk[..amount]);
    Ok(amount)
}
