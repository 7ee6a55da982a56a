//! What may be asked of the outside at all: I1, I2, I3, I4, I8, I9.

use super::ledger::Flying;
use super::snapshot::{bit, phase};
use super::{Asked, Witness};
use crate::fleet::{Effect, Fleet};
use crate::id::Epoch;
use crate::lifecycle::{self, DrainCause, Phase, Ticket};
use crate::limits;
use crate::policy::{Adopt, Until};
use crate::progress::StepKind;
use crate::sim::gate::Lease;
use crate::sim::world::Workload;
use crate::time::Timestamp;
use std::time::Duration;

impl Witness {
    /// Judges one effect, before it is executed.
    pub(in crate::sim) fn effect(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        w: usize,
        effect: &Effect,
        now: Timestamp,
    ) {
        if let Some((stale, _)) = self.stale {
            self.blame("I5", now, format_args!("a stale event of {stale} led to {effect:?}"));
        }
        match effect {
            Effect::Act(_, effect) => self.act(fleet, workloads, w, effect, now),
            // A forced sleep overrules the pin; otherwise its end is a use like any other.
            Effect::PinEnded(_) if self.person_asks => {}
            Effect::PinEnded(_) => self.ledgers[w].released_at = now,
            Effect::Moved { to, .. } => {
                let ledger = &mut self.ledgers[w];
                match *to {
                    "ready" => ledger.ready_since = now,
                    "asleep" | "gone" => ledger.rest_failed = None,
                    _ => {}
                }
            }
        }
    }

    fn act(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        w: usize,
        effect: &lifecycle::Effect,
        now: Timestamp,
    ) {
        let ledger = &mut self.ledgers[w];
        match effect {
            lifecycle::Effect::Start { epoch, .. } => {
                self.take_off(w, *epoch, false, now);
                self.may_start(fleet, workloads, w, now);
            }
            lifecycle::Effect::Rest { epoch, .. } => {
                self.take_off(w, *epoch, true, now);
                self.may_rest(fleet, workloads, w, now);
            }
            lifecycle::Effect::Probe { epoch, .. } => {
                if let Some(other) = ledger.probing.replace(*epoch) {
                    self.blame("I4", now, format_args!("{w} is probed while {other} is open"));
                }
            }
            lifecycle::Effect::Abandon { epoch } => ledger.abandon(*epoch),
            lifecycle::Effect::CloseGate { epoch } => {
                ledger.forget_gate();
                ledger.closing = Some(*epoch);
            }
            lifecycle::Effect::ReadActivity { epoch } => ledger.reading = Some(*epoch),
            lifecycle::Effect::ShutGate | lifecycle::Effect::OpenGate => ledger.forget_gate(),
            lifecycle::Effect::CountRestFailure(_) => {
                ledger.rest_failed = ledger.heard_run;
            }
            lifecycle::Effect::Tell(step) => self.tell(w, step.kind, now),
            lifecycle::Effect::Answer(ticket, _) => self.answered(*ticket, now),
            lifecycle::Effect::Observe
            | lifecycle::Effect::Deny { .. }
            | lifecycle::Effect::CountFailure { .. }
            | lifecycle::Effect::ForgetRestFailures
            | lifecycle::Effect::Calm
            | lifecycle::Effect::Completed
            | lifecycle::Effect::DropPin => {}
        }
    }

    /// I4: at most one start or rest in flight.
    fn take_off(&mut self, w: usize, epoch: Epoch, rests: bool, now: Timestamp) {
        let flying = Flying { epoch, rests };
        if let Some(other) = self.ledgers[w].flying.replace(flying) {
            self.blame("I4", now, format_args!("{w}: {flying:?} while {other:?}"));
        }
    }

    /// I2: every need has come far enough.
    fn may_start(&mut self, fleet: &Fleet, workloads: &[Workload], w: usize, now: Timestamp) {
        let workload = &workloads[w];
        let Some(policy) = fleet.key(&workload.id).and_then(|key| fleet.policy(key)) else {
            return;
        };
        let since = match phase(fleet, workload) {
            Some(Phase::Waking(waking)) => waking.since,
            Some(_) | None => now,
        };
        let after = self.current(fleet, workloads);
        for need in &policy.needs {
            let on = workloads.iter().position(|other| other.id == need.on);
            let met = on.is_some_and(|on| match need.until {
                Until::Started => (self.before.started | after.started) & bit(on) != 0,
                Until::Ready => (self.before.ready | after.ready) & bit(on) != 0,
                Until::Completed => self.ledgers[on]
                    .completed_as_of
                    .is_some_and(|at| at >= since && workloads[on].has_completed),
            });
            if !met {
                self.blame("I2", now, format_args!("{w} starts before {need:?}"));
            }
        }
    }

    /// I1, I3 and I9, and what idle means.
    fn may_rest(&mut self, fleet: &Fleet, workloads: &[Workload], w: usize, now: Timestamp) {
        let workload = &workloads[w];
        let after = self.current(fleet, workloads);
        let held = self.before.stood[w].held_by & after.stood[w].held_by;
        if held != 0 {
            self.blame("I3", now, format_args!("{w} is rested, and {held:b} holds it"));
        }
        if self.before.pinned & after.pinned & bit(w) != 0 {
            self.blame("I3", now, format_args!("{w} is rested, and a pin holds it"));
        }
        if self.lost & bit(w) != 0 {
            self.blame("I9", now, format_args!("{w} is rested out of ignorance"));
        }
        let alive = |lease: &&Lease| Some(lease.run) == workload.body.run();
        let served = workload.gate.served.iter().filter(alive).count();
        let cut_off = self.ledgers[w].cut_off_at.is_some_and(|at| at <= now);
        if served > 0 && !cut_off {
            self.blame("I1", now, format_args!("{w} is rested under {served} leases"));
        }
        let cause = self.before.stood[w].draining.as_ref().map(|it| it.cause);
        match cause {
            Some(DrainCause::Idle) => self.is_idle(fleet, workload, w, now),
            Some(DrainCause::Asked(_) | DrainCause::Forced { .. }) => {}
            Some(DrainCause::Adopted) if workload.policy.adopt == Adopt::Rest => {}
            Some(DrainCause::Adopted) | None => self.had_its_period(fleet, workload, w, now),
        }
    }

    /// Idle is no lease for a whole idle period, on every clock that counts.
    fn is_idle(&mut self, fleet: &Fleet, workload: &Workload, w: usize, now: Timestamp) {
        let Some(idle) = idle_timeout(fleet, workload) else {
            self.blame("I9", now, format_args!("{w} is idle, and its policy says never"));
            return;
        };
        let key = fleet.key(&workload.id);
        let below =
            key.and_then(|key| fleet.policy(key)).map(|it| it.idle_below).unwrap_or_default();
        let ledger = &self.ledgers[w];
        let load = ledger.load.filter(|load| below.is_busy(*load));
        let worked = if below.is_off() { Timestamp::ZERO } else { ledger.worked_at };
        let again = ledger.rest_failed.is_some() && ledger.heard_run == ledger.rest_failed;
        // A rest that failed is tried again soon.
        let (since, slept) = if again {
            (Timestamp::ZERO, Timestamp::ZERO)
        } else {
            (ledger.ready_since, ledger.slept_until)
        };
        let (used, released) = (workload.gate.activity().last_use, ledger.released_at);
        for (what, at) in [
            ("used", used),
            ("released", released),
            ("ready", since),
            ("not asleep itself", slept),
            ("at work", worked),
        ] {
            if at + idle > now {
                self.blame("I9", now, format_args!("{w} rests as idle, {what} at {at}"));
            }
        }
        if let Some(load) = load {
            self.blame("I11", now, format_args!("{w} rests as idle, and is at work: {load}"));
        }
        if !again {
            self.had_its_period(fleet, workload, w, now);
        }
    }

    /// I9: what we did not start gets a full idle period, unless a person says otherwise.
    fn had_its_period(&mut self, fleet: &Fleet, workload: &Workload, w: usize, now: Timestamp) {
        let ledger = &self.ledgers[w];
        let known = workload.body.executes() && workload.body.run() == ledger.heard_run;
        let Some(found_at) = workload.found_at.filter(|_| known) else {
            return;
        };
        let asked = self.person_asks || ledger.asked;
        let due = idle_timeout(fleet, workload).map(|idle| found_at + idle);
        if due.is_none_or(|due| due > now) && !asked {
            self.blame("I9", now, format_args!("{w} was found at {found_at} and is rested"));
        }
    }

    /// I8: a story begins with a wake, ends in ready or failed, and is bounded.
    fn tell(&mut self, w: usize, kind: StepKind, now: Timestamp) {
        let told = self.ledgers[w].story.map_or(0, |told| told + 1);
        let begins = matches!(kind, StepKind::Starting | StepKind::Started);
        if told == 0 && !begins {
            self.blame("I8", now, format_args!("the story of {w} begins with {kind:?}"));
        }
        if told >= limits::STORY_STEPS_MAX {
            self.blame("I8", now, format_args!("the story of {w} has {told} lines"));
        }
        self.ledgers[w].story = (!kind.ends()).then_some(told);
    }

    fn answered(&mut self, ticket: Ticket, now: Timestamp) {
        match self.tickets.insert(ticket, Asked::Answered) {
            Some(Asked::Since(_)) => {}
            Some(Asked::Answered) | None => {
                self.blame("L1", now, format_args!("{ticket:?} is answered twice or unasked"));
            }
        }
    }
}

fn idle_timeout(fleet: &Fleet, workload: &Workload) -> Option<Duration> {
    let key = fleet.key(&workload.id)?;
    fleet.policy(key)?.idle_timeout
}
