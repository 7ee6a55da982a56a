//! Whether an environment answers: the watch machine of the house, asked and told in the words of
//! the collector.
//!
//! The first answer counts at once; afterwards it takes two failures in a row to go offline. While
//! events come in, they stand for the answer to a poll, and nothing is asked.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::Epoch;
use dormouse_core::time::Timestamp;
use dormouse_core::watch::{Effect, Event, Policy, Settings, State, Watch};
use tokio::time::Instant;

/// The watch of one environment.
pub(super) struct Standing {
    watch: Watch,
    origin: Instant,
    /// The question that is to be answered.
    epoch: Epoch,
}

/// What the environment has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Find out whether it answers.
    Ask,
    /// Nobody waits for that any more.
    StopAsking,
    /// Say that it answers, or why it does not.
    Tell(Result<(), Arc<str>>),
}

impl Standing {
    /// One that begins to ask.
    pub(super) fn new(seed: u64) -> Self {
        let origin = Instant::now();
        let mut watch = Watch::new(policy(), seed, Timestamp::ZERO);
        watch.handle(Event::Started, Timestamp::ZERO);
        Self { watch, origin, epoch: Epoch::default() }
    }

    /// Whether it answered last.
    pub(super) fn is_up(&self) -> bool {
        self.watch.status().state == State::Up
    }

    /// Whether all is well: it is up and the last answer was a good one.
    pub(super) fn is_well(&self) -> bool {
        let status = self.watch.status();
        status.state == State::Up && status.failures == 0
    }

    /// The answer to [`Duty::Ask`].
    pub(super) fn answered(&mut self, result: Result<(), Arc<str>>) {
        self.handle(Event::Answered { epoch: self.epoch, result });
    }

    /// Something else was tried, and failed.
    pub(super) fn failed(&mut self, reason: Arc<str>) {
        self.handle(Event::FailureReported(reason));
    }

    /// It may be different now.
    pub(super) fn ask_again(&mut self) {
        self.handle(Event::Kicked);
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self) {
        let now = self.now();
        self.watch.handle_timeout(now);
    }

    /// When [`Self::on_time`] is due.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let (at, _) = self.watch.poll_timeout()?;
        Some(self.origin + at.since(Timestamp::ZERO))
    }

    /// The next duty, until there is none.
    pub(super) fn duty(&mut self) -> Option<Duty> {
        loop {
            return Some(match self.watch.poll_effect()? {
                Effect::Probe { epoch, .. } => {
                    self.epoch = epoch;
                    Duty::Ask
                }
                Effect::Abandon { .. } => Duty::StopAsking,
                Effect::Moved(moved) => match moved.to {
                    State::Up => Duty::Tell(Ok(())),
                    State::Down => {
                        let reason = moved.error.unwrap_or_else(|| "it does not answer".into());
                        Duty::Tell(Err(reason))
                    }
                    State::Pending => continue,
                },
            });
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        self.watch.handle(event, now);
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }
}

fn policy() -> Policy {
    let settings = Settings {
        initial_delay: Duration::from_millis(250),
        // The first failure of a new environment is its first result.
        max_retries: 1,
        poll_interval: Duration::from_secs(30),
        // Longer than the deadlines of what is asked, which say better what took so long.
        probe_timeout: Duration::from_secs(25),
        ..Settings::default()
    };
    settings.validated().expect("the settings have no flaw; a test holds it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duties(standing: &mut Standing) -> Vec<Duty> {
        std::iter::from_fn(|| standing.duty()).collect()
    }

    fn no(reason: &str) -> Result<(), Arc<str>> {
        Err(reason.into())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_result_is_told_whatever_it_is() {
        for result in [Ok(()), no("refused")] {
            let mut standing = Standing::new(1);
            assert_eq!(duties(&mut standing), [Duty::Ask]);
            standing.answered(result.clone());
            assert_eq!(duties(&mut standing), [Duty::Tell(result)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_failure_is_doubt_and_the_second_in_a_row_is_the_end() {
        let mut standing = Standing::new(1);
        duties(&mut standing);
        standing.answered(Ok(()));
        duties(&mut standing);
        standing.failed("the events were refused".into());
        assert!(standing.is_up() && !standing.is_well());
        tokio::time::sleep_until(standing.alarm().unwrap()).await;
        standing.on_time();
        assert_eq!(duties(&mut standing), [Duty::Ask], "doubt asks, and tells nobody");
        standing.answered(Ok(()));
        assert_eq!(duties(&mut standing), []);
        assert!(standing.is_well());

        standing.failed("first".into());
        tokio::time::sleep_until(standing.alarm().unwrap()).await;
        standing.on_time();
        assert_eq!(duties(&mut standing), [Duty::Ask]);
        standing.answered(no("second"));
        assert_eq!(duties(&mut standing), [Duty::Tell(no("second"))]);
        standing.failed("third".into());
        assert_eq!(duties(&mut standing), [], "it is told once");
        standing.ask_again();
        standing.on_time();
        tokio::time::sleep_until(standing.alarm().unwrap()).await;
        standing.on_time();
        assert_eq!(duties(&mut standing), [Duty::Ask]);
        standing.answered(Ok(()));
        assert_eq!(duties(&mut standing), [Duty::Tell(Ok(()))], "one success is enough");
    }
}
