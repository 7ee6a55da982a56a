//! The handle: how everybody else asks something of the keeper. Cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_core::lifecycle::SleepAnswer;
use dormouse_core::load::Load;
use dormouse_core::{EnvironmentName, Policy, WorkloadId};
use dormouse_providers::{LaunchSpec, Provider, Target};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::view::{EnvironmentView, PinView, WorkloadView};

/// Cheap to clone; talks to the one loop.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) clock: Clock,
}

/// The keeper has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper has ended")]
pub struct Gone;

/// Everything that the configuration defines for the keeper. Applied whole.
#[derive(Clone, Default)]
pub struct Layout {
    /// The environments, by name.
    pub environments: Vec<EnvironmentDefinition>,
    /// The workloads.
    pub workloads: Vec<Definition>,
}

/// One environment and its adapter.
#[derive(Clone)]
pub struct EnvironmentDefinition {
    /// Its name.
    pub name: EnvironmentName,
    /// Its adapter. The same adapter again changes nothing; another one replaces the feed.
    pub provider: Arc<dyn Provider>,
}

/// One workload.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its id.
    pub id: WorkloadId,
    /// What its runtime calls it.
    pub target: Target,
    /// What to run, where the runtime keeps no definitions of its own.
    pub launch: Option<Arc<LaunchSpec>>,
    /// How it is to be treated; what is wrong with its definition otherwise.
    pub policy: Result<Arc<Policy>, String>,
}

/// What the loop can be asked.
pub(crate) enum Command {
    Apply(Layout, oneshot::Sender<BTreeMap<WorkloadId, Arc<Gate>>>),
    Gate(WorkloadId, oneshot::Sender<Option<Arc<Gate>>>),
    View(WorkloadId, oneshot::Sender<Option<WorkloadView>>),
    Views(oneshot::Sender<Vec<WorkloadView>>),
    Environments(oneshot::Sender<Vec<EnvironmentView>>),
    Sleep(WorkloadId, Insistence, oneshot::Sender<Option<SleepAnswer>>),
    Pin(WorkloadId, PinView, oneshot::Sender<bool>),
    Unpin(WorkloadId, oneshot::Sender<bool>),
    Measured(Vec<(WorkloadId, Load)>),
}

/// How seriously a sleep is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insistence {
    UnlessInUse,
    Forced,
}

impl Handle {
    /// Replaces what is defined, and answers with every workload's gate.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn apply(&self, layout: Layout) -> Result<BTreeMap<WorkloadId, Arc<Gate>>, Gone> {
        self.ask(|answer| Command::Apply(layout, answer)).await
    }

    /// The gate of one workload.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn gate(&self, id: &WorkloadId) -> Result<Option<Arc<Gate>>, Gone> {
        self.ask(|answer| Command::Gate(id.clone(), answer)).await
    }

    /// Everything about one workload.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn view(&self, id: &WorkloadId) -> Result<Option<WorkloadView>, Gone> {
        self.ask(|answer| Command::View(id.clone(), answer)).await
    }

    /// Everything about every workload, by id.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn views(&self) -> Result<Vec<WorkloadView>, Gone> {
        self.ask(Command::Views).await
    }

    /// Every environment, by name.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn environments(&self) -> Result<Vec<EnvironmentView>, Gone> {
        self.ask(Command::Environments).await
    }

    /// Asks a workload to sleep unless it is in use. `None` when nobody defined it.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn sleep(&self, id: &WorkloadId) -> Result<Option<SleepAnswer>, Gone> {
        self.ask(|answer| Command::Sleep(id.clone(), Insistence::UnlessInUse, answer)).await
    }

    /// Puts a workload to sleep although it may be in use: what is open has its drain timeout.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn force_sleep(&self, id: &WorkloadId) -> Result<Option<SleepAnswer>, Gone> {
        self.ask(|answer| Command::Sleep(id.clone(), Insistence::Forced, answer)).await
    }

    /// Pins a workload awake, replacing an earlier pin. False when nobody defined it.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn pin(&self, id: &WorkloadId, pin: PinView) -> Result<bool, Gone> {
        self.ask(|answer| Command::Pin(id.clone(), pin, answer)).await
    }

    /// Takes the pin away. False when there was none.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn unpin(&self, id: &WorkloadId) -> Result<bool, Gone> {
        self.ask(|answer| Command::Unpin(id.clone(), answer)).await
    }

    /// Says what workloads were measured to do. Those that nobody defined are left out.
    ///
    /// # Errors
    /// When the keeper has ended.
    pub async fn measured(&self, loads: Vec<(WorkloadId, Load)>) -> Result<(), Gone> {
        self.commands.send(Command::Measured(loads)).await.map_err(|_| Gone)
    }

    /// The journal of everything that happened.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The keeper's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}
