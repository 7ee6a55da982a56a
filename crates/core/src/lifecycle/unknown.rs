//! Unknown: the truth is not known, and nothing is done out of ignorance.

use super::{
    Effect, Effects, Event, Facts, Ignorance, Phase, Reach, SleepAnswer, Unknown, WakeCause,
    asleep, draining, gone, waking,
};
use crate::limits;
use crate::observation::Condition;
use crate::policy::Adopt;
use crate::time::Timestamp;

pub(super) fn step(
    phase: Unknown,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Observed(observation) => match observation.condition {
            Condition::Running { run, .. } => match (facts.policy.adopt, phase.why) {
                (Adopt::Rest, Ignorance::NotYetObserved)
                    if facts.environment == Reach::Reachable =>
                {
                    draining::begin_adopted(run, facts, now, effects)
                }
                (Adopt::Keep | Adopt::Rest, Ignorance::NotYetObserved | Ignorance::RestUnclear) => {
                    waking::adopt(run, WakeCause::Adopted, facts, now, effects)
                }
            },
            Condition::Paused { .. } | Condition::Stopped { .. } | Condition::Restarting { .. } => {
                asleep::enter(facts, now, effects)
            }
            Condition::Absent => gone::enter(now, effects),
        },
        Event::Wanted(cause) => waking::begin(cause, facts, now, effects),
        Event::DeadlineReached => {
            effects.push(Effect::Observe);
            Phase::Unknown(Unknown { look_at: now + limits::OBSERVE_MAX, ..phase })
        }
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            let why = "its state is not known yet".to_owned();
            effects.push(Effect::Answer(ticket, SleepAnswer::Refused(why)));
            Phase::Unknown(phase)
        }
        Event::EnvironmentLost
        | Event::EnvironmentReached
        | Event::NeighboursChanged
        | Event::PolicyChanged
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Started { .. }
        | Event::Rested { .. }
        | Event::Probed { .. }
        | Event::LogRead(_) => Phase::Unknown(phase),
    }
}

/// The last rest ended without a clear answer: look before anything else.
pub(super) fn enter_unclear(now: Timestamp, effects: &mut Effects) -> Phase {
    effects.push(Effect::Observe);
    Phase::Unknown(Unknown {
        since: now,
        why: Ignorance::RestUnclear,
        look_at: now + limits::OBSERVE_MAX,
    })
}
