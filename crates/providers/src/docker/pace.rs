//! How to wait for a container to change: until an event is about it, or a moment that grows.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::engine::Engine;
use crate::{ProviderError, Target};

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);

/// The waits between looks at one target.
pub(super) struct Pace<'a> {
    target: &'a Target,
    pulse: watch::Receiver<Option<Target>>,
    delay: Duration,
    deadline: Instant,
    /// For the error when the deadline passes.
    during: &'static str,
}

impl<'a> Pace<'a> {
    /// Events from here on end a wait.
    pub(super) fn new(
        engine: &Engine,
        target: &'a Target,
        deadline: Instant,
        during: &'static str,
    ) -> Self {
        Self { target, pulse: engine.pulse(), delay: FIRST, deadline, during }
    }

    /// Waits until another look may show something else.
    pub(super) async fn wait(&mut self) -> Result<(), ProviderError> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(ProviderError::Timeout(self.during));
        }
        let until = (now + self.delay).min(self.deadline);
        self.delay = (self.delay * 2).min(LONGEST);
        tokio::select! {
            () = sleep_until(until) => {}
            () = heard_of(&mut self.pulse, self.target) => {}
        }
        Ok(())
    }
}

async fn heard_of(pulse: &mut watch::Receiver<Option<Target>>, target: &Target) {
    while pulse.changed().await.is_ok() {
        if pulse.borrow_and_update().as_ref() == Some(target) {
            return;
        }
    }
    std::future::pending().await
}
