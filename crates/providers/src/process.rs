//! Child processes of our own: started from a command, rested by signals, never left behind.
//!
//! ```text
//!            start                 exec done              SIGSTOP
//!  (no run) ───────▶ Launching ──────────────▶ Running ◀──────────▶ Paused
//!     ▲                  │                        │      SIGCONT       │
//!     │                  └────────── stop ────────┼────────────────────┘
//!     │   leader ended                            ▼
//!     └────────────────────────────────────── Stopping{kill_at}
//! ```
//!
//! - Every start is a process group of its own. A stop signals the group; when its leader has
//!   ended, whatever is left of the group is killed.
//! - Nothing outlives dormouse: [`Provider::shutdown`] and dropping the provider end the groups, and
//!   the [`guard`] kills them when dormouse itself is killed. A descendant that leaves its group
//!   (a daemon that calls `setsid`) is out of our sight and is not followed.
//! - Stops and continuations made by somebody else's hand are seen at once: the kernel reports them
//!   to the parent like an exit (`waitid` with `WSTOPPED | WCONTINUED`). It is the leader that
//!   counts.
//! - Every answer begins with a look at the child itself, of two system calls; no lock is held while
//!   anything waits.

pub mod guard;

mod attendant;
mod entry;
mod feed;
mod launch;
mod output;
mod port;
mod run;
mod signal;
mod table;
mod ward;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::limits::{REST_MARGIN, RESYNC_EVERY};
use dormouse_core::policy::Rest;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::provider::{
    Abilities, FeedItem, Found, Provider, ProviderError, RestOrder, Sighting, StartOrder, Target,
};
use attendant::Attendant;
use guard::GuardCommand;
use run::Phase;
use table::{Begun, Step, Table};

/// How a process provider is set up.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// How to run the guard that kills what is left when we die.
    pub guard: GuardCommand,
    /// How long everything may take to end by itself at [`Provider::shutdown`].
    pub shutdown_grace: Duration,
}

/// The provider of child processes.
pub struct ProcessProvider {
    table: Arc<Table>,
    tasks: TaskTracker,
    end: CancellationToken,
    shutdown_grace: Duration,
}

/// What [`Provider::shutdown`] grants where the configuration has nothing to say.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What a rest is called where it does not end in time.
const REST: &str = "rest";
/// How long the first attempt to freeze a group may take; each further one may take twice as long,
/// up to [`PAUSE_PATIENCE_MAX`].
const PAUSE_PATIENCE_MIN: Duration = Duration::from_millis(20);
/// How long one attempt to freeze a group may take at most.
const PAUSE_PATIENCE_MAX: Duration = Duration::from_secs(1);
/// How long a group that could not be frozen may run before the next attempt.
const THAW: Duration = Duration::from_millis(2);

impl ProcessConfig {
    /// A set-up with the usual grace at shutdown.
    pub fn new(guard: GuardCommand) -> Self {
        Self { guard, shutdown_grace: SHUTDOWN_GRACE }
    }
}

impl ProcessProvider {
    /// A provider that knows no process yet. It needs the runtime it is called in, and starts its
    /// guard with the first process.
    ///
    /// # Errors
    /// [`ProviderError::Refused`] when the system does not let us hear of our children.
    pub fn new(config: ProcessConfig) -> Result<Arc<Self>, ProviderError> {
        let children = tokio::signal::unix::signal(SignalKind::child())
            .map_err(|error| ProviderError::Refused(format!("no notice of children: {error}")))?;
        let table = Arc::new(Table::new(config.guard));
        let tasks = TaskTracker::new();
        let end = CancellationToken::new();
        let reaping = reap(Arc::clone(&table), children);
        tasks.spawn(end.clone().run_until_cancelled_owned(reaping));
        Ok(Arc::new(Self { table, tasks, end, shutdown_grace: config.shutdown_grace }))
    }

    async fn start_and_look(
        &self,
        target: &Target,
        order: &StartOrder,
        deadline: Instant,
    ) -> Result<Sighting, ProviderError> {
        let mut awaited = None;
        loop {
            let mut phases = match self.table.begin(target, order, &mut awaited)? {
                Begun::Runs(sighting) => return Ok(sighting),
                Begun::Wait(phases) => phases,
                Begun::Launched(attendant) => self.attend(attendant),
            };
            wait_for_change(&mut phases, deadline, "start").await?;
        }
    }

    fn attend(&self, attendant: Attendant) -> watch::Receiver<Phase> {
        let phases = attendant.phases.clone();
        let attending = attendant::attend(Arc::clone(&self.table), attendant);
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(attending));
        phases
    }

    async fn rest_and_look(
        &self,
        target: &Target,
        order: &RestOrder,
        deadline: Instant,
    ) -> Result<Sighting, ProviderError> {
        if order.rest == Rest::Pause {
            return self.pause_and_look(target, deadline).await;
        }
        let signal = signal::parse(order.signal.as_deref())?;
        let kill_at = Instant::now() + order.grace;
        loop {
            let step = match order.rest {
                Rest::Stop => self.table.stop(target, signal, kill_at)?,
                Rest::Kill | Rest::Pause => self.table.kill(target)?,
            };
            match step {
                Step::Rests(sighting) => return Ok(sighting),
                Step::Wait(mut phases) => wait_for_change(&mut phases, deadline, REST).await?,
            }
        }
    }

    /// Freezes the group, again and again if need be: a leader that waits for its child to become
    /// another program (`vfork`) cannot be stopped, and never will be if the child is.
    async fn pause_and_look(
        &self,
        target: &Target,
        deadline: Instant,
    ) -> Result<Sighting, ProviderError> {
        let mut patience = PAUSE_PATIENCE_MIN;
        loop {
            let mut phases = match self.table.pause(target)? {
                Step::Rests(sighting) => return Ok(sighting),
                Step::Wait(phases) => phases,
            };
            let half_frozen = Thaw { table: &self.table, target };
            let give_up_at = deadline.min(Instant::now() + patience);
            let frozen = wait_for_change(&mut phases, give_up_at, REST).await;
            drop(half_frozen);
            if frozen.is_err() {
                if give_up_at == deadline {
                    return Err(ProviderError::Timeout(REST));
                }
                tokio::time::sleep(THAW).await;
                patience = (patience * 2).min(PAUSE_PATIENCE_MAX);
            }
        }
    }

    async fn end_everything(&self) {
        let give_up_at = Instant::now() + self.shutdown_grace + REST_MARGIN;
        for mut phases in self.table.close(Instant::now() + self.shutdown_grace) {
            let _ = timeout_at(give_up_at, async { while phases.changed().await.is_ok() {} }).await;
        }
        self.end.cancel();
        self.tasks.close();
        let _ = timeout(REST_MARGIN, self.tasks.wait()).await;
        self.table.abandon();
    }
}

impl Provider for ProcessProvider {
    fn abilities(&self) -> Abilities {
        Abilities { pause: true, labels: false, health: false }
    }

    fn list(&self, _: Instant) -> BoxFuture<'_, Result<Vec<Found>, ProviderError>> {
        async { Ok(self.table.list()) }.boxed()
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        _: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        async { Ok(self.table.observe(target)) }.boxed()
    }

    fn start<'a>(
        &'a self,
        target: &'a Target,
        order: &'a StartOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        self.start_and_look(target, order, deadline).boxed()
    }

    fn rest<'a>(
        &'a self,
        target: &'a Target,
        order: &'a RestOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        self.rest_and_look(target, order, deadline).boxed()
    }

    fn feed(&self) -> mpsc::Receiver<FeedItem> {
        let (pump, receiver) = feed::subscribe(Arc::clone(&self.table));
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(pump));
        receiver
    }

    fn follow(&self, targets: BTreeSet<Target>) {
        self.table.follow(&targets);
    }

    fn log_tail<'a>(
        &'a self,
        target: &'a Target,
        lines: usize,
        _: Instant,
    ) -> BoxFuture<'a, Result<Vec<String>, ProviderError>> {
        async move { self.table.log_tail(target, lines) }.boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.end_everything().boxed()
    }
}

impl Drop for ProcessProvider {
    fn drop(&mut self) {
        self.end.cancel();
        self.table.abandon();
    }
}

/// Lets a group run on that was not frozen as a whole when the wait for it ended, in whichever way.
struct Thaw<'a> {
    table: &'a Table,
    target: &'a Target,
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.table.thaw(self.target);
    }
}

/// Looks after all children whenever the kernel says that one of them changed, and now and then
/// without being told.
async fn reap(table: Arc<Table>, mut children: Signal) {
    let mut unasked = interval(RESYNC_EVERY);
    unasked.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = children.recv() => {}
            _ = unasked.tick() => {}
        }
        table.look_after_all();
    }
}

/// Waits until the run changed or ended.
async fn wait_for_change(
    phases: &mut watch::Receiver<Phase>,
    deadline: Instant,
    what: &'static str,
) -> Result<(), ProviderError> {
    // An error means that the run is over, which is a change like any other.
    let changed = timeout_at(deadline, phases.changed()).await;
    changed.map(|_| ()).map_err(|_| ProviderError::Timeout(what))
}
