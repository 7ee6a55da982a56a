//! The loop of one watch: hands events to the core, probes as it says, and publishes what is known.

use std::sync::Arc;

use dormouse_core::id::Epoch;
use dormouse_core::watch::{self as core, Effect, Event, Transition};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::hooks::Hooks;
use super::spec::{Change, ProbeFn, Spec, Voice};
use super::{Command, Status};
use crate::clock::Clock;

/// One watch, running.
pub(super) struct Task {
    name: Arc<str>,
    clock: Clock,
    core: core::Watch,
    probe: ProbeFn,
    /// Dropping it is how a probe is abandoned: it may ignore that, and is not waited for.
    asking: Option<Asking>,
    hooks: Hooks,
    voice: Voice,
    status: watch::Sender<Status>,
}

/// A probe that is under way, with the epoch of its question.
type Asking = (Epoch, AbortOnDropHandle<Result<(), Arc<str>>>);

impl Task {
    pub(super) fn new(spec: Spec, clock: Clock, seed: u64) -> (Self, watch::Receiver<Status>) {
        let core = core::Watch::new(spec.policy, seed, clock.now());
        let (status, read) = watch::channel(told(&spec.name, clock, core.status()));
        let hooks = Hooks::new(spec.on_ready, spec.on_down);
        let task = Self {
            name: spec.name,
            clock,
            core,
            probe: spec.probe,
            asking: None,
            hooks,
            voice: spec.voice,
            status,
        };
        (task, read)
    }

    pub(super) async fn run(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        self.handle(Event::Started);
        let mut heard = true;
        loop {
            let timer = self.core.poll_timeout().map(|(at, _)| self.clock.instant(at));
            let timer = async {
                match timer {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // Answers come before deadlines: what was answered in time is not called late.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                (epoch, result) = answer(&mut self.asking) => {
                    self.asking = None;
                    self.handle(Event::Answered { epoch, result });
                }
                () = self.hooks.step() => {}
                command = commands.recv(), if heard => match command {
                    Some(Command::Kick) => self.handle(Event::Kicked),
                    Some(Command::Failed(error)) => self.handle(Event::FailureReported(error)),
                    Some(Command::Worked) => self.handle(Event::SuccessReported),
                    None => heard = false,
                },
                () = timer => {
                    self.core.handle_timeout(self.clock.now());
                    self.settle();
                }
            }
        }
        self.handle(Event::Stopped);
        std::mem::take(&mut self.hooks).finish().await;
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(event, self.clock.now());
        self.settle();
    }

    /// Does what the core asks for, and publishes what is known afterwards.
    fn settle(&mut self) {
        let mut moves = Vec::new();
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Probe { epoch, .. } => {
                    let probe = Arc::clone(&self.probe);
                    // Making the future is the probe's own code too, and may panic.
                    let attempt = tokio::spawn(async move { probe().await });
                    self.asking = Some((epoch, AbortOnDropHandle::new(attempt)));
                }
                Effect::Abandon { epoch } => {
                    self.asking.take_if(|(asked, _)| *asked == epoch);
                }
                Effect::Moved(transition) => moves.push(transition),
            }
        }
        // Whoever is told of a transition finds it in the status.
        self.status.send_replace(told(&self.name, self.clock, self.core.status()));
        for transition in moves {
            self.moved(transition);
        }
    }

    fn moved(&mut self, transition: Transition) {
        let Transition { from, to, at, error } = transition;
        match (self.voice, &error) {
            (Voice::Silent, _) => {}
            (Voice::Loud, Some(error)) => {
                tracing::warn!(watch = %self.name, from = from.name(), %error, "Lost the service");
            }
            (Voice::Loud, None) => {
                tracing::info!(watch = %self.name, from = from.name(), "Reached the service");
            }
        }
        let at_unix_ms = self.clock.unix_ms(at);
        self.hooks.tell(Change { name: Arc::clone(&self.name), from, to, at_unix_ms, error });
    }
}

/// The answer of the probe that is under way; never, when none is.
async fn answer(asking: &mut Option<Asking>) -> (Epoch, Result<(), Arc<str>>) {
    let Some((epoch, attempt)) = asking else {
        return std::future::pending().await;
    };
    let result = match attempt.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(panic_text(error.into_panic().as_ref()).into()),
        Err(_) => Err("the probe was cut off".into()),
    };
    (*epoch, result)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let said = said.map(super::spec::bounded);
    said.map_or_else(
        || "the probe panicked".to_owned(),
        |said| format!("the probe panicked: {said}"),
    )
}

fn told(name: &Arc<str>, clock: Clock, status: core::Status) -> Status {
    Status {
        name: Arc::clone(name),
        state: status.state,
        since_unix_ms: clock.unix_ms(status.since),
        failures: status.failures,
        last_check_unix_ms: status.last_check.map(|at| clock.unix_ms(at)),
        next_check_unix_ms: status.next_check.map(|at| clock.unix_ms(at)),
        last_error: status.last_error,
    }
}
