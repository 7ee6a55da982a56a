//! What an earlier keeper saw go unused: it counts for the run that is found again, and for nothing
//! else.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::fleet::{self, Effect, Fleet, Key};
use dormouse_core::lifecycle::{self, Activity, Event, WakeCause};
use dormouse_core::observation::Health;
use dormouse_core::{
    Condition, EnvironmentName, Observation, Policy, RunId, Timestamp, Unused, WorkloadId, limits,
};

const IDLE: Duration = Duration::from_secs(60);
const RUN: RunId = RunId(7);

/// A fleet with one workload, and the clock that it is told.
struct Stage {
    fleet: Fleet,
    key: Key,
    now: Timestamp,
}

#[test]
fn the_idle_period_of_the_same_run_goes_on() {
    let mut stage = Stage::found(RUN, Some(Duration::from_secs(45)));
    stage.make_ready();
    assert_eq!(stage.rests_after(Activity::NONE), Duration::from_secs(15));
}

#[test]
fn without_a_memory_it_has_a_full_idle_period() {
    let mut stage = Stage::found(RUN, None);
    stage.make_ready();
    assert_eq!(stage.rests_after(Activity::NONE), IDLE);
}

#[test]
fn another_run_has_a_full_idle_period() {
    let mut stage = Stage::found(RunId(8), Some(Duration::from_secs(45)));
    stage.make_ready();
    assert_eq!(stage.rests_after(Activity::NONE), IDLE);
}

#[test]
fn whoever_lost_a_connection_has_time_to_come_back() {
    for unused in [Duration::from_secs(59), IDLE, Duration::MAX] {
        let mut stage = Stage::found(RUN, Some(unused));
        stage.make_ready();
        assert_eq!(stage.rests_after(Activity::NONE), limits::RECALLED_IDLE_MIN, "{unused:?}");
    }
}

#[test]
fn a_use_begins_a_full_idle_period() {
    let mut stage = Stage::found(RUN, Some(Duration::from_secs(45)));
    stage.make_ready();
    let last_use = stage.now + Duration::from_secs(2);
    let used = Activity { last_use, ..Activity::NONE };
    assert_eq!(stage.rests_after(used), Duration::from_secs(2) + IDLE);
}

#[test]
fn what_was_asleep_when_it_was_found_forgets() {
    let mut stage = Stage::new(Some(Duration::from_secs(45)));
    stage.observe(Condition::Stopped { exit_code: None });
    stage.tell(Event::Wanted(WakeCause::Asked));
    stage.observe(Condition::Running { run: RUN, health: Health::Undeclared });
    stage.make_ready();
    assert_eq!(stage.rests_after(Activity::NONE), IDLE);
}

#[test]
fn a_ready_workload_learns_nothing_from_the_past() {
    let mut stage = Stage::found(RUN, None);
    stage.make_ready();
    stage.recall(Duration::from_secs(45));
    assert_eq!(stage.rests_after(Activity::NONE), IDLE);
}

#[test]
fn the_explanation_says_when_it_will_be_idle() {
    let mut stage = Stage::found(RUN, Some(Duration::from_secs(45)));
    stage.make_ready();
    let explanation = stage.fleet.explain(stage.key, Some(Activity::NONE), stage.now).unwrap();
    assert_eq!(explanation.idle_at, Some(stage.now + Duration::from_secs(15)));
}

impl Stage {
    fn new(unused: Option<Duration>) -> Self {
        let id = WorkloadId::parse("box/blog").unwrap();
        let policy = Arc::new(Policy { idle_timeout: Some(IDLE), ..Policy::default() });
        // A young process: its clock has not counted one idle period yet.
        let now = Timestamp::from_millis(20);
        let mut fleet = Fleet::new(1);
        fleet.handle(fleet::Event::Define { id: id.clone(), policy }, now);
        let key = fleet.key(&id).unwrap();
        fleet.handle(fleet::Event::EnvironmentReached(EnvironmentName::new("box")), now);
        let mut stage = Self { fleet, key, now };
        if let Some(unused) = unused {
            stage.recall(unused);
        }
        stage
    }

    fn found(run: RunId, unused: Option<Duration>) -> Self {
        let mut stage = Self::new(unused);
        stage.observe(Condition::Running { run, health: Health::Undeclared });
        stage
    }

    fn recall(&mut self, period: Duration) {
        let unused = Unused { run: RUN, period };
        self.fleet.handle(fleet::Event::Recall { key: self.key, unused }, self.now);
    }

    fn observe(&mut self, condition: Condition) {
        self.tell(Event::Observed(Observation { condition, as_of: self.now }));
    }

    fn tell(&mut self, event: Event) {
        self.fleet.handle(fleet::Event::Workload(self.key, event), self.now);
    }

    /// Answers the start, where there is one, and the probe.
    fn make_ready(&mut self) {
        while let Some(effect) = self.fleet.poll_effect() {
            match effect {
                Effect::Act(_, lifecycle::Effect::Start { epoch, .. }) => {
                    self.tell(Event::Started { epoch, as_of: self.now, result: Ok(RUN) });
                }
                Effect::Act(_, lifecycle::Effect::Probe { epoch, .. }) => {
                    self.tell(Event::Probed { epoch, result: Ok(()) });
                }
                Effect::Act(..) | Effect::Moved { .. } | Effect::PinEnded(_) => {}
            }
        }
        assert_eq!(self.fleet.phase(self.key).unwrap().name(), "ready");
    }

    /// How long it is from now until the rest is sent, if its gate counts this.
    fn rests_after(&mut self, activity: Activity) -> Duration {
        let began = self.now;
        loop {
            let (due, _) = self.fleet.poll_timeout().unwrap();
            self.now = due;
            self.fleet.handle_timeout(due);
            while let Some(effect) = self.fleet.poll_effect() {
                match effect {
                    Effect::Act(_, lifecycle::Effect::ReadActivity { epoch }) => {
                        self.tell(Event::ActivityRead { epoch, activity });
                    }
                    Effect::Act(_, lifecycle::Effect::CloseGate { epoch }) => {
                        self.tell(Event::GateClosed { epoch, activity });
                    }
                    Effect::Act(_, lifecycle::Effect::Rest { .. }) => return self.now.since(began),
                    Effect::Act(..) | Effect::Moved { .. } | Effect::PinEnded(_) => {}
                }
            }
        }
    }
}
