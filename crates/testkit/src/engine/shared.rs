//! What every task of one fake engine shares: the world, the faults, the record of calls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::CallLog;
use super::faults::Faults;
use super::meters::Meters;
use super::spec::{EngineConfig, Flavour};
use super::world::World;

/// The inside of a fake engine.
pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) faults: Faults,
    pub(super) calls: CallLog,
    pub(super) meters: Meters,
    /// Every process, server and deed of this engine.
    pub(super) tasks: TaskTracker,
    /// The end of all of them.
    pub(super) ended: CancellationToken,
    world: Mutex<World>,
    /// The end of the engine's own process, renewed at each restart of it.
    incarnation: Mutex<CancellationToken>,
}

/// What came of a deed that the engine agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was done.
    Now,
    /// There was nothing to do.
    Already,
}

/// Why the engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code of the answer.
    pub status: u16,
    /// The engine's message.
    pub message: String,
}

/// The outcome of a deed.
pub(super) type Deed = Result<Done, Refusal>;

impl Shared {
    pub(super) fn new(config: EngineConfig) -> Self {
        let ended = CancellationToken::new();
        Self {
            config,
            faults: Faults::default(),
            calls: CallLog::default(),
            meters: Meters::default(),
            tasks: TaskTracker::new(),
            incarnation: Mutex::new(ended.child_token()),
            ended,
            world: Mutex::new(World::new()),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_podman(&self) -> bool {
        self.config.flavour == Flavour::Podman
    }

    /// The end of the engine's present process.
    pub(super) fn incarnation(&self) -> CancellationToken {
        self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reincarnate(&self) {
        let next = self.ended.child_token();
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Runs a deed to its end even when whoever asked has gone, as the engine does.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        deed: impl Future<Output = Deed> + Send + 'static,
    ) -> Deed {
        let incarnation = self.incarnation();
        let task = self.tasks.spawn(async move { incarnation.run_until_cancelled(deed).await });
        let outcome = task.await;
        self.wait_for_readers().await;
        match outcome {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(Refusal::new(500, "the engine is going down")),
        }
    }

    /// Waits as long as the last events have to wait for readers that have fallen behind: whoever
    /// did a deed is answered after its events are out.
    pub(super) async fn wait_for_readers(&self) {
        let owed = self.world().events.take_owed();
        if !owed.is_zero() {
            tokio::time::sleep(owed).await;
        }
    }

    /// The lock of a container, and its full id.
    pub(super) fn turn_of(&self, reference: &str) -> Result<(String, Arc<Semaphore>), Refusal> {
        let world = self.world();
        let container = world.find(reference).ok_or_else(|| Refusal::absent(reference))?;
        Ok((container.id.clone(), Arc::clone(&container.turn)))
    }

    /// Waits until run `serial` of container `id` has ended; false when `within` passes first.
    pub(super) async fn has_ended(&self, id: &str, serial: u64, within: Option<Duration>) -> bool {
        let Some(mut changed) = self.world().find(id).map(|it| it.changed.subscribe()) else {
            return true;
        };
        let over = async {
            loop {
                changed.mark_unchanged();
                if self.world().find(id).and_then(|it| it.run_serial()) != Some(serial) {
                    return;
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        match within {
            Some(within) => timeout(within, over).await.is_ok(),
            None => {
                over.await;
                true
            }
        }
    }
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn absent(reference: &str) -> Self {
        Self::new(404, format!("No such container: {reference}"))
    }
}
