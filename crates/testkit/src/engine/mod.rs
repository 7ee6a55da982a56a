//! A fake Docker Engine that speaks the real API on a unix socket, keeps the real engine's rules,
//! and misbehaves on demand.
//!
//! ```text
//! client ── socket ── server ── routes ── deeds ── life          faults: spoil an answer or an event
//!                        │                  │        │           calls:  what really reached the engine
//!                     stream ◀── events ◀── world ◀──┘           spec:   what containers are told to be
//! ```

mod app;
mod by_hand;
mod calls;
mod container;
mod create;
mod deeds;
mod events;
mod faults;
mod life;
mod meters;
mod query;
mod raw;
mod routes;
mod server;
mod shapes;
mod shared;
mod spec;
pub mod stock;
mod stream;
mod void;
mod world;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::task::JoinHandle;

pub use by_hand::{ByHand, HandResult};
pub use calls::Call;
pub use events::{Actor, Event};
pub use faults::{EventFaults, Fault, Faults, Rule};
pub use meters::{Answers, Meters, Plan};
pub use raw::{RawAnswer, RawClient, RawLines};
pub use shared::Refusal;
pub use spec::{
    ApiVersion, Behaviour, ContainerSpec, EngineConfig, Flavour, HealthPlan, OnTerm, Publish,
    RestartPolicy, StopOrder,
};

use self::shared::Shared;

/// An engine of this process; it and everything in it ends when this is dropped.
pub struct FakeEngine {
    shared: Arc<Shared>,
    socket: PathBuf,
    /// Holds the socket.
    _folder: TempDir,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What becomes of the running containers when the engine's own process is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// They go on, as with live-restore.
    Live,
    /// They are killed when the engine comes back.
    Die,
}

impl FakeEngine {
    /// Docker 20.10, without containers.
    pub async fn docker() -> Self {
        Self::with(EngineConfig::docker_20_10()).await
    }

    /// Podman 4, without containers.
    pub async fn podman() -> Self {
        Self::with(EngineConfig::podman()).await
    }

    /// An engine of any kind, without containers.
    pub async fn with(config: EngineConfig) -> Self {
        let folder = TempDir::with_prefix("fake-engine-").expect("there is a temporary folder");
        let shared = Arc::new(Shared::new(config));
        let engine = Self {
            shared,
            socket: folder.path().join("docker.sock"),
            _folder: folder,
            server: Mutex::default(),
        };
        engine.open();
        engine
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The socket as an environment's address.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// How it misbehaves.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// How it tells what containers use.
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// Sets what the container `name` uses from here on; what it has used by now stays used.
    pub fn set_plan(&self, name: &str, plan: Plan) {
        meters::set_plan(&self.shared, name, plan);
    }

    /// What a person does to its containers, behind everybody's back.
    pub fn by_hand(&self) -> ByHand<'_> {
        ByHand::new(&self.shared)
    }

    /// Every call that arrived, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.all()
    }

    /// How often `op` (`start`, `stop`, `inspect`, …) was called on the container `name`.
    pub fn calls_of(&self, op: &str, name: &str) -> usize {
        let matches = |call: &&Call| call.op == op && call.container.as_deref() == Some(name);
        self.calls().iter().filter(matches).count()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.shared.calls.forget();
    }

    /// How often a process was really started in whatever was called `name` at that moment.
    pub fn starts(&self, name: &str) -> usize {
        self.events_of(name).iter().filter(|action| *action == "start").count()
    }

    /// Everything that happened while the engine was up, oldest first, whatever it has forgotten.
    pub fn events(&self) -> Vec<Arc<Event>> {
        self.shared.world().record().to_vec()
    }

    /// The actions of what was called `name` when they happened.
    pub fn events_of(&self, name: &str) -> Vec<String> {
        let world = self.shared.world();
        let own = world.record().iter().filter(|it| it.kind == "container" && it.name() == name);
        own.map(|event| event.action.clone()).collect()
    }

    /// The engine's word for the container's state now; absent when there is none.
    pub fn state_of(&self, name: &str) -> Option<&'static str> {
        self.shared.world().find(name).map(|container| container.status.as_str())
    }

    /// Where the container is reached now, while it runs.
    pub fn address_of(&self, name: &str) -> Option<IpAddr> {
        let world = self.shared.world();
        world.find(name)?.run.as_ref()?.addresses.values().next().copied()
    }

    /// Changes what a container is told to be; its process notices at its next decision.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut ContainerSpec)) {
        if let Some(container) = self.shared.world().find_mut(name) {
            change(&mut container.spec);
        }
    }

    /// How many events had to wait for a subscriber that did not read; each cost whoever caused it
    /// 100 ms.
    pub fn events_held_up(&self) -> usize {
        self.shared.world().events.held_up()
    }

    /// How many events the slowest subscriber has not read yet, of those that are kept for it.
    pub fn events_unread(&self) -> usize {
        self.shared.world().events.unread()
    }

    /// Forgets its events, as a restart does.
    pub fn forget_history(&self) {
        self.shared.world().events.forget();
    }

    /// The engine's own process is killed: every connection ends, the socket is gone, what it was
    /// doing is left half done. Containers go on.
    pub async fn kill(&self) {
        self.shared.world().up = false;
        self.shared.incarnation().cancel();
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            // It ends by cancellation, or has ended already.
            let _ = server.await;
        }
        remove_socket(&self.socket);
    }

    /// The engine's own process is asked to end: it stops every container first.
    pub async fn shut_down(&self) {
        self.by_hand().stop_everything().await;
        self.kill().await;
    }

    /// The engine's own process starts again, killing the old one where it still lives. It has
    /// forgotten its events, and starts what the restart policies say.
    pub async fn restart(&self, survivors: Survivors) {
        self.kill().await;
        if survivors == Survivors::Die {
            self.by_hand().kill_everything();
        }
        self.shared.reincarnate();
        {
            let mut world = self.shared.world();
            world.events.forget();
            world.up = true;
        }
        self.by_hand().settle_after_engine_start().await;
        self.open();
    }

    fn open(&self) {
        let server = server::serve(&self.shared, &self.socket)
            .expect("a fresh temporary folder takes a socket");
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

fn remove_socket(socket: &Path) {
    // It may be gone already: an engine can be killed twice.
    let _ = std::fs::remove_file(socket);
}
