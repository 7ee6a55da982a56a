//! Ready: the gate is open, and idleness is looked at when its deadline comes.
//!
//! A request touches no timer: the deadline is armed lazily. When it comes, the gate says when it
//! was last used; only if that was a whole idle period ago is the gate shut and asked again.

use std::time::Duration;

use super::{
    Activity, Check, DrainCause, Effect, Effects, Event, Facts, Phase, Pinned, Reach, Ready,
    Remains, SleepAnswer, WakeCause, asleep, draining, failed, gone, waking,
};
use crate::limits;
use crate::observation::{Condition, RunId};
use crate::progress::{Step, StepKind};
use crate::time::Timestamp;

/// Exit codes of a workload that ended because it was done or was asked to: 0, and 128 + SIGTERM.
const ORDERLY_EXITS: [i32; 2] = [0, 143];

pub(super) fn step(
    phase: Ready,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::DeadlineReached => deadline_reached(phase, facts, now, effects),
        Event::ActivityRead { epoch, activity } => match phase.check {
            Check::Asked { epoch: asked, .. } if asked == epoch => {
                judge(phase, activity, facts, now, effects)
            }
            Check::Asked { .. } | Check::At(_) | Check::PutOff(_) | Check::Never => {
                Phase::Ready(phase)
            }
        },
        Event::EnvironmentReached => match phase.check {
            Check::PutOff(_) => deadline_reached(phase, facts, now, effects),
            Check::Asked { .. } | Check::At(_) | Check::Never => Phase::Ready(phase),
        },
        Event::Observed(observation) => observed(phase, observation.condition, facts, now, effects),
        Event::SleepAsked(ticket) => match refusal(facts) {
            Some(why) => refuse(phase, Effect::Answer(ticket, SleepAnswer::Refused(why)), effects),
            None => draining::begin(phase.run, DrainCause::Asked(ticket), facts, now, effects),
        },
        Event::SleepForced(ticket) => match forced_refusal(facts) {
            Some(why) => refuse(phase, Effect::Answer(ticket, SleepAnswer::Refused(why)), effects),
            None => {
                effects.push(Effect::DropPin);
                let cause = DrainCause::Forced { ticket, then: None };
                draining::begin(phase.run, cause, facts, now, effects)
            }
        },
        Event::PolicyChanged => {
            let check = check_at(facts.idle_due(now));
            Phase::Ready(Ready { check, ..phase })
        }
        Event::Wanted(_)
        | Event::NeighboursChanged
        | Event::EnvironmentLost
        | Event::GateClosed { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Ready(phase),
    }
}

/// The probe has succeeded: open the gate and grant a full idle period.
pub(super) fn enter(run: RunId, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    effects.push(Effect::Tell(Step {
        kind: StepKind::Ready,
        message: "ready".to_owned(),
        dependency: None,
    }));
    open(run, facts, now, effects)
}

/// Opens the gate to a workload that never stopped being ready.
pub(super) fn open(run: RunId, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    effects.push(Effect::OpenGate);
    let mut phase = Ready { since: now, run, check: Check::Never, unused: facts.recalled };
    let due = |idle| match facts.rest_failures {
        0 => phase.unused_until(idle),
        // A rest that failed is tried again with backoff, not a whole idle period later.
        failures => now + facts.retry_delay(failures),
    };
    phase.check = check_at(facts.policy.idle_timeout.map(due));
    Phase::Ready(phase)
}

impl Ready {
    /// When it is idle, if its last use was at `last_use`; zero where there was none since its
    /// keeper began.
    pub(crate) fn idle_at(&self, idle: Duration, last_use: Timestamp) -> Timestamp {
        if last_use == Timestamp::ZERO && !self.unused.is_zero() {
            return self.unused_until(idle);
        }
        last_use + idle
    }

    /// When it is idle, if nobody ever uses it.
    fn unused_until(&self, idle: Duration) -> Timestamp {
        let floor = idle.min(limits::RECALLED_IDLE_MIN);
        self.since + idle.saturating_sub(self.unused).max(floor)
    }
}

fn check_at(due: Option<Timestamp>) -> Check {
    due.map_or(Check::Never, Check::At)
}

fn deadline_reached(
    phase: Ready,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if slept_through(&phase, now) {
        return Phase::Ready(Ready { check: check_at(facts.idle_due(now)), ..phase });
    }
    let check = ask(facts, now, effects);
    Phase::Ready(Ready { check, ..phase })
}

/// We slept through the deadline ourselves: what was used meanwhile is not known.
fn slept_through(phase: &Ready, now: Timestamp) -> bool {
    phase.check.deadline().is_some_and(|(due, _)| now.since(due) > limits::STALL)
}

/// Asks the gate who uses it.
pub(super) fn ask(facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Check {
    let epoch = facts.epoch;
    effects.push(Effect::ReadActivity { epoch });
    Check::Asked { epoch, again_at: now + limits::ANSWER_MARGIN }
}

fn judge(
    phase: Ready,
    activity: Activity,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if slept_through(&phase, now) {
        return Phase::Ready(Ready { check: check_at(facts.idle_due(now)), ..phase });
    }
    let Some(idle) = facts.policy.idle_timeout else {
        return Phase::Ready(Ready { check: Check::Never, ..phase });
    };
    if activity.open() > 0 || facts.wanted() {
        return Phase::Ready(Ready { check: Check::At(now + idle), ..phase });
    }
    let last_work = facts.load.last_use(facts.policy.idle_below);
    let last_use = activity.last_use.max(facts.released_at).max(last_work);
    let due = phase.idle_at(idle, last_use);
    if due > now {
        return Phase::Ready(Ready { check: Check::At(due), ..phase });
    }
    // What was busy when it was last measured is busy until something else is measured.
    if facts.is_busy() {
        let check = Check::At(now + limits::RESYNC_EVERY);
        return Phase::Ready(Ready { check, ..phase });
    }
    if facts.environment == Reach::Unreachable {
        let check = Check::PutOff(now + limits::RESYNC_EVERY);
        return Phase::Ready(Ready { check, ..phase });
    }
    draining::begin(phase.run, DrainCause::Idle, facts, now, effects)
}

fn observed(
    phase: Ready,
    condition: Condition,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match condition {
        Condition::Running { run, .. } if run == phase.run => Phase::Ready(phase),
        Condition::Running { run, .. } => {
            effects.push(Effect::ShutGate);
            waking::adopt(run, WakeCause::StartedByHand, facts, now, effects)
        }
        Condition::Paused { .. } => {
            effects.push(Effect::ShutGate);
            asleep::enter(facts, now, effects)
        }
        Condition::Stopped { exit_code } | Condition::Restarting { exit_code } => {
            effects.push(Effect::ShutGate);
            ended(&phase, exit_code, facts, now, effects)
        }
        Condition::Absent => {
            effects.push(Effect::ShutGate);
            gone::enter(now, effects)
        }
    }
}

fn ended(
    phase: &Ready,
    exit_code: Option<i32>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if exit_code.is_some_and(|code| ORDERLY_EXITS.contains(&code)) && !facts.wanted() {
        return asleep::enter(facts, now, effects);
    }
    let earlier = if now.since(phase.since) >= limits::CALM { 0 } else { facts.failures };
    if earlier == 0 {
        effects.push(Effect::Calm);
    }
    let failure = waking::crash(exit_code);
    if earlier + 1 >= limits::START_ATTEMPTS_MAX {
        let retry_at = now + facts.retry_delay(earlier + 1);
        return failed::enter(failure, retry_at, Remains::Nothing, facts, now, effects);
    }
    // The first crash may be made good at once; only a repeated one has to wait.
    let not_before = now + facts.retry_delay(earlier);
    effects.push(Effect::CountFailure { not_before });
    if facts.wanted() {
        waking::recover(failure, not_before, facts, now, effects)
    } else {
        asleep::enter(facts, now, effects)
    }
}

fn refuse(phase: Ready, answer: Effect, effects: &mut Effects) -> Phase {
    effects.push(answer);
    Phase::Ready(phase)
}

/// Why nobody may put it to sleep now by asking.
pub(super) fn refusal(facts: &Facts<'_>) -> Option<String> {
    forced_refusal(facts)
        .or_else(|| (facts.pin == Pinned::Yes).then(|| "a pin keeps it awake".to_owned()))
}

/// Why nobody may put it to sleep now at all.
pub(super) fn forced_refusal(facts: &Facts<'_>) -> Option<String> {
    if facts.dependents > 0 {
        return Some(needed_by(facts.dependents));
    }
    // It would lose its gate, and keep running.
    (facts.environment == Reach::Unreachable).then(|| "its environment does not answer".to_owned())
}

fn needed_by(dependents: usize) -> String {
    match dependents {
        1 => "a workload that is awake needs it".to_owned(),
        n => format!("{n} workloads that are awake need it"),
    }
}
