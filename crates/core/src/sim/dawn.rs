//! After the storm: what nobody wants falls asleep (L2); then everything wakes once more (L1).

use std::time::Duration;

use super::body::Body;
use super::chance::Chance;
use super::fleets::IDLE_MAX;
use super::log::Kind;
use super::visitors::Manner;
use super::witness::Set;
use super::world::{Beat, Configured, World};
use crate::lifecycle::Phase;
use crate::policy::Until;

/// A fleet that is left alone this long is asleep: a chain of twelve sleeps one after the other,
/// each after its last failure's backoff, its wake, its idle period and its rest.
const CALM_MAX: Duration = Duration::from_secs(12 * (IDLE_MAX.as_secs() + 60 + 70 + 30));
/// A fleet that works is awake after this long.
const DAWN_MAX: Duration = Duration::from_secs(900);
/// The longest that a wake from the storm may last.
const WAKE_MAX: Duration = Duration::from_secs(62);
/// How long one look at a quiet fleet lasts.
const GLANCE: Duration = Duration::from_secs(10);

impl World<Chance> {
    /// Calms everything down, judges, wakes everything up, judges again.
    pub(super) fn see_through_to_dawn(&mut self, each: &mut dyn FnMut(&mut Self)) {
        self.calm();
        let mut seen = 0;
        let end = self.now + CALM_MAX;
        // Two glances in a row: what is on its way meanwhile must have arrived.
        while seen < 2 && self.now < end && self.witness.violations().is_empty() {
            self.glance(each);
            seen = if self.who_is_up() == 0 { seen + 1 } else { 0 };
        }
        let up = self.who_is_up();
        if up != 0 {
            let now = self.now;
            self.witness.blame("L2", now, format_args!("{up:b} never fell asleep"));
        }
        if self.witness.violations().is_empty() {
            self.wake_everything(each);
        }
    }

    fn wake_everything(&mut self, each: &mut dyn FnMut(&mut Self)) {
        // A keeper that still stands still would come to at dawn, long after every deadline.
        self.pass(self.stalled_until.since(self.now), each);
        // What began in the storm ends, and whoever is turned away for a while may come back.
        self.pass(WAKE_MAX, each);
        let again_at = self.workloads.iter().filter_map(|it| it.gate.opens_again_at());
        let again_at = again_at.max().unwrap_or(self.now);
        self.pass(again_at.since(self.now), each);
        self.log.note(self.now, Kind::Truth, format_args!("everybody comes back"));
        let (_, denied) = self.witness.visitors();
        let hopeful: Vec<usize> =
            (0..self.workloads.len()).filter(|&w| self.can_wake(w) && !self.is_job(w)).collect();
        let manner = Manner { stay: Duration::from_secs(1), patience: None };
        for &w in &hopeful {
            self.visit(w, manner);
        }
        let end = self.now + DAWN_MAX;
        let waits = |world: &Self| world.workloads.iter().any(|it| !it.gate.waiting.is_empty());
        while waits(self) && self.now < end && self.witness.violations().is_empty() {
            self.glance(each);
        }
        let now = self.now;
        if waits(self) {
            self.witness.blame("L1", now, format_args!("somebody still waits at dawn"));
        }
        if self.witness.visitors().1 != denied {
            self.witness.blame("L1", now, format_args!("somebody is turned away at dawn"));
        }
    }

    fn glance(&mut self, each: &mut dyn FnMut(&mut Self)) {
        self.pass(GLANCE, each);
    }

    fn pass(&mut self, time: Duration, each: &mut dyn FnMut(&mut Self)) {
        let until = self.now + time;
        loop {
            match self.beat(until) {
                Beat::Quiet => break,
                Beat::Done | Beat::Acts => {}
            }
            if !self.witness.violations().is_empty() {
                break;
            }
        }
        each(self);
    }

    /// Who is awake without a reason.
    fn who_is_up(&self) -> Set {
        let excused = self.excused();
        (0..self.workloads.len())
            .filter(|&w| excused & (1 << w) == 0 && !self.rests(w))
            .fold(0, |up, w| up | 1 << w)
    }

    /// Those whose idleness never comes, and whatever they need: they hold it, or will as often as
    /// they are tried again.
    fn excused(&self) -> Set {
        let mut excused: Set = 0;
        for w in (0..self.workloads.len()).rev() {
            let needed = self.workloads.iter().enumerate().any(|(other, it)| {
                excused & (1 << other) != 0
                    && it.policy.needs.iter().any(|need| need.on == self.workloads[w].id)
            });
            let never = self.workloads[w].policy.idle_timeout.is_none() && !self.rests(w);
            if never || needed {
                excused |= 1 << w;
            }
        }
        excused
    }

    fn rests(&self, w: usize) -> bool {
        let workload = &self.workloads[w];
        let phase = workload.key.and_then(|key| self.fleet.phase(key));
        match phase {
            None | Some(Phase::Misconfigured(_)) => true,
            Some(Phase::Asleep(_)) => !workload.body.executes(),
            Some(Phase::Gone(_)) => workload.body == Body::Absent,
            Some(
                Phase::Unknown(_)
                | Phase::Waking(_)
                | Phase::Ready(_)
                | Phase::Draining(_)
                | Phase::Settling(_)
                | Phase::Failed(_),
            ) => false,
        }
    }

    fn can_wake(&self, w: usize) -> bool {
        let workload = &self.workloads[w];
        let needs = &workload.policy.needs;
        workload.configured == Configured::Defined
            && workload.body != Body::Absent
            && needs.iter().all(|need| {
                let on = self.workloads.iter().position(|it| it.id == need.on);
                // A job that is needed until it is ready or started may be over before.
                on.is_some_and(|on| {
                    self.can_wake(on) && (need.until == Until::Completed || !self.is_job(on))
                })
            })
    }

    /// Whether it runs to its end, or is expected to.
    fn is_job(&self, w: usize) -> bool {
        let id = &self.workloads[w].id;
        self.fate.jobs & (1 << w) != 0
            || self.workloads.iter().any(|it| {
                let needs = &it.policy.needs;
                it.configured != Configured::Absent
                    && needs.iter().any(|need| need.on == *id && need.until == Until::Completed)
            })
    }
}
