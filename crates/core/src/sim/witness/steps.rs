//! What must hold before and after every step: I3 to I8, L1.

use super::ledger::Flying;
use super::snapshot::{Set, Snapshot, bit, needs, phase};
use super::{Asked, Witness};
use crate::fleet::{Event, Fleet};
use crate::id::EnvironmentName;
use crate::lifecycle::{self, DrainCause, Phase, Retry, StartFailure, Valve, WakeStep};
use crate::limits;
use crate::load::Load;
use crate::observation::Condition;
use crate::policy::Until;
use crate::sim::world::Workload;
use crate::time::Timestamp;

/// One step in so many asks the fleet to explain itself; the sentences cost more than the step.
const EXPLAIN_EVERY: u64 = 16;

impl Witness {
    /// Notes how the fleet stands before it is told something.
    pub(in crate::sim) fn before(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        event: &Event,
        now: Timestamp,
    ) {
        self.begin(fleet, workloads, now);
        match event {
            Event::Define { policy, .. } => self.allow(policy),
            Event::Workload(key, event) => {
                let found = workloads.iter().position(|it| it.key == Some(*key));
                if let Some(w) = found
                    && self.hears_of_nothing(fleet, workloads, w, event, now)
                {
                    let phase = phase(fleet, &workloads[w]).cloned();
                    self.stale = phase.map(|phase| (w, phase));
                }
            }
            Event::EnvironmentReached(name) => self.lost &= !inside(workloads, name),
            Event::EnvironmentLost(name) => self.lost |= inside(workloads, name),
            Event::Measured { key, load } => {
                let found = workloads.iter().position(|it| it.key == Some(*key));
                if let Some(w) = found {
                    self.hears_of_load(fleet, workloads, w, *load);
                }
            }
            Event::Misdefine { .. }
            | Event::Forget { .. }
            | Event::Recall { .. }
            | Event::Pin { .. }
            | Event::Unpin { .. } => {}
        }
    }

    /// A reading counts from the moment at which it is ready; the latest one says what it does.
    fn hears_of_load(&mut self, fleet: &Fleet, workloads: &[Workload], w: usize, load: Load) {
        let since = match phase(fleet, &workloads[w]) {
            Some(Phase::Ready(ready)) => ready.since,
            Some(Phase::Draining(draining)) => draining.since,
            Some(_) | None => return,
        };
        let ledger = &mut self.ledgers[w];
        let is_later = ledger.load.is_none_or(|last| last.as_of <= load.as_of);
        if load.as_of >= since && is_later {
            ledger.load = Some(load);
            let policy = fleet.key(&workloads[w].id).and_then(|key| fleet.policy(key));
            if policy.is_some_and(|policy| policy.idle_below.is_busy(load)) {
                ledger.worked_at = load.as_of;
            }
        }
    }

    /// Notes how the fleet stands before its timers.
    pub(in crate::sim) fn begin(&mut self, fleet: &Fleet, workloads: &[Workload], now: Timestamp) {
        self.current = None;
        self.stale = None;
        self.seen = None;
        self.person_asks = false;
        for (workload, ledger) in workloads.iter().zip(&mut self.ledgers) {
            if let Some(phase @ (Phase::Ready(_) | Phase::Draining(_))) = phase(fleet, workload)
                && phase.deadline().is_some_and(|(due, _)| now.since(due) > limits::STALL)
            {
                ledger.slept_until = now;
            }
        }
    }

    /// Judges how the fleet stands when every effect has been executed.
    pub(in crate::sim) fn after(&mut self, fleet: &Fleet, workloads: &[Workload], now: Timestamp) {
        self.steps += 1;
        self.believes(fleet, workloads, now);
        if let Some((w, before)) = self.stale.take()
            && phase(fleet, &workloads[w]) != Some(&before)
        {
            self.blame("I5", now, format_args!("a stale event moved {w} from {before:?}"));
        }
        let after = self.current(fleet, workloads);
        for (w, workload) in workloads.iter().enumerate() {
            match phase(fleet, workload) {
                Some(phase) => {
                    self.ledgers[w].asked &= matches!(phase, Phase::Failed(_));
                    if !matches!(phase, Phase::Ready(_) | Phase::Draining(_)) {
                        self.ledgers[w].load = None;
                        self.ledgers[w].worked_at = Timestamp::ZERO;
                    }
                    self.stands(w, workload, phase, now);
                    self.is_held_rightly(fleet, workloads, w, &after, now);
                    self.is_wanted_rightly(w, phase, &after, now);
                    self.waits_for_a_job_that_runs(fleet, workloads, w, now);
                }
                None => self.ledgers[w] = super::Ledger::default(),
            }
            if self.before.stood.get(w).is_some_and(|it| it.held_by != 0)
                && after.stood[w].held_by == 0
            {
                self.ledgers[w].released_at = now;
            }
        }
        self.before = after;
        self.keeps_time(fleet, workloads, now);
        if self.steps.is_multiple_of(EXPLAIN_EVERY) {
            self.explains(fleet, workloads, now);
        }
    }

    /// A look that nothing has overtaken is believed at once.
    fn believes(&mut self, fleet: &Fleet, workloads: &[Workload], now: Timestamp) {
        let Some((w, condition)) = self.seen.take() else {
            return;
        };
        if let Some(Phase::Ready(ready)) = phase(fleet, &workloads[w])
            && !matches!(condition, Condition::Running { run, .. } if run == ready.run)
        {
            self.blame("I5", now, format_args!("{w} is {ready:?} although {condition:?} was seen"));
        }
    }

    /// How the fleet stands when the event that is being handled is over.
    pub(super) fn current(&mut self, fleet: &Fleet, workloads: &[Workload]) -> Snapshot {
        let before = &self.before;
        let current = self.current.get_or_insert_with(|| Snapshot::take(before, fleet, workloads));
        current.clone()
    }

    /// I5: whether this is an answer that nobody waits for, or a look that has been overtaken.
    fn hears_of_nothing(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        w: usize,
        event: &lifecycle::Event,
        now: Timestamp,
    ) -> bool {
        let ledger = &mut self.ledgers[w];
        match event {
            lifecycle::Event::Started { epoch, .. } | lifecycle::Event::Rested { epoch, .. } => {
                let rests = matches!(event, lifecycle::Event::Rested { .. });
                let epoch = *epoch;
                if ledger.flying != Some(Flying { epoch, rests }) {
                    return true;
                }
                ledger.flying = None;
                if let lifecycle::Event::Started { as_of, result: Ok(_), .. }
                | lifecycle::Event::Rested { as_of, result: Ok(_), .. } = event
                {
                    ledger.fresh_after = ledger.fresh_after.max(*as_of);
                }
                if let lifecycle::Event::Started {
                    as_of,
                    result: Err(StartFailure::Ended { exit_code }),
                    ..
                } = event
                {
                    ledger.see(Condition::Stopped { exit_code: *exit_code }, *as_of);
                }
                if let lifecycle::Event::Rested { as_of, result: Ok(condition), .. } = event {
                    ledger.see(*condition, *as_of);
                }
                if let lifecycle::Event::Started { as_of, result: Ok(run), .. } = event {
                    ledger.see_run(*run, *as_of);
                }
                false
            }
            lifecycle::Event::Probed { epoch, .. } => {
                let stale = ledger.probing != Some(*epoch);
                if !stale {
                    ledger.probing = None;
                }
                stale
            }
            lifecycle::Event::GateClosed { epoch, activity } => {
                if ledger.closing != Some(*epoch) {
                    return true;
                }
                ledger.closing = None;
                if activity.served > 0 {
                    ledger.draining = Some(*epoch);
                    let policy = phase_policy(fleet, &workloads[w]);
                    ledger.cut_off_at = policy.map(|policy| now + policy.drain_timeout);
                }
                false
            }
            lifecycle::Event::LeasesEnded { epoch } => ledger.draining != Some(*epoch),
            lifecycle::Event::ActivityRead { epoch, .. } => ledger.reading != Some(*epoch),
            lifecycle::Event::Observed(observation) => {
                let overtaken = observation.as_of < ledger.fresh_after;
                if !overtaken {
                    ledger.see(observation.condition, observation.as_of);
                    self.seen = Some((w, observation.condition));
                }
                overtaken
            }
            lifecycle::Event::SleepAsked(_) | lifecycle::Event::SleepForced(_) => {
                self.person_asks = true;
                ledger.asked = true;
                false
            }
            lifecycle::Event::Wanted(_)
            | lifecycle::Event::EnvironmentLost
            | lifecycle::Event::EnvironmentReached
            | lifecycle::Event::NeighboursChanged
            | lifecycle::Event::PolicyChanged
            | lifecycle::Event::DeadlineReached
            | lifecycle::Event::LogRead(_) => false,
        }
    }

    /// I4, I6, I8 and the bounds of L1, for one workload.
    fn stands(&mut self, w: usize, workload: &Workload, phase: &Phase, now: Timestamp) {
        let ledger = &self.ledgers[w];
        let awaited = ledger.flying.map(|it| it.epoch).or(ledger.probing);
        let rests = ledger.flying.is_some_and(|flying| flying.rests);
        let told = ledger.story.is_some();
        if phase.in_flight() != awaited {
            let waits = phase.in_flight();
            self.blame("I4", now, format_args!("{w} waits for {waits:?}, open is {awaited:?}"));
        }
        let open = workload.gate.is_open();
        if open != may_be_open(phase, open) || (open && rests) {
            self.blame("I6", now, format_args!("the gate of {w} is open: {open} in {phase:?}"));
        }
        if told != matches!(phase, Phase::Waking(_)) {
            self.blame("I8", now, format_args!("a story of {w} is told: {told} in {phase:?}"));
        }
        if let Phase::Waking(waking) = phase
            && waking.since + self.wake_max + self.excused < now
        {
            self.blame("L1", now, format_args!("{w} still wakes: {waking:?}"));
        }
        self.waits_for_something(w, workload, phase, now);
    }

    /// L1: whoever waits is waited for by somebody, and not for ever.
    fn waits_for_something(
        &mut self,
        w: usize,
        workload: &Workload,
        phase: &Phase,
        now: Timestamp,
    ) {
        let Some(first) = workload.gate.waiting.first() else {
            return;
        };
        if first.since + self.wait_max + self.excused < now {
            self.blame("L1", now, format_args!("{first:?} still waits for {w}"));
        }
        let expected = match phase {
            Phase::Waking(_) => true,
            Phase::Draining(draining) => {
                matches!(draining.cause, DrainCause::Forced { then: Some(_), .. })
            }
            Phase::Settling(settling) => settling.then.is_some(),
            Phase::Unknown(_)
            | Phase::Asleep(_)
            | Phase::Ready(_)
            | Phase::Failed(_)
            | Phase::Misconfigured(_)
            | Phase::Gone(_) => false,
        };
        if !expected && workload.wants_on_the_way == 0 {
            self.blame("L1", now, format_args!("{first:?} is forgotten by {w} in {phase:?}"));
        }
    }

    /// I3: exactly those who are awake hold their needs.
    fn is_held_rightly(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        w: usize,
        after: &Snapshot,
        now: Timestamp,
    ) {
        let Some(key) = fleet.key(&workloads[w].id) else {
            return;
        };
        let mut holders = 0;
        for holder in fleet.dependents(key) {
            let found =
                fleet.id(holder).and_then(|id| workloads.iter().position(|it| it.id == *id));
            match found {
                Some(position) => holders |= bit(position),
                None => self.blame("I3", now, format_args!("{w} is held by nobody known")),
            }
        }
        let (must, may) = (after.stood[w].held_by, after.stood[w].may_hold);
        if holders & must != must || holders & !(must | may) != 0 {
            self.blame(
                "I3",
                now,
                format_args!("{w} is held by {holders:b}; must {must:b}, may {may:b}"),
            );
        }
    }

    /// L1: what is wanted is not left asleep.
    fn is_wanted_rightly(&mut self, w: usize, phase: &Phase, after: &Snapshot, now: Timestamp) {
        let wanted = after.stood[w].held_by != 0 || after.pinned & bit(w) != 0;
        let left = match phase {
            Phase::Asleep(_) => !after.stood[w].completes,
            Phase::Failed(failed) => failed.retry == Retry::Open,
            Phase::Unknown(_)
            | Phase::Waking(_)
            | Phase::Ready(_)
            | Phase::Draining(_)
            | Phase::Settling(_)
            | Phase::Misconfigured(_)
            | Phase::Gone(_) => false,
        };
        if wanted && left {
            self.blame("L1", now, format_args!("{w} is wanted, and left in {phase:?}"));
        }
    }

    /// L1: nobody waits for the end of a job that nobody starts.
    fn waits_for_a_job_that_runs(
        &mut self,
        fleet: &Fleet,
        workloads: &[Workload],
        w: usize,
        now: Timestamp,
    ) {
        let Some(Phase::Waking(waking)) = phase(fleet, &workloads[w]) else {
            return;
        };
        let WakeStep::Needs { waiting } = &waking.step else {
            return;
        };
        let needs = needs(fleet, &workloads[w]);
        for need in waiting.iter().filter_map(|&position| needs.get(position)) {
            let asleep = fleet.key(&need.on).and_then(|key| fleet.phase(key));
            if need.until == Until::Completed && matches!(asleep, Some(Phase::Asleep(_))) {
                self.blame("L1", now, format_args!("{w} waits for {} in vain", need.on));
            }
        }
    }

    /// No deadline is lost, and no ticket.
    fn keeps_time(&mut self, fleet: &Fleet, workloads: &[Workload], now: Timestamp) {
        let next = fleet.poll_timeout().map(|(at, _)| at);
        for (w, workload) in workloads.iter().enumerate() {
            let due = phase(fleet, workload).and_then(Phase::deadline);
            if let Some((at, why)) = due
                && next.is_none_or(|next| next > at)
            {
                self.blame("L1", now, format_args!("{w} waits for {why:?} at {at}, unarmed"));
            }
        }
        let late = |asked: &Asked| match *asked {
            Asked::Since(since) => since + self.wait_max + self.excused < now,
            Asked::Answered => false,
        };
        if let Some((&ticket, _)) = self.tickets.iter().find(|(_, asked)| late(asked)) {
            self.blame("L1", now, format_args!("{ticket:?} was never answered"));
        }
        self.tickets.retain(|_, asked| matches!(asked, Asked::Since(_)));
    }

    fn explains(&mut self, fleet: &Fleet, workloads: &[Workload], now: Timestamp) {
        for (w, workload) in workloads.iter().enumerate() {
            let Some(key) = fleet.key(&workload.id) else {
                continue;
            };
            let explained = fleet.explain(key, Some(workload.gate.activity()), now);
            let phase = fleet.phase(key).map(Phase::name);
            if explained.as_ref().map(|it| it.phase) != phase {
                self.blame("L1", now, format_args!("{w} explains {explained:?} in {phase:?}"));
            }
        }
    }
}

/// Whether the gate is as the phase demands; while it closes, either is right.
fn may_be_open(phase: &Phase, open: bool) -> bool {
    match phase {
        Phase::Ready(_) => true,
        Phase::Draining(draining) => match draining.valve {
            Valve::Closing(_) => open,
            Valve::Closed(_) => false,
        },
        Phase::Unknown(_)
        | Phase::Asleep(_)
        | Phase::Waking(_)
        | Phase::Settling(_)
        | Phase::Failed(_)
        | Phase::Misconfigured(_)
        | Phase::Gone(_) => false,
    }
}

fn inside(workloads: &[Workload], environment: &EnvironmentName) -> Set {
    let hit = |(_, it): &(usize, &Workload)| it.id.environment() == environment.as_str();
    workloads.iter().enumerate().filter(hit).fold(0, |set, (w, _)| set | bit(w))
}

fn phase_policy<'a>(
    fleet: &'a Fleet,
    workload: &Workload,
) -> Option<&'a std::sync::Arc<crate::policy::Policy>> {
    fleet.key(&workload.id).and_then(|key| fleet.policy(key))
}
