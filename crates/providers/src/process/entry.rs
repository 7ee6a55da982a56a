//! One target: its run if it has one, and what is remembered between runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::PoisonError;

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
    pub(super) run: Option<Run>,
    /// The port of the last start.
    pub(super) port: Option<u16>,
    pub(super) tail: SharedTail,
    /// How the last run ended.
    ending: Option<Ending>,
}

impl Entry {
    /// Takes a new run in.
    pub(super) fn begin(&mut self, run: Run, port: u16) {
        self.tail = run.tail();
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).close_line();
        self.port = Some(port);
        self.run = Some(run);
    }

    /// Sees what became of the run, and says so to the feeds.
    pub(super) fn look(
        &mut self,
        target: &Target,
        ward: &mut Ward,
        changes: &broadcast::Sender<Found>,
    ) {
        let as_of = Instant::now();
        let Some(run) = &mut self.run else { return };
        match run.look(|group| ward.remove(group)) {
            News::None => return,
            News::Changed => {}
            News::Ended(ending) => {
                tracing::info!(process = %target, exit_code = ending.exit_code, "Saw a process end");
                self.run = None;
                self.ending = Some(ending);
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
        Sighting { condition, as_of, addresses, default_port: self.port }
    }

    /// An error when the run that a call waited for has ended.
    pub(super) fn check_awaited(&self, awaited: RunId) -> Result<(), ProviderError> {
        let ending = self.ending.as_ref().filter(|ending| ending.run == awaited);
        let Some(ending) = ending else { return Ok(()) };
        Err(match &ending.never_ran {
            Some(why) => ProviderError::Misconfigured(why.clone()),
            None => ProviderError::Ended { exit_code: Some(ending.exit_code) },
        })
    }

    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).last(count)
    }

    fn condition(&self) -> Condition {
        let Some(run) = &self.run else {
            let exit_code = self.ending.as_ref().map(|ending| ending.exit_code);
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
