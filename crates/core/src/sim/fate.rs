//! What the simulated world asks of whoever decides its luck: how long things take, and what fails.

use std::time::Duration;

use crate::lifecycle::StartFailure;

/// Decides the luck of the world. The storm rolls dice; a scenario follows its script.
pub(crate) trait Fate {
    /// Of a start that is about to reach the runtime.
    fn start(&mut self, workload: usize) -> StartFate;
    /// Of a rest that is about to reach the runtime.
    fn rest(&mut self, workload: usize) -> RestFate;
    /// Of a run that begins.
    fn life(&mut self, workload: usize) -> Life;
    /// Of an answer on its way to the keeper.
    fn answer(&mut self, workload: usize) -> Travel;
    /// Of a notice on its way to the keeper.
    fn notice(&mut self, workload: usize) -> Travel;
    /// Between the beginning of a look and the moment it reads.
    fn look(&mut self) -> Duration;
    /// Between the question to a gate and its being shut.
    fn gate(&mut self, workload: usize) -> Duration;
    /// Between a visitor's arrival at a shut gate and the keeper's hearing of it.
    fn want(&mut self) -> Duration;
    /// Between the end of a run and the end of the connections that led to it.
    fn hang_up(&mut self) -> Duration;
}

/// When something that was sent arrives: once, twice or never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Travel {
    pub(crate) first: Option<Duration>,
    pub(crate) again: Option<Duration>,
}

/// How a start goes.
#[derive(Clone, Debug)]
pub(crate) struct StartFate {
    pub(crate) takes: Duration,
    pub(crate) outcome: StartOutcome,
}

/// What becomes of a start.
#[derive(Clone, Debug)]
pub(crate) enum StartOutcome {
    Runs,
    EndsAtOnce(Ending),
    Refused(StartFailure),
}

/// How a rest goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestFate {
    /// Until the runtime begins with it.
    pub(crate) lands: Duration,
    pub(crate) outcome: RestOutcome,
}

/// What becomes of a rest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestOutcome {
    /// A stop takes this long, if the runtime is not told to kill it before.
    Rests { takes: Duration },
    /// The runtime says no.
    Refused,
    /// The runtime says yes and does nothing.
    Ignored,
}

/// What becomes of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Never, when absent.
    pub(crate) ready_in: Option<Duration>,
    /// It runs until it is ended from outside, when absent.
    pub(crate) ends: Option<(Duration, Ending)>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) exit: i32,
    /// The runtime's own restart policy starts it again after this long.
    pub(crate) rises_in: Option<Duration>,
}

impl Travel {
    /// It arrives once.
    pub(crate) fn after(delay: Duration) -> Self {
        Self { first: Some(delay), again: None }
    }

    pub(super) fn arrivals(self) -> impl Iterator<Item = Duration> {
        self.first.into_iter().chain(self.again)
    }
}
