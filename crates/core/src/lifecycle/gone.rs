//! Gone: the runtime knows nothing under its name; it comes back when it is created again.

use super::{Effect, Effects, Event, Facts, Gone, Phase, SleepAnswer, WakeCause, asleep, waking};
use crate::failure::{Failure, FailureKind};
use crate::limits;
use crate::observation::Condition;
use crate::progress::{Step, StepKind};
use crate::time::Timestamp;

pub(super) fn step(
    phase: Gone,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Observed(observation) => match observation.condition {
            Condition::Running { run, .. } => {
                waking::adopt(run, WakeCause::StartedByHand, facts, now, effects)
            }
            Condition::Paused { .. } | Condition::Stopped { .. } | Condition::Restarting { .. } => {
                asleep::enter(facts, now, effects)
            }
            Condition::Absent => Phase::Gone(phase),
        },
        Event::Wanted(cause) => {
            if now < phase.retry_at {
                deny(phase.retry_at, effects);
                return Phase::Gone(phase);
            }
            waking::begin(cause, facts, now, effects)
        }
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            let why = "the runtime knows nothing under its name".to_owned();
            effects.push(Effect::Answer(ticket, SleepAnswer::Refused(why)));
            Phase::Gone(phase)
        }
        Event::EnvironmentLost
        | Event::EnvironmentReached
        | Event::NeighboursChanged
        | Event::PolicyChanged
        | Event::DeadlineReached
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Gone(phase),
    }
}

/// It has been removed: tell everybody who waits.
pub(super) fn enter(now: Timestamp, effects: &mut Effects) -> Phase {
    // What is created anew under its name begins anew.
    effects.push(Effect::Calm);
    let retry_at = now + limits::RETRY_DELAY_MIN;
    let message = "the runtime knows nothing under its name".to_owned();
    effects.push(Effect::Tell(Step { kind: StepKind::Error, message, dependency: None }));
    deny(retry_at, effects);
    Phase::Gone(Gone { since: now, retry_at })
}

fn deny(retry_at: Timestamp, effects: &mut Effects) {
    let detail = "the runtime knows nothing under its name";
    let failure = Failure::new(FailureKind::Absent, detail);
    effects.push(Effect::Deny { failure, retry_at: Some(retry_at) });
}
