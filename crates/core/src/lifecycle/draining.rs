//! Draining: the gate is shut first; only then is what is still open counted.
//!
//! The reverse order is the classic race: a request that is admitted between the count and the
//! rest is lost.

use super::{
    Activity, DrainCause, Draining, Effect, Effects, Event, Facts, Phase, SleepAnswer, Ticket,
    Valve, WakeCause, asleep, gone, ready, settling, waking,
};
use crate::id::Epoch;
use crate::limits;
use crate::observation::{Condition, RunId};
use crate::time::Timestamp;

/// Why a sleep that was asked for is refused when somebody comes after all.
const IN_USE: &str = "it is in use";

pub(super) fn step(
    phase: Draining,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::GateClosed { epoch, activity } => match phase.valve {
            Valve::Closing(asked) if asked == epoch => {
                closed(phase, epoch, activity, facts, now, effects)
            }
            Valve::Closing(_) | Valve::Closed(_) => Phase::Draining(phase),
        },
        Event::LeasesEnded { epoch } => match phase.valve {
            Valve::Closed(asked) if asked == epoch => settle(&phase, facts, now, effects),
            Valve::Closing(_) | Valve::Closed(_) => Phase::Draining(phase),
        },
        Event::DeadlineReached => deadline_reached(phase, facts, now, effects),
        Event::Wanted(cause) => wanted(phase, cause, facts, now, effects),
        Event::EnvironmentLost => {
            let why = "its environment stopped answering";
            reopen(&phase, why, facts, now, effects)
        }
        Event::Observed(observation) => observed(phase, observation.condition, facts, now, effects),
        Event::SleepAsked(ticket) => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            Phase::Draining(phase)
        }
        Event::SleepForced(ticket) => forced(phase, ticket, facts, now, effects),
        // What is idle, and whether what was found running is to rest, may mean something else now.
        Event::PolicyChanged => match phase.cause {
            DrainCause::Idle | DrainCause::Adopted => {
                reopen(&phase, "its policy changed", facts, now, effects)
            }
            DrainCause::Asked(_) | DrainCause::Forced { .. } => Phase::Draining(phase),
        },
        Event::NeighboursChanged
        | Event::EnvironmentReached
        | Event::ActivityRead { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Draining(phase),
    }
}

/// Shuts the gate of a ready workload.
pub(super) fn begin(
    run: RunId,
    cause: DrainCause,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let epoch = facts.epoch;
    effects.push(Effect::CloseGate { epoch });
    let valve = Valve::Closing(epoch);
    let give_up_at = now + limits::GATE_CLOSE_MAX;
    Phase::Draining(Draining { since: now, cause, valve, give_up_at, run })
}

/// Rests what was found running, because its policy says so; its gate was never open.
pub(super) fn begin_adopted(
    run: RunId,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    begin(run, DrainCause::Adopted, facts, now, effects)
}

fn closed(
    phase: Draining,
    epoch: Epoch,
    activity: Activity,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if let DrainCause::Forced { .. } = phase.cause {
        if activity.served == 0 {
            return settle(&phase, facts, now, effects);
        }
        let give_up_at = now + facts.policy.drain_timeout;
        return Phase::Draining(Draining { valve: Valve::Closed(epoch), give_up_at, ..phase });
    }
    // We slept through the closing: what came meanwhile has not been let in yet.
    let slept_through = now.since(phase.give_up_at) > limits::STALL;
    let used = activity.last_use > Timestamp::ZERO
        && facts.idle_due(activity.last_use).is_none_or(|due| due > now);
    let used_meanwhile = phase.cause == DrainCause::Idle && (used || facts.is_busy());
    if activity.open() > 0 || used_meanwhile || slept_through {
        return reopen(&phase, IN_USE, facts, now, effects);
    }
    settle(&phase, facts, now, effects)
}

fn deadline_reached(
    phase: Draining,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match phase.valve {
        Valve::Closing(_) => reopen(&phase, "its gate did not close", facts, now, effects),
        Valve::Closed(_) => settle(&phase, facts, now, effects),
    }
}

fn wanted(
    phase: Draining,
    cause: WakeCause,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match phase.cause {
        // A dependent or a pin that arrives meanwhile cancels even a forced sleep; a request waits
        // and is served after it.
        DrainCause::Forced { ticket, then } if !facts.wanted() => {
            let then = then.or(Some(cause));
            Phase::Draining(Draining { cause: DrainCause::Forced { ticket, then }, ..phase })
        }
        DrainCause::Adopted => waking::adopt(phase.run, cause, facts, now, effects),
        DrainCause::Forced { .. } | DrainCause::Idle | DrainCause::Asked(_) => {
            reopen(&phase, IN_USE, facts, now, effects)
        }
    }
}

fn forced(
    phase: Draining,
    ticket: Ticket,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match phase.cause {
        // One that was adopted has never been ready: it must not come to be opened like one.
        DrainCause::Forced { .. } | DrainCause::Adopted => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            Phase::Draining(phase)
        }
        DrainCause::Idle | DrainCause::Asked(_) => {
            answer_refused(&phase, "a forced sleep came first", effects);
            begin(phase.run, DrainCause::Forced { ticket, then: None }, facts, now, effects)
        }
    }
}

/// Somebody wants it after all. What was ready opens at once; what was adopted is probed first.
fn reopen(
    phase: &Draining,
    why: &str,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    answer_refused(phase, why, effects);
    match phase.cause {
        DrainCause::Adopted => waking::adopt(phase.run, WakeCause::Adopted, facts, now, effects),
        DrainCause::Idle | DrainCause::Asked(_) | DrainCause::Forced { .. } => {
            ready::open(phase.run, facts, now, effects)
        }
    }
}

/// Nothing is open, or a forced drain has had its time. A dependent that holds a lease wins over
/// both.
fn settle(phase: &Draining, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    if facts.wanted() {
        return reopen(phase, IN_USE, facts, now, effects);
    }
    let then = match phase.cause {
        DrainCause::Asked(ticket) => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            None
        }
        DrainCause::Forced { ticket, then } => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            then
        }
        DrainCause::Idle | DrainCause::Adopted => None,
    };
    effects.push(Effect::Calm);
    settling::begin(Some(phase.run), then, facts, now, effects)
}

fn observed(
    phase: Draining,
    condition: Condition,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match condition {
        Condition::Running { run, .. } if run == phase.run => Phase::Draining(phase),
        Condition::Running { run, .. } => {
            answer_refused(&phase, "it was restarted meanwhile", effects);
            effects.push(Effect::ShutGate);
            waking::adopt(run, WakeCause::StartedByHand, facts, now, effects)
        }
        Condition::Paused { .. } | Condition::Stopped { .. } | Condition::Restarting { .. } => {
            answer(&phase, &SleepAnswer::AlreadyAsleep, effects);
            effects.push(Effect::ShutGate);
            match phase.cause {
                DrainCause::Forced { then: Some(cause), .. } => {
                    waking::begin(cause, facts, now, effects)
                }
                DrainCause::Forced { then: None, .. }
                | DrainCause::Idle
                | DrainCause::Asked(_)
                | DrainCause::Adopted => asleep::enter(facts, now, effects),
            }
        }
        Condition::Absent => {
            answer_refused(&phase, "it was removed meanwhile", effects);
            effects.push(Effect::ShutGate);
            gone::enter(now, effects)
        }
    }
}

fn answer_refused(phase: &Draining, why: &str, effects: &mut Effects) {
    answer(phase, &SleepAnswer::Refused(why.to_owned()), effects);
}

fn answer(phase: &Draining, answer: &SleepAnswer, effects: &mut Effects) {
    match phase.cause {
        DrainCause::Asked(ticket) | DrainCause::Forced { ticket, .. } => {
            effects.push(Effect::Answer(ticket, answer.clone()));
        }
        DrainCause::Idle | DrainCause::Adopted => {}
    }
}
