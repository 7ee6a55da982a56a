//! Where pins meet the store: a pin that is set survives a restart, one that has ended does not
//! come back.
//!
//! One task does all the writing, so that the end of one pin and the beginning of the next cannot
//! overtake each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use dormouse_core::WorkloadId;
use dormouse_keeper::{Gone, Handle, JournalEntry, JournalKind, PinView};
use dormouse_store::{Pin, Store, StoreError, UnixMillis};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Orders that wait for the store.
const ORDERS_MAX: usize = 64;

/// Sets and removes pins, and brings them back after a restart.
#[derive(Debug)]
pub struct Pins {
    orders: mpsc::Sender<Order>,
}

/// Why a pin could not be set or removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The keeper has ended.
    #[error("the keeper has ended")]
    Gone,
    /// It is in force, but not written down.
    #[error("the pin is in force, but not written down")]
    NotSaved(#[source] StoreError),
}

enum Order {
    Set(WorkloadId, PinView, oneshot::Sender<Result<bool, PinError>>),
    Remove(WorkloadId, oneshot::Sender<Result<bool, PinError>>),
    Restore(oneshot::Sender<Result<(), PinError>>),
}

/// The task that writes to the store.
struct Keeping {
    keeper: Handle,
    store: Arc<dyn Store>,
    journal: broadcast::Receiver<JournalEntry>,
    /// Pins that were in force at some time of this process: when they are not any more, they
    /// have ended.
    held: BTreeSet<WorkloadId>,
}

impl Pins {
    /// Starts the task that writes to the store. It ends with `shutdown`.
    pub fn spawn(
        keeper: Handle,
        store: Arc<dyn Store>,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (_, journal) = keeper.journal().listen(u64::MAX);
        let keeping = Keeping { keeper, store, journal, held: BTreeSet::new() };
        (Self { orders }, tokio::spawn(keeping.run(ordered, shutdown)))
    }

    /// Pins a workload awake, replacing an earlier pin. False when nobody defined it.
    ///
    /// # Errors
    /// When the keeper has ended, or the pin is in force and could not be written down.
    pub async fn set(&self, id: &WorkloadId, pin: PinView) -> Result<bool, PinError> {
        self.order(|answer| Order::Set(id.clone(), pin, answer)).await
    }

    /// Takes the pin away. False when there was none.
    ///
    /// # Errors
    /// When the keeper has ended, or the pin could not be crossed out.
    pub async fn remove(&self, id: &WorkloadId) -> Result<bool, PinError> {
        self.order(|answer| Order::Remove(id.clone(), answer)).await
    }

    /// Pins again what was pinned before a restart and is defined by now. To be asked after every
    /// change of what is defined: the pins of workloads that nobody knows yet stay in the store.
    ///
    /// # Errors
    /// When the keeper has ended, or the store cannot be read.
    pub async fn restore(&self) -> Result<(), PinError> {
        self.order(Order::Restore).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, PinError>>) -> Order,
    ) -> Result<T, PinError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| PinError::Gone)?;
        answered.await.map_err(|_| PinError::Gone)?
    }
}

impl Keeping {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                entry = self.journal.recv() => match entry {
                    Ok(entry) => {
                        if let Some(id) = unpinned(entry) {
                            self.cross_out_if_ended(&id).await;
                        }
                    }
                    Err(RecvError::Lagged(_)) => self.look_at_all().await,
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// Whoever asked and has gone needs no answer.
    async fn obey(&mut self, order: Order) {
        match order {
            Order::Set(id, pin, answer) => {
                let _ = answer.send(self.set(&id, pin).await);
            }
            Order::Remove(id, answer) => {
                let _ = answer.send(self.remove(&id).await);
            }
            Order::Restore(answer) => {
                let _ = answer.send(self.restore().await);
            }
        }
    }

    async fn set(&mut self, id: &WorkloadId, pin: PinView) -> Result<bool, PinError> {
        if !self.keeper.pin(id, pin.clone()).await? {
            return Ok(false);
        }
        self.held.insert(id.clone());
        self.store.save_pin(id, &self.written(&pin)).await.map_err(PinError::NotSaved)?;
        Ok(true)
    }

    async fn remove(&mut self, id: &WorkloadId) -> Result<bool, PinError> {
        let pinned = self.keeper.unpin(id).await?;
        self.held.remove(id);
        self.store.remove_pin(id).await.map_err(PinError::NotSaved)?;
        Ok(pinned)
    }

    async fn restore(&mut self) -> Result<(), PinError> {
        let clock = self.keeper.clock();
        let now_ms = clock.unix_ms(clock.now());
        for (id, pin) in self.store.pins().await.map_err(PinError::NotSaved)? {
            let pin = read(pin);
            if pin.until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                self.store.remove_pin(&id).await.map_err(PinError::NotSaved)?;
                continue;
            }
            let view = self.keeper.view(&id).await?;
            if view.is_none_or(|view| view.pin.is_some()) || self.has_just_ended(&id).await {
                continue;
            }
            if self.keeper.pin(&id, pin).await? {
                tracing::info!(workload = %id, "Restored a pin");
                self.held.insert(id);
            }
        }
        Ok(())
    }

    fn written(&self, pin: &PinView) -> Pin {
        let clock = self.keeper.clock();
        Pin {
            until: pin.until_ms.map(UnixMillis),
            reason: pin.reason.clone(),
            made_at: UnixMillis(clock.unix_ms(clock.now())),
        }
    }

    /// Whether the end of a pin is told by an entry that nobody has listened to yet: such a pin is
    /// in the store still, and must not come back.
    async fn has_just_ended(&mut self, id: &WorkloadId) -> bool {
        let mut ended = false;
        while let Ok(entry) = self.journal.try_recv() {
            if let Some(unpinned) = unpinned(entry) {
                ended |= unpinned == *id;
                self.cross_out_if_ended(&unpinned).await;
            }
        }
        ended
    }

    async fn look_at_all(&mut self) {
        for id in self.held.clone() {
            self.cross_out_if_ended(&id).await;
        }
    }

    /// A workload that nobody defines any more keeps its pin: it may come back.
    async fn cross_out_if_ended(&mut self, id: &WorkloadId) {
        let Ok(Some(view)) = self.keeper.view(id).await else { return };
        if view.pin.is_some() {
            return;
        }
        self.held.remove(id);
        if let Err(error) = self.store.remove_pin(id).await {
            tracing::warn!(workload = %id, %error, "Could not cross out a pin that has ended");
        }
    }
}

fn read(pin: Pin) -> PinView {
    PinView { until_ms: pin.until.map(|until| until.0), reason: pin.reason }
}

/// The workload whose pin has ended, if that is what an entry tells.
fn unpinned(entry: JournalEntry) -> Option<WorkloadId> {
    match entry.kind {
        JournalKind::Unpinned => entry.workload,
        JournalKind::Pinned
        | JournalKind::Phase { .. }
        | JournalKind::RestFailed { .. }
        | JournalKind::EnvironmentLost { .. }
        | JournalKind::EnvironmentReached { .. } => None,
    }
}

impl From<Gone> for PinError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}
