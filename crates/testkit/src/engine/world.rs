//! Everything the fake engine knows, behind one lock that is never held across a wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::container::{Container, Status};
use super::events::{Actor, Event, EventLog};
use super::spec::ContainerSpec;
use super::void::Void;

/// Events kept for the test that asks afterwards.
const RECORD_MAX: usize = 1_000_000;

/// Containers, addresses, events and the engine's clock.
pub(super) struct World {
    /// In the order of creation.
    containers: Vec<Container>,
    pub(super) events: EventLog,
    record: Vec<Arc<Event>>,
    clock: Clock,
    addresses: AddressPool,
    voids: BTreeMap<IpAddr, Void>,
    /// Whether the engine's own process is alive; nothing is said while it is not.
    pub(super) up: bool,
    serials: u64,
    ids: u64,
}

/// The engine's wall clock: it follows the runtime's clock and never says the same moment twice.
struct Clock {
    origin_ns: u64,
    started: Instant,
    last_ns: u64,
}

/// Addresses handed out lowest first, so that one that was given back is the next to be given.
struct AddressPool {
    plain: BTreeSet<u32>,
    loopback: BTreeSet<u32>,
    loopback_base: u32,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            containers: Vec::new(),
            events: EventLog::new(),
            record: Vec::new(),
            clock: Clock::new(),
            addresses: AddressPool::new(),
            voids: BTreeMap::new(),
            up: true,
            serials: 0,
            ids: 0,
        }
    }

    /// The container called `reference`: its id, its name, or the beginning of its id.
    pub(super) fn find(&self, reference: &str) -> Option<&Container> {
        self.position(reference).map(|index| &self.containers[index])
    }

    pub(super) fn find_mut(&mut self, reference: &str) -> Option<&mut Container> {
        self.position(reference).map(|index| &mut self.containers[index])
    }

    pub(super) fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// The container that owns a name, whatever else is called so.
    pub(super) fn owner_of(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.spec.name == name)
    }

    pub(super) fn insert(&mut self, spec: ContainerSpec) -> String {
        let id = self.next_id();
        let now = self.now_ns();
        self.containers.push(Container::new(id.clone(), spec, now));
        self.say(&id, "create", &[]);
        id
    }

    /// Forgets a container, and says so in the flavour's word.
    pub(super) fn remove(&mut self, id: &str, action: &str) {
        self.say(id, action, &[]);
        if let Some(container) = self.find_mut(id) {
            container.status = Status::Removing;
            container.touched();
        }
        self.containers.retain(|container| container.id != id);
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    pub(super) fn now_ns(&mut self) -> u64 {
        self.clock.now_ns()
    }

    pub(super) fn take_address(&mut self, loopback: bool) -> IpAddr {
        let address = self.addresses.take(loopback);
        self.voids.remove(&address);
        address
    }

    pub(super) fn give_back_address(&mut self, address: IpAddr) {
        self.addresses.give_back(address);
    }

    /// Whether nobody has an address.
    pub(super) fn is_free(&self, address: IpAddr) -> bool {
        self.addresses.is_free(address)
    }

    /// Leaves nobody at an address, until somebody takes it.
    pub(super) fn leave_void(&mut self, address: IpAddr, void: Void) {
        if self.is_free(address) {
            self.voids.insert(address, void);
        }
    }

    pub(super) fn record(&self) -> &[Arc<Event>] {
        &self.record
    }

    /// Says that something happened to a container, with what the action adds.
    pub(super) fn say(&mut self, id: &str, action: &str, extra: &[(&str, String)]) {
        let Some(container) = self.find(id) else {
            return;
        };
        let mut attributes = container.spec.labels.clone();
        attributes.insert("image".to_owned(), container.spec.image.clone());
        attributes.insert("name".to_owned(), container.spec.name.clone());
        for (key, value) in extra {
            attributes.insert((*key).to_owned(), value.clone());
        }
        let at_ns = self.now_ns();
        self.publish(Event::of_container(action, id, attributes, at_ns));
    }

    /// Says that a container joined or left a network.
    pub(super) fn say_network(&mut self, id: &str, network: &str, action: &str) {
        let attributes = BTreeMap::from([
            ("container".to_owned(), id.to_owned()),
            ("name".to_owned(), network.to_owned()),
            ("type".to_owned(), "bridge".to_owned()),
        ]);
        let at_ns = self.now_ns();
        let actor = Actor { id: network_id(network), attributes };
        self.publish(Event::of_kind("network", action, actor, at_ns));
    }

    fn publish(&mut self, event: Event) {
        if !self.up {
            return;
        }
        let event = Arc::new(event);
        if self.record.len() < RECORD_MAX {
            self.record.push(Arc::clone(&event));
        }
        self.events.publish(event);
    }

    fn position(&self, reference: &str) -> Option<usize> {
        let exact =
            |container: &Container| container.id == reference || container.spec.name == reference;
        self.containers.iter().position(exact).or_else(|| {
            let begins = |container: &Container| container.id.starts_with(reference);
            let mut matching =
                self.containers.iter().enumerate().filter(|(_, container)| begins(container));
            match (reference.is_empty(), matching.next(), matching.next()) {
                (false, Some((index, _)), None) => Some(index),
                _ => None,
            }
        })
    }

    fn next_id(&mut self) -> String {
        self.ids += 1;
        hex_id(self.clock.origin_ns ^ (self.ids << 40))
    }
}

impl Clock {
    fn new() -> Self {
        let origin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin_ns = u64::try_from(origin.as_nanos()).unwrap_or(u64::MAX);
        Self { origin_ns, started: Instant::now(), last_ns: 0 }
    }

    fn now_ns(&mut self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_ns = (self.origin_ns.saturating_add(elapsed)).max(self.last_ns + 1);
        self.last_ns
    }
}

impl AddressPool {
    /// A pool whose loopback part no other engine of this machine is likely to use.
    fn new() -> Self {
        static ENGINES: AtomicU32 = AtomicU32::new(0);
        let serial = ENGINES.fetch_add(1, Ordering::Relaxed);
        let spread = std::process::id().wrapping_mul(2_654_435_761).wrapping_add(serial * 7919);
        let block = spread % (190 * 256);
        let base = u32::from(Ipv4Addr::new(127, 64, 0, 0)) + (block << 8);
        Self { plain: BTreeSet::new(), loopback: BTreeSet::new(), loopback_base: base }
    }

    fn take(&mut self, loopback: bool) -> IpAddr {
        let (taken, base) = if loopback {
            (&mut self.loopback, self.loopback_base)
        } else {
            (&mut self.plain, u32::from(Ipv4Addr::new(172, 17, 0, 0)))
        };
        let lowest = (base + 2..).find(|address| !taken.contains(address));
        let address = lowest.expect("a pool is far larger than any test's fleet");
        taken.insert(address);
        IpAddr::V4(Ipv4Addr::from(address))
    }

    fn is_free(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let address = u32::from(address);
                !self.plain.contains(&address) && !self.loopback.contains(&address)
            }
            IpAddr::V6(_) => false,
        }
    }

    fn give_back(&mut self, address: IpAddr) {
        if let IpAddr::V4(address) = address {
            self.plain.remove(&u32::from(address));
            self.loopback.remove(&u32::from(address));
        }
    }
}

/// An id of 64 hexadecimal digits that `seed` decides.
pub(super) fn hex_id(seed: u64) -> String {
    let mut state = seed;
    let mut word = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    format!("{:016x}{:016x}{:016x}{:016x}", word(), word(), word(), word())
}

/// The id of a network, which its name decides.
pub(super) fn network_id(name: &str) -> String {
    hex_id(name.bytes().fold(7, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(byte))))
}
