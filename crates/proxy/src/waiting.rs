//! The waiting room: how many requests may wait for one workload, and what they may keep in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::site::Held;

/// The rooms of all workloads in which somebody waits.
#[derive(Debug, Default)]
pub(crate) struct WaitingRooms(Mutex<HashMap<Arc<str>, Room>>);

/// A place in a room; leaving it is dropping this.
#[derive(Debug)]
pub(crate) struct Place {
    rooms: Arc<WaitingRooms>,
    workload: Arc<str>,
    client: IpAddr,
    bytes: u64,
    bytes_max: u64,
    first: bool,
}

/// What of a room is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many requests wait as may.
    Requests,
    /// As many of this client's requests wait as may.
    PerClient,
}

#[derive(Debug, Default)]
struct Room {
    requests: usize,
    bytes: u64,
    clients: HashMap<IpAddr, usize>,
}

impl WaitingRooms {
    /// Takes a place in a workload's room.
    pub(crate) fn enter(
        self: &Arc<Self>,
        workload: &str,
        held: &Held,
        client: IpAddr,
    ) -> Result<Place, Full> {
        let mut rooms = self.lock();
        let workload = match rooms.get_key_value(workload) {
            Some((workload, _)) => Arc::clone(workload),
            None => Arc::from(workload),
        };
        let (requests, of_client) = rooms.get(&workload).map_or((0, 0), |room| {
            (room.requests, room.clients.get(&client).copied().unwrap_or_default())
        });
        if requests >= held.requests {
            return Err(Full::Requests);
        }
        if of_client >= held.per_client {
            return Err(Full::PerClient);
        }
        let room = rooms.entry(Arc::clone(&workload)).or_default();
        room.requests += 1;
        *room.clients.entry(client).or_default() += 1;
        let first = requests == 0;
        let rooms = Arc::clone(self);
        Ok(Place { rooms, workload, client, bytes: 0, bytes_max: held.bytes, first })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Room>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether the room was empty before.
    pub(crate) fn is_first(&self) -> bool {
        self.first
    }

    /// Accounts for bytes that were read ahead. `false` when the room has no room for more; these
    /// are in memory already, and nothing further may be read.
    pub(crate) fn add_bytes(&mut self, bytes: u64) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(&self.workload) else {
            return false;
        };
        room.bytes += bytes;
        self.bytes += bytes;
        room.bytes < self.bytes_max
    }

    /// Whether anything may be read ahead at all.
    pub(crate) fn may_read(&self) -> bool {
        self.rooms.lock().get(&self.workload).is_some_and(|room| room.bytes < self.bytes_max)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(&self.workload) else {
            return;
        };
        room.requests -= 1;
        room.bytes -= self.bytes;
        if let Some(count) = room.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                room.clients.remove(&self.client);
            }
        }
        if room.requests == 0 {
            rooms.remove(&self.workload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, WaitingRooms};
    use crate::site::Held;
    use std::net::IpAddr;
    use std::sync::Arc;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_room_is_bounded_by_requests_clients_and_bytes() {
        let rooms = Arc::new(WaitingRooms::default());
        let held = Held { requests: 3, bytes: 10, per_client: 2 };
        let mut first = rooms.enter("w", &held, A).unwrap();
        let second = rooms.enter("w", &held, A).unwrap();
        assert!(first.is_first() && !second.is_first());
        assert_eq!(rooms.enter("w", &held, A).unwrap_err(), Full::PerClient);
        let third = rooms.enter("w", &held, B).unwrap();
        assert_eq!(rooms.enter("w", &held, B).unwrap_err(), Full::Requests);
        assert!(rooms.enter("other", &held, B).is_ok());

        assert!(first.add_bytes(9) && third.may_read());
        assert!(!first.add_bytes(1) && !third.may_read());
        drop(first);
        assert!(third.may_read());
        drop((second, third));
        assert!(rooms.lock().is_empty());
    }
}
