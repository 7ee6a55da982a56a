//! Failed: the last wake failed, or it crashes in a loop; wants are listened to again later.

use super::{
    Activity, Check, Effect, Effects, Event, Facts, Failed, Phase, Reach, Remains, Retry,
    SleepAnswer, Ticket, WakeCause, asleep, gone, ready, settling, waking,
};
use crate::failure::Failure;
use crate::limits;
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
        Event::DeadlineReached => deadline_reached(phase, facts, now, effects),
        Event::Observed(observation) => observed(phase, observation.condition, facts, now, effects),
        Event::SleepAsked(ticket) => match ready::refusal(facts) {
            Some(why) => refuse(phase, ticket, why, effects),
            None => sleep(phase, ticket, facts, now, effects),
        },
        Event::SleepForced(ticket) => match ready::forced_refusal(facts) {
            Some(why) => refuse(phase, ticket, why, effects),
            None => {
                effects.push(Effect::DropPin);
                sleep(phase, ticket, &facts.unpinned(), now, effects)
            }
        },
        Event::PolicyChanged => corrected(phase, facts, now, effects),
        Event::EnvironmentReached => match phase.settle {
            Check::PutOff(_) => settle(phase, facts, now, effects),
            Check::Asked { .. } | Check::At(_) | Check::Never => Phase::Failed(phase),
        },
        Event::ActivityRead { epoch, activity } => match phase.settle {
            Check::Asked { epoch: asked, .. } if asked == epoch => {
                judge(phase, activity, facts, now, effects)
            }
            Check::Asked { .. } | Check::At(_) | Check::PutOff(_) | Check::Never => {
                Phase::Failed(phase)
            }
        },
        Event::LogRead(log) => {
            let failure = Failure { log, ..phase.failure };
            Phase::Failed(Failed { failure, ..phase })
        }
        Event::EnvironmentLost
        | Event::NeighboursChanged
        | Event::GateClosed { .. }
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
    remains: Remains,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    effects.push(Effect::CountFailure { not_before: retry_at });
    effects.push(Effect::Tell(Step {
        kind: StepKind::Error,
        message: failure.detail.clone(),
        dependency: None,
    }));
    effects.push(Effect::Deny { failure: failure.clone(), retry_at: Some(retry_at) });
    let retry = Retry::At(retry_at);
    Phase::Failed(Failed {
        since: now,
        failure,
        retry,
        settle: settle_check(retry, facts, now),
        remains,
    })
}

/// What was not ready in time may be on its way still, or may have run before we looked: it gets a
/// full idle period, so that the next request finds it ready instead of starting it all over.
fn settle_check(retry: Retry, facts: &Facts<'_>, now: Timestamp) -> Check {
    match (facts.policy.idle_timeout, retry) {
        (None, _) => Check::Never,
        (Some(idle), Retry::At(at)) => Check::At(at.max(now + idle)),
        (Some(idle), Retry::Open) => Check::At(now + idle),
    }
}

/// Somebody may have mended what failed: nobody waits for the end of the backoff any more.
fn corrected(phase: Failed, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    effects.push(Effect::Calm);
    // Callers are turned away no more, and the next one is heard.
    effects.push(Effect::ShutGate);
    if let Some(cause) = facts.want() {
        return waking::begin(cause, &facts.calm(), now, effects);
    }
    let retry = Retry::Open;
    Phase::Failed(Failed { retry, settle: settle_check(retry, facts, now), ..phase })
}

fn sleep(
    phase: Failed,
    ticket: Ticket,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    effects.push(Effect::Answer(ticket, SleepAnswer::Resting));
    settle(phase, facts, now, effects)
}

fn refuse(phase: Failed, ticket: Ticket, why: String, effects: &mut Effects) -> Phase {
    effects.push(Effect::Answer(ticket, SleepAnswer::Refused(why)));
    Phase::Failed(phase)
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
            effects.push(Effect::Deny { failure: phase.failure.clone(), retry_at: Some(at) });
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
    let retry = match phase.retry {
        Retry::At(at) if now < at => phase.retry,
        Retry::At(_) | Retry::Open => Retry::Open,
    };
    if let (Retry::Open, Some(cause)) = (retry, facts.want()) {
        return waking::begin(cause, facts, now, effects);
    }
    let phase = Failed { retry, ..phase };
    match phase.settle.deadline() {
        Some((at, _)) if at <= now => settle(phase, facts, now, effects),
        Some(_) | None => Phase::Failed(phase),
    }
}

/// What remains of it is rested, if nobody is connected to it still: its gate has been shut since
/// it failed, but may have let people through before.
fn settle(phase: Failed, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    let settle = match phase.remains {
        Remains::Nothing => return asleep::enter(facts, now, effects),
        Remains::Unclear => {
            effects.push(Effect::Observe);
            Check::At(now + limits::OBSERVE_MAX)
        }
        Remains::Run(_) | Remains::Restarting => ready::ask(facts, now, effects),
    };
    Phase::Failed(Failed { settle, ..phase })
}

fn judge(
    phase: Failed,
    activity: Activity,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    // Whoever wants it is heard when the retry opens.
    let settle = if activity.served > 0 || facts.wanted() {
        settle_check(phase.retry, facts, now)
    } else if facts.environment == Reach::Unreachable {
        Check::PutOff(now + limits::RESYNC_EVERY)
    } else {
        return rest(&phase, facts, now, effects);
    };
    Phase::Failed(Failed { settle, ..phase })
}

fn rest(phase: &Failed, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    match phase.remains {
        Remains::Nothing => asleep::enter(facts, now, effects),
        Remains::Run(run) => settling::begin(Some(run), None, facts, now, effects),
        Remains::Restarting | Remains::Unclear => settling::begin(None, None, facts, now, effects),
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
        Condition::Stopped { .. } | Condition::Paused { .. } => {
            Phase::Failed(Failed { remains: Remains::Nothing, ..phase })
        }
        Condition::Restarting { .. } => {
            Phase::Failed(Failed { remains: Remains::Restarting, ..phase })
        }
        Condition::Absent => gone::enter(now, effects),
    }
}
