//! One target: its run if it has one, and what is remembered between runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};

use dormouse_core::observation::Health;
use dormouse_core::{Condition, RunId};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::run::{Ending, News, Phase, Run, SharedTail};
use super::ward::Ward;
use crate::provider::{Address, Found, ProviderError, Sighting, Target, Via};

/// One target. It is known because it is followed, because it was started, or both.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) followed: bool,
    /// Absent before the first start: most of many targets sleep and never had one.
    past: Option<Box<Past>>,
}

/// What is known of a target that has been started.
struct Past {
    run: Option<Run>,
    /// The port of the last start.
    port: u16,
    tail: SharedTail,
    /// How the last run ended.
    ending: Option<Ending>,
}

impl Entry {
    /// Takes a new run in.
    pub(super) fn begin(&mut self, run: Run, port: u16) {
        let tail = run.tail();
        tail.lock().unwrap_or_else(PoisonError::into_inner).close_line();
        let ending = self.past.take().and_then(|past| past.ending);
        self.past = Some(Box::new(Past { run: Some(run), port, tail, ending }));
    }

    /// Its run, while it has one.
    pub(super) fn run(&self) -> Option<&Run> {
        self.past.as_ref()?.run.as_ref()
    }

    pub(super) fn run_mut(&mut self) -> Option<&mut Run> {
        self.past.as_mut()?.run.as_mut()
    }

    pub(super) fn take_run(&mut self) -> Option<Run> {
        self.past.as_mut()?.run.take()
    }

    /// The port of its last start.
    pub(super) fn port(&self) -> Option<u16> {
        self.past.as_ref().map(|past| past.port)
    }

    /// The tail that its next run goes on with.
    pub(super) fn tail(&self) -> SharedTail {
        self.past.as_ref().map_or_else(SharedTail::default, |past| Arc::clone(&past.tail))
    }

    /// Sees what became of the run, and says so to the feeds.
    pub(super) fn look(
        &mut self,
        target: &Target,
        ward: &mut Ward,
        changes: &broadcast::Sender<Found>,
    ) {
        let as_of = Instant::now();
        let Some(past) = &mut self.past else { return };
        let Some(run) = &mut past.run else { return };
        match run.look(|group| ward.remove(group)) {
            News::None => return,
            News::Changed => {}
            News::Ended(ending) => {
                tracing::info!(process = %target, exit_code = ending.exit_code, "Saw a process end");
                past.run = None;
                past.ending = Some(ending);
            }
        }
        // Nobody listening is fine: whoever comes later begins with a listing.
        let _ = changes.send(found(target, self.sighting(as_of)));
    }

    pub(super) fn sighting(&self, as_of: Instant) -> Sighting {
        let condition = self.condition();
        let addresses = match condition {
            Condition::Running { .. } => {
                vec![Address::Own { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), via: Via::Direct }]
            }
            Condition::Paused { .. }
            | Condition::Stopped { .. }
            | Condition::Restarting { .. }
            | Condition::Absent => Vec::new(),
        };
        Sighting { condition, as_of, addresses, default_port: self.port() }
    }

    /// An error when the run that a call waited for has ended.
    pub(super) fn check_awaited(&self, awaited: RunId) -> Result<(), ProviderError> {
        let ending = self.ending().filter(|ending| ending.run == awaited);
        let Some(ending) = ending else { return Ok(()) };
        Err(match &ending.never_ran {
            Some(why) => ProviderError::Misconfigured(why.clone()),
            None => ProviderError::Ended { exit_code: Some(ending.exit_code) },
        })
    }

    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        let last =
            |past: &Past| past.tail.lock().unwrap_or_else(PoisonError::into_inner).last(count);
        self.past.as_deref().map(last).unwrap_or_default()
    }

    fn ending(&self) -> Option<&Ending> {
        self.past.as_ref()?.ending.as_ref()
    }

    fn condition(&self) -> Condition {
        let Some(run) = self.run() else {
            let exit_code = self.ending().map(|ending| ending.exit_code);
            return Condition::Stopped { exit_code };
        };
        match run.phase() {
            // It exists, so there is something to rest.
            Phase::Launching | Phase::Running | Phase::Stopping { .. } => {
                Condition::Running { run: run.id, health: Health::Undeclared }
            }
            Phase::Paused => Condition::Paused { run: run.id },
        }
    }
}

/// A target as a listing shows it. Processes have no labels.
pub(super) fn found(target: &Target, sighting: Sighting) -> Found {
    Found { target: target.clone(), labels: BTreeMap::new(), sighting }
}
