//! The hooks of one watch: one after another, beside its loop, each with a deadline.

use std::collections::VecDeque;
use std::sync::Arc;

use dormouse_core::limits;
use dormouse_core::watch::State;
use tokio::task::JoinError;
use tokio::time::{error::Elapsed, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::spec::{Change, HookFn};

/// The hooks that run and wait.
#[derive(Default)]
pub(super) struct Hooks {
    on_ready: Option<HookFn>,
    on_down: Option<HookFn>,
    waiting: VecDeque<Change>,
    running: Option<Running>,
}

/// A hook that runs, of the watch of this name.
type Running = (Arc<str>, AbortOnDropHandle<Result<(), Elapsed>>);

impl Hooks {
    pub(super) fn new(on_ready: Option<HookFn>, on_down: Option<HookFn>) -> Self {
        Self { on_ready, on_down, ..Self::default() }
    }

    /// Runs what follows a transition, after what follows the transitions before it.
    pub(super) fn tell(&mut self, change: Change) {
        self.waiting.push_back(change);
        if self.waiting.len() > limits::WATCH_HOOKS_WAITING_MAX {
            // States alternate: without a whole pair the last word stays the last word.
            let dropped: Vec<Change> = self.waiting.drain(..2).collect();
            tracing::warn!(watch = %dropped[0].name, "Left out two hooks: those before are too slow");
        }
        self.begin();
    }

    /// Ends when the hook that runs has ended, and begins the next one; never, when none runs.
    pub(super) async fn step(&mut self) {
        let Some((name, running)) = &mut self.running else {
            return std::future::pending().await;
        };
        let outcome = running.await;
        report(name, outcome);
        self.running = None;
        self.begin();
    }

    /// Lets the hook that runs finish; those that wait are left out.
    pub(super) async fn finish(mut self) {
        self.waiting.clear();
        if self.running.is_some() {
            self.step().await;
        }
    }

    fn begin(&mut self) {
        while self.running.is_none()
            && let Some(change) = self.waiting.pop_front()
        {
            let hook = match change.to {
                State::Up => &self.on_ready,
                State::Down => &self.on_down,
                State::Pending => &None,
            };
            let Some(hook) = hook.clone() else { continue };
            let name = Arc::clone(&change.name);
            // Making the future is the hook's own code too, and may panic.
            let run = async move { timeout(limits::WATCH_HOOK_MAX, hook(change)).await };
            self.running = Some((name, AbortOnDropHandle::new(tokio::spawn(run))));
        }
    }
}

fn report(watch: &str, outcome: Result<Result<(), Elapsed>, JoinError>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(_)) => {
            let limit = limits::WATCH_HOOK_MAX;
            tracing::warn!(watch, ?limit, "Gave up a hook that does not end");
        }
        Err(error) => tracing::warn!(watch, %error, "A hook panicked"),
    }
}
