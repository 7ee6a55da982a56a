//! Failed: the last wake failed, or it crashes in a loop; wants are listened to again later.

use super::{
    Effect, Effects, Event, Facts, Failed, Phase, Remains, Retry, SleepAnswer, WakeCause, asleep,
    gone, settling, waking,
};
use crate::failure::Failure;
use crate::observation::Condition;
use crate::progress::{Step, StepKind};
use crate::time::Timestamp;

pub(super) fn step(
    phase: Failed,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Wanted(cause) => wanted(phase, cause, facts, now, effects),
        Event::NeighboursChanged => match (phase.retry, facts.want()) {
            (Retry::Open, Some(cause)) => waking::begin(cause, facts, now, effects),
            (Retry::Open | Retry::At(_), Some(_) | None) => Phase::Failed(phase),
        },
        Event::DeadlineReached => deadline_reached(phase, facts, now, effects),
        Event::Observed(observation) => observed(phase, observation.condition, facts, now, effects),
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
            settle(&phase, facts, now, effects)
        }
        Event::LogRead(log) => {
            let failure = Failure {
                log,
                ..phase.failure
            };
            Phase::Failed(Failed { failure, ..phase })
        }
        Event::EnvironmentLost
        | Event::PolicyChanged
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. } => Phase::Failed(phase),
    }
}

/// Tells everybody who waits, and stays failed until `retry_at`.
pub(super) fn enter(
    failure: Failure,
    retry_at: Timestamp,
    settle_at: Option<Timestamp>,
    remains: Remains,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    effects.push(Effect::CountFailure {
        not_before: retry_at,
    });
    effects.push(Effect::Tell(Step {
        kind: StepKind::Error,
        message: failure.detail.clone(),
        dependency: None,
    }));
    effects.push(Effect::Deny {
        failure: failure.clone(),
        retry_at: Some(retry_at),
    });
    let retry = Retry::At(retry_at);
    Phase::Failed(Failed {
        since: now,
        failure,
        retry,
        settle_at,
        remains,
    })
}

fn wanted(
    phase: Failed,
    cause: WakeCause,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match phase.retry {
        Retry::At(at) if now < at => {
            // Whoever asked a moment too early is answered too.
            effects.push(Effect::Deny {
                failure: phase.failure.clone(),
                retry_at: Some(at),
            });
            Phase::Failed(phase)
        }
        Retry::At(_) | Retry::Open => waking::begin(cause, facts, now, effects),
    }
}

fn deadline_reached(
    phase: Failed,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if let Some(cause) = facts.want() {
        return waking::begin(cause, facts, now, effects);
    }
    match phase.settle_at {
        Some(at) if at <= now => settle(&phase, facts, now, effects),
        Some(_) | None => Phase::Failed(Failed {
            retry: Retry::Open,
            ..phase
        }),
    }
}

fn settle(phase: &Failed, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    match phase.remains {
        Remains::Nothing => asleep::enter(facts, now, effects),
        Remains::Run(_) | Remains::Unclear => settling::begin(None, facts, now, effects),
    }
}

fn observed(
    phase: Failed,
    condition: Condition,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match condition {
        Condition::Running { run, .. } if phase.remains == Remains::Run(run) => {
            Phase::Failed(phase)
        }
        Condition::Running { run, .. } => {
            waking::adopt(run, WakeCause::StartedByHand, facts, now, effects)
        }
        Condition::Stopped { .. } | Condition::Paused { .. } => Phase::Failed(Failed {
            remains: Remains::Nothing,
            ..phase
        }),
        Condition::Restarting { .. } => Phase::Failed(Failed {
            remains: Remains::Unclear,
            ..phase
        }),
        Condition::Absent => gone::enter(now, effects),
    }
}
