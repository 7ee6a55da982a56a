//! The table of environments: what the parent has configured, each with the task that owns it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::limits;
use dormouse_providers::{EventMode, Meter};
use dormouse_wire::{CollectReport, Configure, Connection, EnvId, Extra};
use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::connect::ConnectError;
use super::environment::{self, Plan};
use super::outbox::Outbox;
use super::settings::{POLL_INTERVAL, Settings};

/// How a parent says that it reaches an environment by itself.
const NOT_OURS: &str = "hawser-edge";

/// Makes the meter of an environment.
pub(super) type Connect =
    Box<dyn Fn(&Configure, &Connection) -> Result<Arc<dyn Meter>, ConnectError> + Send>;

/// Every configured environment.
pub(super) struct Environments {
    tasks: BTreeMap<EnvId, Task>,
    connect: Connect,
    outbox: Outbox,
    settings: watch::Sender<Settings>,
    events: Events,
    event_mode: watch::Sender<EventMode>,
    disk_turns: Option<Arc<Semaphore>>,
}

struct Task {
    configure: Configure,
    handle: JoinHandle<()>,
}

/// How events are had.
#[derive(Clone, Copy, Debug)]
struct Events {
    mode: dormouse_wire::EventMode,
    poll_interval: Duration,
}

impl Environments {
    /// None yet. `collects_disks` is whether disk usage is of interest.
    pub(super) fn new(connect: Connect, outbox: Outbox, collects_disks: bool) -> Self {
        let events =
            Events { mode: dormouse_wire::EventMode::Stream, poll_interval: POLL_INTERVAL };
        Self {
            tasks: BTreeMap::new(),
            connect,
            outbox,
            settings: watch::Sender::new(Settings::default()),
            events,
            event_mode: watch::Sender::new(events.into()),
            disk_turns: collects_disks.then(|| Arc::new(Semaphore::new(limits::COLLECT_DISKS_MAX))),
        }
    }

    /// Sets, replaces or removes an environment. One that is described as before goes on.
    pub(super) async fn configure(&mut self, configure: Configure) {
        if self.tasks.get(&configure.env).is_some_and(|task| task.is_of(&configure)) {
            return;
        }
        let (env, is_ours) = (configure.env, configure.connection_type != NOT_OURS);
        self.remove(env).await;
        if !is_ours {
            return;
        }
        let Some(connection) = &configure.connection else { return };
        match self.meter(&configure, connection) {
            Ok(meter) => self.begin(configure, meter),
            Err(error) => {
                tracing::warn!(%env, name = ?configure.name, ?error, "Refused an environment");
                let error = format!("configure: {error}");
                self.outbox.push(CollectReport::Error { env: Some(env), error });
            }
        }
    }

    /// Ends an environment. Nothing is told of it from here on.
    pub(super) async fn remove(&mut self, env: EnvId) {
        if let Some(task) = self.tasks.remove(&env) {
            tracing::info!(%env, name = ?task.configure.name, "Removing an environment");
            task.end().await;
        }
        // Also what was said of one that could not be used.
        self.outbox.forget(env);
    }

    /// Measures all of them this often; no time at all means nothing.
    pub(super) fn set_metrics_interval(&self, interval: Duration) {
        if !interval.is_zero() {
            tracing::info!(?interval, "Set the metrics interval");
            self.settings.send_modify(|settings| settings.metrics_interval = interval);
        }
    }

    /// Has events this way; what is absent stays as it was.
    pub(super) fn set_event_mode(
        &mut self,
        mode: Option<dormouse_wire::EventMode>,
        poll_interval: Option<Duration>,
    ) {
        self.events.mode = mode.unwrap_or(self.events.mode);
        self.events.poll_interval = poll_interval.unwrap_or(self.events.poll_interval);
        let mode = EventMode::from(self.events);
        tracing::info!(?mode, "Set the way of events");
        self.event_mode.send_if_modified(|now| std::mem::replace(now, mode) != mode);
    }

    /// Tells the additive messages of these names from now on, and answers with those.
    pub(super) fn accept(&self, names: &[String]) -> Vec<Extra> {
        let extras = Extra::ALL.into_iter();
        let known = extras.filter(|extra| names.iter().any(|name| name == extra.as_str()));
        let known: Vec<Extra> = known.collect();
        self.settings.send_modify(|settings| settings.extras = known.iter().copied().collect());
        known
    }

    /// Ends them all.
    pub(super) async fn end(&mut self) {
        for task in self.tasks.values() {
            task.handle.abort();
        }
        for (_, task) in std::mem::take(&mut self.tasks) {
            task.end().await;
        }
    }

    fn meter(
        &self,
        configure: &Configure,
        connection: &Connection,
    ) -> Result<Arc<dyn Meter>, ConnectError> {
        if self.tasks.len() >= limits::COLLECT_ENVIRONMENTS_MAX {
            return Err(ConnectError::TooMany);
        }
        (self.connect)(configure, connection)
    }

    fn begin(&mut self, configure: Configure, meter: Arc<dyn Meter>) {
        let (env, name) = (configure.env, &configure.name);
        tracing::info!(%env, ?name, "Configured an environment");
        let plan = Plan {
            env,
            meter,
            outbox: self.outbox.clone(),
            settings: self.settings.subscribe(),
            event_mode: self.event_mode.subscribe(),
            disk_turns: self.disk_turns.clone(),
        };
        let handle = tokio::spawn(own(plan));
        self.tasks.insert(env, Task { configure, handle });
    }
}

/// An environment whose task breaks is told like any other trouble; the others go on.
async fn own(plan: Plan) {
    let (env, outbox) = (plan.env, plan.outbox.clone());
    if AssertUnwindSafe(environment::run(plan)).catch_unwind().await.is_err() {
        tracing::error!(%env, "Broke over an environment");
        let error = "the collector broke over this environment; configure it again".to_owned();
        outbox.push(CollectReport::Error { env: Some(env), error });
    }
}

impl Task {
    /// Whether it does already what the parent wants.
    fn is_of(&self, configure: &Configure) -> bool {
        self.configure == *configure && !self.handle.is_finished()
    }

    /// Everything that the task had is gone when this returns.
    async fn end(self) {
        self.handle.abort();
        // Being aborted is an error of joining it; a panic has been told on standard error.
        let _ = self.handle.await;
    }
}

impl From<Events> for EventMode {
    fn from(events: Events) -> Self {
        match events.mode {
            dormouse_wire::EventMode::Stream => Self::Stream,
            dormouse_wire::EventMode::Poll => Self::Poll { every: events.poll_interval },
        }
    }
}
