//! Misconfigured: the definition is wrong, and nothing is done until it is corrected.

use super::{Effect, Effects, Event, Misconfigured, Phase, SleepAnswer};
use crate::failure::{Failure, FailureKind};
use crate::time::Timestamp;

pub(super) fn step(
    phase: Misconfigured,
    event: Event,
    _now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Wanted(_) => {
            effects.push(deny(&phase.message));
            Phase::Misconfigured(phase)
        }
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            let why = format!("its definition is wrong: {}", phase.message);
            effects.push(Effect::Answer(ticket, SleepAnswer::Refused(why)));
            Phase::Misconfigured(phase)
        }
        Event::Observed(_)
        | Event::EnvironmentLost
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
        | Event::LogRead(_) => Phase::Misconfigured(phase),
    }
}

/// What everybody who waits at the gate of a misconfigured workload is told.
pub(crate) fn deny(message: &str) -> Effect {
    Effect::Deny { failure: Failure::new(FailureKind::Misconfigured, message), retry_at: None }
}
