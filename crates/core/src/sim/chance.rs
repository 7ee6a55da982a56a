//! The luck of the storm: which faults a seed knows at all, how often they strike, how long things
//! take. Each seed draws its own weather, so that some fleets meet one fault only, and some all.

use std::time::Duration;

use super::fate::{Ending, Fate, Life, RestFate, RestOutcome, StartFate, StartOutcome, Travel};
use super::random::Random;
use crate::failure::{Failure, FailureKind};
use crate::lifecycle::StartFailure;

/// Decides by dice.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    pub(super) random: Random,
    weather: Weather,
    /// Workloads that run to their end, as bits.
    pub(super) jobs: u32,
}

/// How often each fault strikes, in a thousand.
#[derive(Clone, Debug, Default)]
struct Weather {
    slow_start: u64,
    refused_start: u64,
    ends_at_once: u64,
    never_ready: u64,
    slow_ready: u64,
    crash: u64,
    rises: u64,
    slow_rest: u64,
    refused_rest: u64,
    ignored_rest: u64,
    lost_answer: u64,
    late_answer: u64,
    double_answer: u64,
    lost_notice: u64,
    late_notice: u64,
    double_notice: u64,
    slow_look: u64,
    slow_gate: u64,
}

impl Chance {
    pub(super) fn new(mut random: Random) -> Self {
        let weather = Weather::draw(&mut random);
        Self { random, weather, jobs: 0 }
    }

    /// From now on everything works.
    pub(super) fn calm(&mut self) {
        self.weather = Weather::default();
    }

    fn travel(&mut self, lost: u64, late: u64, double: u64) -> Travel {
        if self.random.chance(lost) {
            return Travel { first: None, again: None };
        }
        let most = if self.random.chance(late) { 30_000 } else { 40 };
        let first = Some(self.random.millis(0, most));
        let twice = self.random.chance(double);
        let again = twice.then(|| self.random.millis(0, 20_000));
        Travel { first, again }
    }

    fn ending(&mut self) -> Ending {
        let exit = self.random.pick(&[0, 1, 1, 137, 139, 143]);
        let rises = self.random.chance(self.weather.rises);
        let rises_in = rises.then(|| self.random.millis(50, 5_000));
        Ending { exit, rises_in }
    }

    fn job(&mut self) -> Life {
        let failed = self.random.chance(self.weather.crash);
        let exit = if failed { 1 } else { 0 };
        let ending = Ending { exit, rises_in: None };
        Life {
            ready_in: Some(self.random.millis(0, 500)),
            ends: Some((self.random.millis(50, 4_000), ending)),
        }
    }

    fn refusal(&mut self) -> StartFailure {
        let failure = Failure::new(FailureKind::StartRefused, "the runtime refused to start it");
        if self.random.chance(700) {
            StartFailure::Passing(failure)
        } else {
            StartFailure::Lasting(failure)
        }
    }
}

impl Fate for Chance {
    fn start(&mut self, _workload: usize) -> StartFate {
        let slow = self.random.chance(self.weather.slow_start);
        let takes = self.random.millis(5, if slow { 90_000 } else { 800 });
        let outcome = if self.random.chance(self.weather.refused_start) {
            StartOutcome::Refused(self.refusal())
        } else if self.random.chance(self.weather.ends_at_once) {
            StartOutcome::EndsAtOnce(self.ending())
        } else {
            StartOutcome::Runs
        };
        StartFate { takes, outcome }
    }

    fn rest(&mut self, _workload: usize) -> RestFate {
        let lands = self.random.millis(1, 50);
        let slow = self.random.chance(self.weather.slow_rest);
        let takes = self.random.millis(1, if slow { 40_000 } else { 900 });
        let outcome = if self.random.chance(self.weather.refused_rest) {
            RestOutcome::Refused
        } else if self.random.chance(self.weather.ignored_rest) {
            RestOutcome::Ignored
        } else {
            RestOutcome::Rests { takes }
        };
        RestFate { lands, outcome }
    }

    fn life(&mut self, workload: usize) -> Life {
        if self.jobs & (1 << workload) != 0 {
            return self.job();
        }
        let never = self.random.chance(self.weather.never_ready);
        let slow = self.random.chance(self.weather.slow_ready);
        let ready = self.random.millis(0, if slow { 70_000 } else { 600 });
        let ends = self.random.chance(self.weather.crash).then(|| {
            let ending = self.ending();
            (self.random.millis(0, 20_000), ending)
        });
        Life { ready_in: (!never).then_some(ready), ends }
    }

    fn answer(&mut self, _workload: usize) -> Travel {
        let (lost, late) = (self.weather.lost_answer, self.weather.late_answer);
        self.travel(lost, late, self.weather.double_answer)
    }

    fn notice(&mut self, _workload: usize) -> Travel {
        let (lost, late) = (self.weather.lost_notice, self.weather.late_notice);
        self.travel(lost, late, self.weather.double_notice)
    }

    fn look(&mut self) -> Duration {
        let slow = self.random.chance(self.weather.slow_look);
        self.random.millis(0, if slow { 8_000 } else { 50 })
    }

    fn gate(&mut self, _workload: usize) -> Duration {
        let slow = self.random.chance(self.weather.slow_gate);
        self.random.millis(0, if slow { 8_000 } else { 30 })
    }

    fn want(&mut self) -> Duration {
        self.random.millis(0, 20)
    }

    fn hang_up(&mut self) -> Duration {
        self.random.millis(0, 2_000)
    }
}

impl Weather {
    fn draw(random: &mut Random) -> Self {
        let storm = random.pick(&[0, 60, 250]);
        let mut some = || {
            if random.chance(500) { random.below(storm + 1) } else { 0 }
        };
        Self {
            slow_start: some(),
            refused_start: some(),
            ends_at_once: some(),
            never_ready: some(),
            slow_ready: some(),
            crash: some(),
            rises: some(),
            slow_rest: some(),
            refused_rest: some(),
            ignored_rest: some(),
            lost_answer: some(),
            late_answer: some(),
            double_answer: some(),
            lost_notice: some(),
            late_notice: some(),
            double_notice: some(),
            slow_look: some(),
            slow_gate: some(),
        }
    }
}
