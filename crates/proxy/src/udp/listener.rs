//! Receives the datagrams of one listener and finds the flow of each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dormouse_core::limits::{UDP_FLOWS_MAX, UDP_FLOWS_PER_CLIENT_MAX};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::backlog::Room;
use super::drops::UdpDropped;
use super::flow::{Flow, Taken};
use super::site::{Destination, UdpRoute};
use super::socket::{Peer, Received, UdpListener, with_buffer};
use super::tending::tend;
use crate::gatekeeper::Gatekeeper;
use crate::proxy::Shared;

/// What the flows of one listener share.
pub(super) struct Hall<G: Gatekeeper> {
    pub(super) shared: Arc<Shared<G>>,
    pub(super) listener: UdpListener,
    pub(super) room: Arc<Room>,
    flows: Mutex<Flows<G::Key>>,
}

struct Flows<K> {
    by_client: HashMap<SocketAddr, Arc<Flow<K>>>,
    /// Flows of each client, those that are about to go included.
    of_address: HashMap<IpAddr, usize>,
    open: usize,
}

/// A flow's place among the flows; it leaves by being dropped.
struct Present<G: Gatekeeper> {
    hall: Arc<Hall<G>>,
    flow: Arc<Flow<G::Key>>,
    client: SocketAddr,
}

/// Datagrams that are received before others of the same thread have their turn.
const BURST: usize = 32;

/// How long to wait after the system could not give what it had received.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Receives until `shutdown`, and ends all flows then: there is no end to wait for.
pub(crate) async fn serve<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    listener: UdpListener,
    route: UdpRoute<G::Key>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let hall = Arc::new(Hall {
        shared: Arc::clone(shared),
        listener,
        room: Arc::new(Room::new(Arc::clone(&shared.counters.udp_dropped))),
        flows: Mutex::new(Flows::default()),
    });
    let mut tasks = JoinSet::new();
    info!(%address, "Listen for UDP");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            readable = hall.listener.readable() => {
                readable?;
                if let Err(error) = hall.receive(&route, &mut tasks) {
                    debug!(%error, %address, "Could not receive a datagram");
                    sleep(RETRY_DELAY).await;
                }
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    error!(%error, "Lost the task of a UDP flow");
                }
            }
        }
    }
    tasks.shutdown().await;
    Ok(())
}

impl<G: Gatekeeper> Hall<G> {
    /// The opening that a gate has now.
    pub(super) fn open_epoch(&self, key: &G::Key) -> Option<u64> {
        self.shared.gatekeeper.peek(key).map(|upstream| upstream.epoch)
    }

    fn receive(
        self: &Arc<Self>,
        route: &UdpRoute<G::Key>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let destination = route.destination();
        with_buffer(|buffer| {
            for _ in 0..BURST {
                match self.listener.try_receive(buffer) {
                    Ok(Received { peer, length, overrun }) => {
                        self.count_overrun(overrun);
                        self.pass_on(&destination, peer, &buffer[..length], tasks);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn count_overrun(&self, datagrams: u32) {
        if datagrams > 0 {
            let datagrams = usize::try_from(datagrams).unwrap_or(usize::MAX);
            self.room.drops.count(UdpDropped::Overrun, datagrams);
        }
    }

    fn pass_on(
        self: &Arc<Self>,
        destination: &Arc<Destination<G::Key>>,
        peer: Peer,
        datagram: &[u8],
        tasks: &mut JoinSet<()>,
    ) {
        if let Some(flow) = self.flow_of(destination, peer.client) {
            let open = self.open_epoch(&destination.site.key);
            if flow.take(peer, datagram, open) == Taken::Yes {
                return;
            }
        }
        let Some(flow) = self.begin(destination, peer, tasks) else {
            self.room.drops.count(UdpDropped::TooManyFlows, 1);
            return;
        };
        // Its task asks the gatekeeper.
        flow.take(peer, datagram, None);
    }

    /// The flow that a client has; one that leads elsewhere is over.
    fn flow_of(
        &self,
        destination: &Arc<Destination<G::Key>>,
        client: SocketAddr,
    ) -> Option<Arc<Flow<G::Key>>> {
        let flow = self.lock().by_client.get(&client).map(Arc::clone)?;
        if Arc::ptr_eq(&flow.destination, destination) {
            return Some(flow);
        }
        flow.end(UdpDropped::Ended);
        None
    }

    fn begin(
        self: &Arc<Self>,
        destination: &Arc<Destination<G::Key>>,
        peer: Peer,
        tasks: &mut JoinSet<()>,
    ) -> Option<Arc<Flow<G::Key>>> {
        let flow = Arc::new(Flow::new(Arc::clone(destination), &self.room, peer));
        let entered = self.lock().enter(peer.client, &flow);
        if !entered {
            return None;
        }
        let hall = Arc::clone(self);
        let present = Present { hall, flow: Arc::clone(&flow), client: peer.client };
        tasks.spawn(async move { tend(&present.hall, &present.flow).await });
        Some(flow)
    }

    fn lock(&self) -> MutexGuard<'_, Flows<G::Key>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Flows<K> {
    /// Takes a flow in, in the place of one that is over, where there is room.
    fn enter(&mut self, client: SocketAddr, flow: &Arc<Flow<K>>) -> bool {
        let of_address = self.of_address.entry(client.ip().to_canonical());
        let has = match &of_address {
            Entry::Occupied(has) => *has.get(),
            Entry::Vacant(_) => 0,
        };
        if self.open >= UDP_FLOWS_MAX || has >= UDP_FLOWS_PER_CLIENT_MAX {
            return false;
        }
        *of_address.or_default() += 1;
        self.open += 1;
        self.by_client.insert(client, Arc::clone(flow));
        true
    }

    fn leave(&mut self, client: SocketAddr, flow: &Arc<Flow<K>>) {
        self.open -= 1;
        if let Entry::Occupied(mut has) = self.of_address.entry(client.ip().to_canonical()) {
            *has.get_mut() -= 1;
            if *has.get() == 0 {
                has.remove();
            }
        }
        // Another flow may have taken its place already.
        if self.by_client.get(&client).is_some_and(|it| Arc::ptr_eq(it, flow)) {
            self.by_client.remove(&client);
        }
    }
}

impl<K> Default for Flows<K> {
    fn default() -> Self {
        Self { by_client: HashMap::new(), of_address: HashMap::new(), open: 0 }
    }
}

impl<G: Gatekeeper> Drop for Present<G> {
    fn drop(&mut self) {
        // However the task ended: nobody would take what is sent to it.
        self.flow.end(UdpDropped::Ended);
        self.hall.lock().leave(self.client, &self.flow);
    }
}

#[cfg(test)]
mod tests {
    use super::Flows;
    use crate::udp::backlog::Room;
    use crate::udp::flow::Flow;
    use crate::udp::site::{UdpRoute, UdpSite};
    use crate::udp::socket::Peer;
    use dormouse_core::limits::{UDP_FLOWS_MAX, UDP_FLOWS_PER_CLIENT_MAX};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::time::Duration;

    fn flow(client: SocketAddr) -> Arc<Flow<()>> {
        let site = UdpSite {
            key: (),
            workload: "w".into(),
            port: 1,
            silence: Duration::from_secs(1),
            bytes_max: 1,
        };
        let room = Arc::new(Room::new(Arc::default()));
        let destination = UdpRoute::new(site).destination();
        Arc::new(Flow::new(destination, &room, Peer { client, local: None }))
    }

    fn client(address: usize, port: usize) -> SocketAddr {
        let address = Ipv4Addr::from_bits(u32::try_from(address).unwrap());
        (IpAddr::V4(address), u16::try_from(port).unwrap()).into()
    }

    #[test]
    fn flows_are_bounded_for_each_client_and_for_all() {
        let one = flow(client(1, 1));
        let mut flows = Flows::default();
        for port in 0..UDP_FLOWS_PER_CLIENT_MAX {
            assert!(flows.enter(client(1, port), &one));
        }
        assert!(!flows.enter(client(1, 60_000), &one));
        for n in UDP_FLOWS_PER_CLIENT_MAX..UDP_FLOWS_MAX {
            assert!(flows.enter(client(n, 1), &one));
        }
        assert!(!flows.enter(client(70_000, 1), &one));
        flows.leave(client(1, 7), &one);
        assert!(flows.enter(client(1, 60_000), &one));
    }

    #[test]
    fn a_flow_that_leaves_late_takes_nobody_else_along() {
        let (old, new) = (flow(client(1, 1)), flow(client(1, 1)));
        let mut flows = Flows::default();
        assert!(flows.enter(client(1, 1), &old) && flows.enter(client(1, 1), &new));
        flows.leave(client(1, 1), &old);
        assert!(Arc::ptr_eq(&flows.by_client[&client(1, 1)], &new));
        flows.leave(client(1, 1), &new);
        assert!(flows.by_client.is_empty() && flows.of_address.is_empty() && flows.open == 0);
    }
}
