//! Runs watches: follows whether services can be reached, and runs hooks when that changes.
//!
//! A [`Manager`] owns one task for each watch; the decisions are those of [`dormouse_core::watch`].
//! Readers see one [`Status`], published as a whole after each step.

mod hooks;
mod spec;
mod task;

pub use spec::{Change, Spec};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_core::limits;
use dormouse_core::watch::State;
use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use spec::bounded;
use task::Task;

/// Owns watches, by name. When the last clone is dropped they all end.
#[derive(Clone)]
pub struct Manager {
    watches: Arc<Mutex<Watches>>,
}

struct Watches {
    clock: Clock,
    by_name: BTreeMap<Arc<str>, Watch>,
    seed: u64,
}

/// One watch. Cheap to clone; dropping a clone changes nothing.
#[derive(Clone)]
pub struct Watch {
    name: Arc<str>,
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// What is known of a service, all of one moment. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The watch's name.
    pub name: Arc<str>,
    /// What is known of the service.
    pub state: State,
    /// Since when.
    pub since_unix_ms: u64,
    /// Failures in a row, up to now.
    pub failures: u32,
    /// When the last probe ended, or a caller last reported; absent before either.
    pub last_check_unix_ms: Option<u64>,
    /// When the next probe begins; in the past while one is under way, absent after the end.
    pub next_check_unix_ms: Option<u64>,
    /// Why the last probe or call failed, when it did.
    pub last_error: Option<Arc<str>>,
}

/// What callers may tell a watch.
enum Command {
    Kick,
    Failed(Arc<str>),
    Worked,
}

/// There are as many watches as there may be.
#[derive(Debug, thiserror::Error)]
#[error("more than {} watches", limits::WATCHES_MAX)]
pub struct TooMany;

impl Default for Manager {
    fn default() -> Self {
        Self::new()
    }
}

impl Manager {
    /// A manager without watches.
    pub fn new() -> Self {
        let clock = Clock::start();
        // Another seed in every process: watches of many of them must not probe in step.
        let seed = clock.unix_ms(clock.now()) ^ u64::from(std::process::id()) << 40;
        let watches = Watches { clock, by_name: BTreeMap::new(), seed };
        Self { watches: Arc::new(Mutex::new(watches)) }
    }

    /// Starts a watch, as a task of the runtime that this is called in. One of the same name is
    /// replaced and stopped; the new one begins when the hooks of the old one have ended.
    ///
    /// # Errors
    /// When there are [`limits::WATCHES_MAX`] already.
    pub fn watch(&self, spec: Spec) -> Result<Watch, TooMany> {
        let mut watches = self.lock();
        let name = Arc::clone(&spec.name);
        let before = watches.by_name.remove(&name);
        if watches.by_name.len() >= limits::WATCHES_MAX {
            return Err(TooMany);
        }
        watches.seed = watches.seed.wrapping_add(1);
        let (commands, commanded) = mpsc::channel(limits::WATCH_COMMANDS_MAX);
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (mut task, status) = Task::new(spec, watches.clock, watches.seed);
        let watch = Watch {
            name: Arc::clone(&name),
            status,
            commands,
            stop: stop.clone(),
            ended: ended.clone(),
        };
        if let Some(before) = &before {
            before.stop.cancel();
        }
        tokio::spawn(async move {
            // However it ends, nobody waits for it any longer.
            let _ended = ended.drop_guard();
            if let Some(before) = before {
                before.wait().await;
            }
            task.run(commanded, stop).await;
        });
        watches.by_name.insert(name, watch.clone());
        Ok(watch)
    }

    /// The watch of that name.
    pub fn find(&self, name: &str) -> Option<Watch> {
        self.lock().by_name.get(name).cloned()
    }

    /// What is known of every service, by name.
    pub fn status(&self) -> Vec<Status> {
        self.lock().by_name.values().map(Watch::status).collect()
    }

    /// Stops the watch of that name and forgets it, without waiting for its end.
    pub fn forget(&self, name: &str) -> Option<Watch> {
        let watch = self.lock().by_name.remove(name)?;
        watch.stop.cancel();
        Some(watch)
    }

    /// Stops all watches at once and waits until they have ended: hooks that run may finish.
    pub async fn stop_all(&self) {
        let watches = std::mem::take(&mut self.lock().by_name);
        join_all(watches.values().map(Watch::stop)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for watch in self.by_name.values() {
            watch.stop.cancel();
        }
    }
}

impl Watch {
    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the service is up.
    pub fn is_ready(&self) -> bool {
        self.status.borrow().state == State::Up
    }

    /// Why the last probe or call failed, when it did.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.status.borrow().last_error.clone()
    }

    /// Everything that is known, of one moment.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The status as it changes. A reader that is slow sees the newest only.
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Probes now. While a probe is under way, another one follows it; many kicks add one probe.
    pub fn kick(&self) {
        self.tell(Command::Kick);
    }

    /// Tells that a caller saw the service fail. A service that is up is then in doubt: it is probed
    /// at once, and that probe decides. One that is not up is not probed more often for it.
    pub fn report_failure(&self, error: &str) {
        self.tell(Command::Failed(bounded(error)));
    }

    /// Tells that a caller saw the service work, which counts like a probe that did.
    pub fn report_success(&self) {
        self.tell(Command::Worked);
    }

    /// Stops it and waits for its end. Stopping reports nothing: its last state stays to be read.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.wait().await;
    }

    /// Waits until it has ended, by being stopped, replaced or dropped with its manager.
    pub async fn wait(&self) {
        self.ended.cancelled().await;
    }

    fn tell(&self, command: Command) {
        // When so much waits already, a probe follows anyway.
        let _ = self.commands.try_send(command);
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.lock().by_name.iter()).finish()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}
