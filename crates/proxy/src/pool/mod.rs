//! Connections to upstreams: kept for one start of one workload, dropped at its rest.
//!
//! A key is an upstream's epoch and address, so that no connection outlives the start it was made
//! to. HTTP/1.1 connections are driven inside the task of the request that uses them; HTTP/2 ones
//! have a task of their own.

mod bare;
mod connect;
mod http1;
mod http2;
mod rounds;
mod socket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::counters::Counters;
use crate::gatekeeper::Upstream;
use crate::relay::Pipes;
use crate::settings::{IDLE_UPSTREAM_MAX, ProxySettings, SWEEP_EVERY};
use crate::workers::own_number;

pub(crate) use bare::Bare;
pub(crate) use connect::Unreachable;
pub(crate) use http1::{Connection1, Exchange1, Failed, Home, UpgradedUpstream, exchange1};
pub(crate) use http2::{Stream2, Tracked};

/// One start of one workload, at one of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) epoch: u64,
    pub(crate) address: SocketAddr,
}

/// All connections to upstreams.
pub(crate) struct Pool {
    idle: Box<[Mutex<BTreeMap<Key, Idle>>]>,
    multiplexed: Mutex<BTreeMap<Key, Arc<http2::Group>>>,
    connecting: Mutex<BTreeMap<Key, Arc<connect::Queue>>>,
    settings: Arc<ProxySettings>,
    counters: Arc<Counters>,
    /// Owns what must go on without a client: HTTP/2 connections, and uploads whose answer came
    /// before their end.
    tasks: TaskTracker,
    pipes: Pipes,
}

/// The idle HTTP/1.1 connections of one key.
struct Idle {
    upstream: Weak<Upstream>,
    #[expect(clippy::vec_box, reason = "they move between here and requests, and are large")]
    connections: Vec<Box<Connection1>>,
    bare: Vec<Bare>,
}

impl Pool {
    pub(crate) fn new(settings: Arc<ProxySettings>, counters: Arc<Counters>) -> Self {
        let shards = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            idle: (0..shards).map(|_| Mutex::default()).collect(),
            multiplexed: Mutex::default(),
            connecting: Mutex::default(),
            settings,
            counters,
            tasks: TaskTracker::new(),
            pipes: Pipes::default(),
        }
    }

    /// A connection that was used before, the most recent one first.
    pub(crate) fn take_idle(&self, key: Key) -> Option<Box<Connection1>> {
        self.find_idle(key, |idle| idle.connections.pop())
    }

    /// Keeps a connection for the next request, where its upstream may still get one.
    pub(crate) fn put_idle(
        &self,
        key: Key,
        upstream: &Arc<Upstream>,
        mut connection: Box<Connection1>,
    ) {
        connection.idle_since = Instant::now();
        self.keep_idle(key, upstream, |idle| &mut idle.connections, connection);
    }

    fn find_idle<C>(&self, key: Key, take: impl Fn(&mut Idle) -> Option<C>) -> Option<C> {
        let own = own_shard(self.idle.len());
        (0..self.idle.len())
            .map(|step| &self.idle[(own + step) % self.idle.len()])
            .find_map(|shard| take(lock(shard).get_mut(&key)?))
    }

    fn keep_idle<C>(
        &self,
        key: Key,
        upstream: &Arc<Upstream>,
        kind: impl Fn(&mut Idle) -> &mut Vec<C>,
        connection: C,
    ) {
        if Arc::strong_count(upstream) == 1 {
            return;
        }
        let mut shard = lock(&self.idle[own_shard(self.idle.len())]);
        let connections = kind(shard.entry(key).or_insert_with(|| Idle::new(upstream)));
        if connections.len() < IDLE_UPSTREAM_MAX {
            connections.push(connection);
        }
    }

    /// Drops every idle connection of one start of a workload.
    pub(crate) fn retire(&self, epoch: u64) {
        for shard in &self.idle {
            lock(shard).retain(|key, _| key.epoch != epoch);
        }
        lock(&self.multiplexed).retain(|key, _| key.epoch != epoch);
        lock(&self.connecting).retain(|key, _| key.epoch != epoch);
    }

    /// Drops the idle HTTP/1.1 connections of a key, because one of them turned out to be closed.
    pub(crate) fn retire_idle(&self, key: Key) {
        for shard in &self.idle {
            lock(shard).remove(&key);
        }
    }

    /// Drops, until it is dropped itself, what is idle for too long or whose upstream is gone.
    pub(crate) async fn maintain(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.sweep();
        }
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// For whoever passes on what is not HTTP.
    pub(crate) fn pipes(&self) -> &Pipes {
        &self.pipes
    }

    pub(crate) fn settings(&self) -> &ProxySettings {
        &self.settings
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn sweep(&self) {
        let timeout = self.settings.idle_upstream_timeout;
        for shard in &self.idle {
            lock(shard).retain(|_, idle| {
                idle.connections.retain(|connection| connection.idle_since.elapsed() < timeout);
                idle.bare.retain(|connection| !connection.is_idle_for(timeout));
                let empty = idle.connections.is_empty() && idle.bare.is_empty();
                idle.upstream.strong_count() > 0 && !empty
            });
        }
        lock(&self.multiplexed).retain(|_, group| group.is_worth_keeping(timeout));
        lock(&self.connecting).retain(|_, queue| Arc::strong_count(queue) > 1);
    }

    /// Spawns from where no runtime may be entered, such as a drop.
    fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, runtime);
    }
}

impl Idle {
    fn new(upstream: &Arc<Upstream>) -> Self {
        let upstream = Arc::downgrade(upstream);
        Self { upstream, connections: Vec::new(), bare: Vec::new() }
    }
}

/// A poisoned pool only holds connections; they are as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each worker thread has a shard of its own, so that they do not wait for each other.
fn own_shard(shards: usize) -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    own_number().unwrap_or_else(|| OWN.with(|own| *own)) % shards
}
