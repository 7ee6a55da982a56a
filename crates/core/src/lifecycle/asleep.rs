//! Asleep: resting, until somebody wants it or starts it by hand.

use super::{Asleep, Effect, Effects, Event, Facts, Phase, SleepAnswer, WakeCause, gone, waking};
use crate::observation::Condition;
use crate::time::Timestamp;

pub(super) fn step(
    phase: Asleep,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Wanted(cause) => waking::begin(cause, facts, now, effects),
        Event::NeighboursChanged => match facts.want() {
            Some(cause) => waking::begin(cause, facts, now, effects),
            None => Phase::Asleep(phase),
        },
        Event::Observed(observation) => match observation.condition {
            Condition::Running { run, .. } => {
                waking::adopt(run, WakeCause::StartedByHand, facts, now, effects)
            }
            Condition::Absent => gone::enter(now, effects),
            Condition::Paused { .. } | Condition::Stopped { .. } | Condition::Restarting { .. } => {
                Phase::Asleep(phase)
            }
        },
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            effects.push(Effect::Answer(ticket, SleepAnswer::AlreadyAsleep));
            Phase::Asleep(phase)
        }
        Event::PolicyChanged => {
            // Somebody may have mended what failed.
            effects.push(Effect::Calm);
            Phase::Asleep(phase)
        }
        Event::EnvironmentLost
        | Event::EnvironmentReached
        | Event::DeadlineReached
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Asleep(phase),
    }
}

/// It rests; it is woken at once where the fleet knows of a reason.
pub(super) fn enter(facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    effects.push(Effect::ForgetRestFailures);
    match facts.want() {
        Some(cause) => waking::begin(cause, facts, now, effects),
        None => Phase::Asleep(Asleep { since: now }),
    }
}
