//! The storm: visitors, people and faults that a seed lets loose on its fleet.

use std::sync::Arc;
use std::time::Duration;

use super::agenda::Happening;
use super::chance::Chance;
use super::fate::Ending;
use super::fleets;
use super::log::Kind;
use super::runtime::Deed;
use super::visitors::Manner;
use super::world::{Configured, World};
use crate::fleet;
use crate::id::{Epoch, WorkloadId};
use crate::lifecycle::{Activity, Check, Event, Phase, StartFailure, Valve, WakeCause};
use crate::load::Load;
use crate::observation::RunId;
use crate::policy::Policy;
use crate::time::Timestamp;

/// Enough for the longest chain of needs.
const PATIENT_WAKE: Duration = Duration::from_secs(60);

impl World<Chance> {
    /// Does one thing, and plans the next.
    pub(super) fn act(&mut self) {
        let gap = self.draw_gap();
        self.agenda.add(gap.max(self.now), Happening::Acts);
        let w = self.fate.random.index(self.workloads.len());
        let dice = self.fate.random.below(1000);
        if self.now < self.stalled_until {
            // Nobody gets through to a keeper that stands still; the runtimes go on without it.
            self.act_at_runtime(w, dice);
            return;
        }
        // The worst moment to stand still is between a question to a gate and its answer.
        if self.fate.random.chance(100) && self.awaits_a_gate() {
            return self.stall_for_long();
        }
        match dice {
            0..500 => self.act_as_visitor(w),
            500..640 => self.act_as_person(w, dice),
            640..700 => self.act_on_configuration(w, dice),
            700..900 => self.act_at_runtime(w, dice),
            900..950 => self.act_on_environment(dice),
            950..960 => self.act_as_meter(w),
            960..985 => self.act_out_of_turn(w, dice),
            _ => self.act_on_keeper(dice),
        }
    }

    /// When the storm strikes next: often just around the moment at which the fleet acts itself.
    fn draw_gap(&mut self) -> Timestamp {
        let random = &mut self.fate.random;
        let aimed = self.fleet.poll_timeout().map(|(at, _)| at);
        match (random.below(10), aimed) {
            (0..4, Some(at)) if at < self.now + Duration::from_secs(60) => {
                at - Duration::from_millis(30) + random.millis(0, 90)
            }
            (0..7, _) => self.now + random.millis(0, 2_000),
            (7..9, _) => self.now + random.millis(0, 30),
            (_, _) => self.now + random.millis(0, 25_000),
        }
    }

    fn act_as_visitor(&mut self, w: usize) {
        let random = &mut self.fate.random;
        let long = random.chance(200);
        let stay = random.millis(1, if long { 60_000 } else { 500 });
        let patience = random.chance(300).then(|| random.millis(0, 10_000));
        let crowd = if random.chance(100) { 5 } else { 1 };
        for _ in 0..crowd {
            self.visit(w, Manner { stay, patience });
        }
    }

    fn act_as_person(&mut self, w: usize, dice: u64) {
        match dice {
            500..530 => self.hear(w, Event::Wanted(WakeCause::Asked)),
            530..560 => {
                let until = self.fate.random.chance(900);
                let length = self.fate.random.millis(1, 60_000);
                self.pin(w, until.then(|| self.now + length));
            }
            560..580 => self.unpin(w),
            580..610 => self.ask_sleep(w, Event::SleepAsked),
            _ => self.ask_sleep(w, Event::SleepForced),
        }
    }

    fn act_on_configuration(&mut self, w: usize, dice: u64) {
        let policy = self.workloads[w].policy.as_ref().clone();
        match dice {
            640..665 => {
                let earlier: Vec<WorkloadId> =
                    self.workloads[..w].iter().map(|it| it.id.clone()).collect();
                let jobs = u64::from(self.fate.jobs);
                let policy = fleets::draw_policy(&mut self.fate.random, &earlier, jobs);
                self.reconfigure(w, Configured::Defined, policy);
            }
            665..672 => self.reconfigure(w, Configured::Wrong, policy),
            672..679 => self.reconfigure(w, Configured::Absent, policy),
            _ => {
                let astray = |it: &super::world::Workload| it.configured != Configured::Defined;
                if let Some(w) = self.workloads.iter().position(astray) {
                    let policy = Arc::unwrap_or_clone(Arc::clone(&self.workloads[w].policy));
                    self.reconfigure(w, Configured::Defined, policy);
                }
            }
        }
    }

    fn act_at_runtime(&mut self, w: usize, dice: u64) {
        let rises_in = dice.is_multiple_of(3).then_some(Duration::from_millis(700));
        let exit = self.fate.random.pick(&[0, 1, 137, 143]);
        let deed = match dice % 10 {
            0 | 1 => Deed::Start,
            2 => Deed::Stop,
            3 => Deed::Pause,
            4 => Deed::Unpause,
            5 if dice.is_multiple_of(4) => Deed::Remove,
            5 | 6 => Deed::Create,
            7 => Deed::Restart,
            _ => Deed::Crash(Ending { exit, rises_in }),
        };
        self.deed(w, deed);
    }

    fn act_on_environment(&mut self, dice: u64) {
        let environment = self.fate.random.index(self.environments.len());
        match (dice, self.environments[environment].up) {
            (900..915, true) => self.lose(environment),
            (_, false) => self.reach(environment),
            (_, true) => {}
        }
    }

    /// Measures what a workload does: busy by either bound, quiet, or a while ago.
    fn act_as_meter(&mut self, w: usize) {
        let random = &mut self.fate.random;
        let late = if random.chance(200) { random.millis(0, 20_000) } else { Duration::ZERO };
        let load = Load {
            as_of: self.now - late,
            cpu_millipercent: random.pick(&[0, 4_999, 5_000, 200_000]),
            net_bytes: random.pick(&[None, Some(0), Some(1_024)]),
        };
        self.measure(w, load);
    }

    /// Tells the fleet what nobody asked it for.
    fn act_out_of_turn(&mut self, w: usize, dice: u64) {
        let epoch = Epoch(self.fate.random.pick(&[0, u64::MAX]));
        let as_of = self.now;
        let result = Ok(());
        let activity = Activity { served: 0, waiting: 0, last_use: Timestamp::ZERO };
        let event = match dice % 7 {
            0 => Event::Started { epoch, as_of, result: Ok(RunId(7)) },
            1 => Event::Started { epoch, as_of, result: Err(StartFailure::Absent) },
            2 => Event::Rested {
                epoch,
                as_of,
                result: Ok(crate::observation::Condition::Stopped { exit_code: None }),
            },
            3 => Event::Probed { epoch, result },
            4 => Event::GateClosed { epoch, activity },
            5 => Event::LeasesEnded { epoch },
            _ => Event::LogRead(vec!["a line".to_owned()]),
        };
        if let Some(key) = self.workloads[w].key {
            self.feed(fleet::Event::Workload(key, event));
        }
    }

    fn act_on_keeper(&mut self, dice: u64) {
        match dice {
            985..990 => {
                let seed = self.fate.random.draw();
                self.crash_keeper(seed);
            }
            990..993 => {
                let length = self.fate.random.millis(50, 3_000);
                self.stall(length);
            }
            993..997 => self.stall_for_long(),
            _ => {
                let length = self.fate.random.millis(100, 300_000);
                self.jump(length);
            }
        }
    }

    fn awaits_a_gate(&self) -> bool {
        self.workloads.iter().any(|workload| {
            let phase = workload.key.and_then(|key| self.fleet.phase(key));
            match phase {
                Some(Phase::Ready(ready)) => matches!(ready.check, Check::Asked { .. }),
                Some(Phase::Draining(draining)) => matches!(draining.valve, Valve::Closing(_)),
                Some(_) | None => false,
            }
        })
    }

    fn stall_for_long(&mut self) {
        self.timers_last = self.fate.random.chance(500);
        let length = self.fate.random.millis(11_000, 300_000);
        self.stall(length);
    }

    /// It is measured once more, and does nothing.
    fn rest_from_work(&mut self, w: usize) {
        let load = Load { as_of: self.now, cpu_millipercent: 0, net_bytes: Some(0) };
        self.measure(w, load);
    }

    /// The storm is over: every runtime answers, everybody leaves, nobody insists on anything, and
    /// a wake may take the time that a long chain of needs takes.
    pub(super) fn calm(&mut self) {
        self.log.note(self.now, Kind::Truth, format_args!("the storm is over"));
        self.fate.calm();
        for environment in 0..self.environments.len() {
            self.reach(environment);
        }
        for w in 0..self.workloads.len() {
            self.rest_from_work(w);
            self.unpin(w);
            self.hang_up(w, None);
            self.heal(w);
            if self.workloads[w].configured == Configured::Defined {
                let policy = self.workloads[w].policy.as_ref().clone();
                let wake_timeout = PATIENT_WAKE;
                let policy = Policy { wake_timeout, ..policy };
                self.reconfigure(w, Configured::Defined, policy);
            }
        }
    }
}
