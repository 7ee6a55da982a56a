//! How each workload of a scenario behaves: its luck, written down instead of drawn.

use std::time::Duration;

use super::words::{self, Refusal};
use crate::failure::{Failure, FailureKind};
use crate::lifecycle::StartFailure;
use crate::sim::fate::{
    Ending, Fate, Life, RestFate, RestOutcome, StartFate, StartOutcome, Travel,
};

/// The behaviour of one workload and of what lies between it and the keeper.
#[derive(Clone, Debug)]
pub(super) struct Temper {
    start: Start,
    ready_in: Option<Duration>,
    ends: Option<(Duration, Ending)>,
    stop: Stop,
    gate: Duration,
    answers: Travel,
    notices: Travel,
}

/// The tempers of all workloads.
#[derive(Clone, Debug, Default)]
pub(super) struct Tempers(pub(super) Vec<Temper>);

#[derive(Clone, Copy, Debug)]
enum Start {
    Takes(Duration),
    EndsAtOnce(i32),
    Refused,
    RefusedForGood,
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    Takes(Duration),
    Refused,
    Ignored,
}

/// What takes a moment when nobody says how long.
const MOMENT: Duration = Duration::from_secs(1);

impl Default for Temper {
    fn default() -> Self {
        Self {
            start: Start::Takes(MOMENT),
            ready_in: Some(MOMENT),
            ends: None,
            stop: Stop::Takes(MOMENT),
            gate: Duration::ZERO,
            answers: Travel::after(Duration::ZERO),
            notices: Travel::after(Duration::ZERO),
        }
    }
}

impl Temper {
    /// Sets one trait; `None` when there is no such trait.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), Refusal>> {
        let set = match name {
            "start" => start(value).map(|start| self.start = start),
            "ready" => words::duration_or_never(value).map(|ready| self.ready_in = ready),
            "ends" => ends(value).map(|ends| self.ends = ends),
            "stop" => stop(value).map(|stop| self.stop = stop),
            "gate" => words::duration(value).map(|gate| self.gate = gate),
            "answers" => travel(value).map(|answers| self.answers = answers),
            "notices" => travel(value).map(|notices| self.notices = notices),
            _ => return None,
        };
        Some(set)
    }
}

impl Fate for Tempers {
    fn start(&mut self, workload: usize) -> StartFate {
        let refused = || Failure::new(FailureKind::StartRefused, "the runtime refused to start it");
        let (takes, outcome) = match self.0[workload].start {
            Start::Takes(takes) => (takes, StartOutcome::Runs),
            Start::EndsAtOnce(exit) => {
                (MOMENT, StartOutcome::EndsAtOnce(Ending { exit, rises_in: None }))
            }
            Start::Refused => (MOMENT, StartOutcome::Refused(StartFailure::Passing(refused()))),
            Start::RefusedForGood => {
                (MOMENT, StartOutcome::Refused(StartFailure::Lasting(refused())))
            }
        };
        StartFate { takes, outcome }
    }

    fn rest(&mut self, workload: usize) -> RestFate {
        let outcome = match self.0[workload].stop {
            Stop::Takes(takes) => RestOutcome::Rests { takes },
            Stop::Refused => RestOutcome::Refused,
            Stop::Ignored => RestOutcome::Ignored,
        };
        RestFate { lands: Duration::ZERO, outcome }
    }

    fn life(&mut self, workload: usize) -> Life {
        let Temper { ready_in, ends, .. } = self.0[workload];
        Life { ready_in, ends }
    }

    fn answer(&mut self, workload: usize) -> Travel {
        self.0[workload].answers
    }

    fn notice(&mut self, workload: usize) -> Travel {
        self.0[workload].notices
    }

    fn look(&mut self) -> Duration {
        Duration::ZERO
    }

    fn gate(&mut self, workload: usize) -> Duration {
        self.0[workload].gate
    }

    fn want(&mut self) -> Duration {
        Duration::ZERO
    }

    fn hang_up(&mut self) -> Duration {
        Duration::ZERO
    }
}

fn start(value: &str) -> Result<Start, Refusal> {
    match value.split_once(':') {
        Some(("exit", code)) => words::number(code).map(Start::EndsAtOnce),
        Some((_, _)) => Err(words::refuse("a start", value)),
        None => match value {
            "refused" => Ok(Start::Refused),
            "refused-for-good" => Ok(Start::RefusedForGood),
            takes => words::duration(takes).map(Start::Takes),
        },
    }
}

fn stop(value: &str) -> Result<Stop, Refusal> {
    match value {
        "refused" => Ok(Stop::Refused),
        "ignored" => Ok(Stop::Ignored),
        takes => words::duration(takes).map(Stop::Takes),
    }
}

/// `never`, `2s:0`, or `2s:1:500ms` when the runtime starts it again after half a second.
fn ends(value: &str) -> Result<Option<(Duration, Ending)>, Refusal> {
    if value == "never" {
        return Ok(None);
    }
    let mut parts = value.split(':');
    let after = words::duration(parts.next().unwrap_or_default())?;
    let exit = words::number(parts.next().unwrap_or("0"))?;
    let rises_in = parts.next().map(words::duration).transpose()?;
    Ok(Some((after, Ending { exit, rises_in })))
}

/// `at-once`, `lost`, `late:5s` or `twice:5s`.
fn travel(value: &str) -> Result<Travel, Refusal> {
    let now = Duration::ZERO;
    match value.split_once(':') {
        Some(("late", delay)) => Ok(Travel::after(words::duration(delay)?)),
        Some(("twice", delay)) => {
            Ok(Travel { first: Some(now), again: Some(words::duration(delay)?) })
        }
        Some((_, _)) => Err(words::refuse("a way to travel", value)),
        None => match value {
            "at-once" => Ok(Travel::after(now)),
            "lost" => Ok(Travel { first: None, again: None }),
            _ => Err(words::refuse("a way to travel", value)),
        },
    }
}
