//! Where measuring meets the rest of the house: one task per environment reads counters every so
//! often and writes what came of it on a board that the API and the metrics read.

mod board;
mod round;
mod sampler;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::EnvironmentName;
use dormouse_keeper::Handle;
use dormouse_providers::{Meter, Provider};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use board::{Board, DiskReading, EnvironmentReading, Reading, TotalsReading};

use crate::registry::Registry;
use sampler::Sampler;

/// The meters in use, by environment.
pub type Meters = Arc<BTreeMap<EnvironmentName, MeteredEnvironment>>;

/// An environment that can be measured.
#[derive(Clone)]
pub struct MeteredEnvironment {
    /// What measures it.
    pub meter: Arc<dyn Meter>,
    /// What tells when something in it starts or ends.
    pub provider: Arc<dyn Provider>,
    /// How often its counters are read.
    pub sample_interval: Duration,
}

/// The owner of the sampling tasks.
pub struct Metering {
    board: Arc<Board>,
    meters: watch::Receiver<Meters>,
    registry: watch::Receiver<Arc<Registry>>,
    keeper: Handle,
    tasks: JoinSet<()>,
    running: BTreeMap<EnvironmentName, (MeteredEnvironment, AbortHandle)>,
}

impl Metering {
    /// An owner without tasks yet, and the board that they will write on.
    pub fn new(
        meters: watch::Receiver<Meters>,
        registry: watch::Receiver<Arc<Registry>>,
        keeper: Handle,
    ) -> (Self, Arc<Board>) {
        let board = Arc::<Board>::default();
        let metering = Self {
            board: Arc::clone(&board),
            meters,
            registry,
            keeper,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
        };
        (metering, board)
    }

    /// Keeps one task per environment until the house ends.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut registry = self.registry.clone();
        loop {
            self.follow();
            self.board.keep(&registry.borrow_and_update());
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.meters.changed() => if changed.is_err() { break },
                changed = registry.changed() => if changed.is_err() { break },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, "Stopped measuring an environment");
                    }
                }
            }
        }
        self.tasks.shutdown().await;
    }

    /// Begins what is new, ends what is gone, and leaves the rest alone.
    fn follow(&mut self) {
        let wanted = Arc::clone(&self.meters.borrow_and_update());
        self.running.retain(|name, (environment, task)| {
            let stays = wanted.get(name).is_some_and(|it| it.is_same(environment));
            if !stays {
                task.abort();
            }
            stays
        });
        for (name, environment) in wanted.iter() {
            if self.running.contains_key(name) {
                continue;
            }
            let sampler = Sampler::new(
                name.clone(),
                environment.clone(),
                Arc::clone(&self.board),
                self.keeper.clone(),
            );
            let task = self.tasks.spawn(sampler.run());
            self.running.insert(name.clone(), (environment.clone(), task));
        }
    }
}

impl MeteredEnvironment {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.meter, &other.meter) && self.sample_interval == other.sample_interval
    }
}
