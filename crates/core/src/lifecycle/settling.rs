//! Settling: a rest is in flight, and its answer decides. Whoever comes meanwhile waits.

use super::{
    Effect, Effects, Event, Facts, Phase, Settling, SleepAnswer, WakeCause, asleep, gone, unknown,
    waking,
};
use crate::failure::{Failure, FailureKind};
use crate::limits;
use crate::observation::{Condition, RunId};
use crate::policy::{OnRestFailure, Rest};
use crate::time::Timestamp;

pub(super) fn step(
    phase: Settling,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Rested { epoch, result, .. } if epoch == phase.epoch => {
            rested(&phase, result, facts, now, effects)
        }
        // Dependents and pins speak for themselves when it has settled; a request must be noted.
        Event::Wanted(WakeCause::Dependent | WakeCause::Pin) => Phase::Settling(phase),
        Event::Wanted(cause) => {
            let then = phase.then.or(Some(cause));
            Phase::Settling(Settling { then, ..phase })
        }
        Event::DeadlineReached => {
            let detail = "the runtime did not answer".to_owned();
            unclear(&phase, Failure::new(FailureKind::TimedOut, detail), facts, now, effects)
        }
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            Phase::Settling(phase)
        }
        // What is seen while the rest is in flight may be from before or after it: only its
        // answer, which carries a look of its own, is believed.
        Event::Observed(_)
        | Event::Rested { .. }
        | Event::NeighboursChanged
        | Event::EnvironmentLost
        | Event::EnvironmentReached
        | Event::PolicyChanged
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Settling(phase),
    }
}

/// Sends the rest. Its own deadline is the grace period plus a margin.
pub(super) fn begin(
    run: Option<RunId>,
    then: Option<WakeCause>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let epoch = facts.epoch;
    let rest = match facts.policy.on_rest_failure {
        OnRestFailure::Kill if facts.rest_failures >= limits::REST_ATTEMPTS_MAX => Rest::Kill,
        OnRestFailure::Kill | OnRestFailure::Keep => facts.policy.rest,
    };
    let grace = match rest {
        Rest::Stop => facts.policy.stop_timeout,
        Rest::Pause | Rest::Kill => std::time::Duration::ZERO,
    };
    let deadline = now + grace + limits::REST_MARGIN;
    effects.push(Effect::Rest { epoch, rest, deadline });
    let give_up_at = deadline + limits::ANSWER_MARGIN;
    Phase::Settling(Settling { since: now, epoch, rest, run, give_up_at, then })
}

fn rested(
    phase: &Settling,
    result: Result<Condition, Failure>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match result {
        Ok(Condition::Absent) => gone::enter(now, effects),
        Ok(Condition::Paused { .. } | Condition::Stopped { .. }) => match phase.then {
            Some(cause) => waking::begin(cause, facts, now, effects),
            None => asleep::enter(facts, now, effects),
        },
        // Somebody has started it anew meanwhile: that is another run, which nobody meant to rest.
        Ok(Condition::Running { run, .. }) if phase.run.is_some_and(|meant| meant != run) => {
            let cause = phase.then.unwrap_or(WakeCause::StartedByHand);
            waking::adopt(run, cause, facts, now, effects)
        }
        Ok(Condition::Running { .. } | Condition::Restarting { .. }) => {
            let failure = Failure::new(FailureKind::RestRefused, "it still runs after the rest");
            unclear(phase, failure, facts, now, effects)
        }
        Err(failure) => unclear(phase, failure, facts, now, effects),
    }
}

fn unclear(
    phase: &Settling,
    failure: Failure,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    effects.push(Effect::CountRestFailure(failure));
    match phase.then {
        Some(cause) => waking::begin(cause, facts, now, effects),
        None => unknown::enter_unclear(now, effects),
    }
}
