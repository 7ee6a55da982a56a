//! Waking: needs first, then the start, then the probe; each wait bounded by `give_up_at`.

use super::{
    Effect, Effects, Event, Facts, Needs, Phase, Pinned, Purpose, Reach, Remains, SleepAnswer,
    StartFailure, WakeCause, WakeStep, Waking, asleep, failed, gone, ready,
};
use crate::failure::{Failure, FailureKind};
use crate::id::Epoch;
use crate::limits;
use crate::observation::{Condition, RunId};
use crate::progress::{Step, StepKind};
use crate::time::Timestamp;

pub(super) fn step(
    phase: Waking,
    facts: &Facts<'_>,
    event: Event,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match event {
        Event::Started { epoch, result, .. } if phase.step == (WakeStep::Starting { epoch }) => {
            started(phase, result, facts, now, effects)
        }
        Event::Probed { epoch, result } => match probed_run(&phase, epoch) {
            Some(run) => probed(run, result, facts, now, effects),
            None => Phase::Waking(phase),
        },
        Event::Observed(observation) => observed(phase, observation.condition, facts, now, effects),
        Event::NeighboursChanged => needs_moved(phase, facts, now, effects),
        Event::PolicyChanged => match phase.step {
            WakeStep::Needs { .. } => await_needs(phase, facts, now, effects),
            WakeStep::Backoff { .. } => {
                // Somebody may have mended what failed.
                effects.push(Effect::Calm);
                await_needs(phase, facts, now, effects)
            }
            WakeStep::Starting { .. } | WakeStep::Probing { .. } | WakeStep::Completing { .. } => {
                Phase::Waking(phase)
            }
        },
        Event::DeadlineReached => deadline_reached(phase, facts, now, effects),
        Event::SleepAsked(ticket) | Event::SleepForced(ticket) => {
            let why = "it is waking; ask again when it is ready".to_owned();
            effects.push(Effect::Answer(ticket, SleepAnswer::Refused(why)));
            Phase::Waking(phase)
        }
        // From here on somebody waits at its gate, and is told how it ends.
        Event::Wanted(cause @ WakeCause::Request) => Phase::Waking(Waking { cause, ..phase }),
        Event::Wanted(_)
        | Event::Started { .. }
        | Event::EnvironmentLost
        | Event::EnvironmentReached
        | Event::GateClosed { .. }
        | Event::ActivityRead { .. }
        | Event::LeasesEnded { .. }
        | Event::Rested { .. }
        | Event::LogRead(_) => Phase::Waking(phase),
    }
}

/// Begins a wake on behalf of `cause`.
pub(super) fn begin(
    cause: WakeCause,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let give_up_at = now + facts.policy.wake_timeout;
    effects.push(tell(StepKind::Starting, "waking it up"));
    let step = WakeStep::Needs { waiting: Vec::new() };
    let phase = Waking { since: now, cause, give_up_at, failed_starts: 0, step };
    if now < facts.not_before {
        let step = WakeStep::Backoff { until: facts.not_before, after: None };
        return Phase::Waking(Waking { step, ..phase });
    }
    await_needs(phase, facts, now, effects)
}

/// It runs already: probe it, as if we had just started it.
pub(super) fn adopt(
    run: RunId,
    cause: WakeCause,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let give_up_at = now + facts.policy.wake_timeout;
    effects.push(tell(StepKind::Started, "found running"));
    let step = WakeStep::Needs { waiting: Vec::new() };
    let phase = Waking { since: now, cause, give_up_at, failed_starts: 0, step };
    follow_run(phase, run, facts, effects)
}

/// It ended although somebody wants it: start it again after the backoff.
pub(super) fn recover(
    failure: Failure,
    until: Timestamp,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    effects.push(tell(StepKind::Starting, format!("starting it again: {failure}")));
    Phase::Waking(Waking {
        since: now,
        cause: WakeCause::Crash,
        give_up_at: until + facts.policy.wake_timeout,
        failed_starts: 0,
        step: WakeStep::Backoff { until, after: Some(failure) },
    })
}

fn await_needs(phase: Waking, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    match &facts.needs {
        Needs::Met => start(phase, facts, effects),
        Needs::Waiting(waiting) => {
            for &position in waiting {
                effects.push(tell_need(facts, position, StepKind::WakingDependency));
            }
            let step = WakeStep::Needs { waiting: waiting.clone() };
            Phase::Waking(Waking { step, ..phase })
        }
        Needs::Failed { on, why } => {
            let detail = format!("it needs {}: {why}", on.name());
            let failure = Failure::new(FailureKind::NeedFailed, detail);
            give_up(failure, Remains::Nothing, facts, now, effects)
        }
    }
}

fn needs_moved(phase: Waking, facts: &Facts<'_>, now: Timestamp, effects: &mut Effects) -> Phase {
    let WakeStep::Needs { waiting: before } = &phase.step else {
        return Phase::Waking(phase);
    };
    let still: &[usize] = match &facts.needs {
        Needs::Met => &[],
        Needs::Waiting(waiting) => waiting,
        Needs::Failed { .. } => before,
    };
    for &position in before.iter().filter(|position| !still.contains(position)) {
        effects.push(tell_need(facts, position, StepKind::DependencyReady));
    }
    match &facts.needs {
        Needs::Met | Needs::Failed { .. } => await_needs(phase, facts, now, effects),
        Needs::Waiting(waiting) => {
            let step = WakeStep::Needs { waiting: waiting.clone() };
            Phase::Waking(Waking { step, ..phase })
        }
    }
}

fn start(phase: Waking, facts: &Facts<'_>, effects: &mut Effects) -> Phase {
    let epoch = facts.epoch;
    effects.push(Effect::Start { epoch, deadline: phase.give_up_at });
    Phase::Waking(Waking { step: WakeStep::Starting { epoch }, ..phase })
}

fn started(
    phase: Waking,
    result: Result<RunId, StartFailure>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match result {
        Ok(run) => {
            effects.push(tell(StepKind::Started, "started"));
            follow_run(phase, run, facts, effects)
        }
        Err(StartFailure::Absent) => gone::enter(now, effects),
        Err(StartFailure::Ended { exit_code }) => ended(phase, exit_code, facts, now, effects),
        Err(StartFailure::Passing(failure)) => {
            start_again(phase, failure, Remains::Unclear, facts, now, effects)
        }
        Err(StartFailure::Lasting(failure)) => {
            give_up(failure, Remains::Unclear, facts, now, effects)
        }
    }
}

/// It runs: whether that is enough is for its probe to say, or for its end.
fn follow_run(phase: Waking, run: RunId, facts: &Facts<'_>, effects: &mut Effects) -> Phase {
    match facts.purpose {
        Purpose::Serve => probe(phase, run, facts, effects),
        Purpose::Complete => Phase::Waking(Waking { step: WakeStep::Completing { run }, ..phase }),
    }
}

fn probe(phase: Waking, run: RunId, facts: &Facts<'_>, effects: &mut Effects) -> Phase {
    let epoch = facts.epoch;
    effects.push(tell(StepKind::WaitingReady, "waiting until it is ready"));
    effects.push(Effect::Probe { epoch, deadline: phase.give_up_at });
    Phase::Waking(Waking { step: WakeStep::Probing { epoch, run }, ..phase })
}

fn probed_run(phase: &Waking, epoch: Epoch) -> Option<RunId> {
    match phase.step {
        WakeStep::Probing { epoch: asked, run } => (asked == epoch).then_some(run),
        WakeStep::Backoff { .. }
        | WakeStep::Needs { .. }
        | WakeStep::Starting { .. }
        | WakeStep::Completing { .. } => None,
    }
}

fn probed(
    run: RunId,
    result: Result<(), Failure>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match result {
        Ok(()) => ready::enter(run, facts, now, effects),
        Err(failure) => give_up(failure, Remains::Run(run), facts, now, effects),
    }
}

fn observed(
    phase: Waking,
    condition: Condition,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match (&phase.step, condition) {
        (
            WakeStep::Probing { .. } | WakeStep::Completing { .. },
            Condition::Stopped { exit_code },
        )
        | (
            WakeStep::Probing { .. } | WakeStep::Completing { .. },
            Condition::Restarting { exit_code },
        ) => ended(phase, exit_code, facts, now, effects),
        (WakeStep::Probing { run, .. }, Condition::Running { run: seen, .. }) if *run != seen => {
            probe(phase, seen, facts, effects)
        }
        (WakeStep::Completing { run }, Condition::Running { run: seen, .. }) if *run != seen => {
            Phase::Waking(Waking { step: WakeStep::Completing { run: seen }, ..phase })
        }
        (WakeStep::Probing { .. } | WakeStep::Completing { .. }, Condition::Paused { .. }) => {
            await_needs(phase, facts, now, effects)
        }
        (
            WakeStep::Probing { .. }
            | WakeStep::Completing { .. }
            | WakeStep::Backoff { .. }
            | WakeStep::Needs { .. },
            Condition::Absent,
        ) => gone::enter(now, effects),
        // While a start is in flight, its answer decides; a look begun before it says nothing.
        (WakeStep::Starting { .. }, _)
        | (WakeStep::Backoff { .. } | WakeStep::Needs { .. }, _)
        | (WakeStep::Probing { .. } | WakeStep::Completing { .. }, Condition::Running { .. }) => {
            Phase::Waking(phase)
        }
    }
}

fn ended(
    phase: Waking,
    exit_code: Option<i32>,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    if facts.purpose == Purpose::Complete && exit_code == Some(0) {
        effects.push(Effect::Completed);
        effects.push(Effect::Calm);
        effects.push(tell(StepKind::Ready, "ran to its end"));
        if phase.cause == WakeCause::Request {
            effects.push(deny_completed(now));
        }
        return asleep::enter(&unneeded(facts), now, effects);
    }
    let failure = crash(exit_code);
    start_again(phase, failure, Remains::Nothing, facts, now, effects)
}

/// A completed run has served whoever wanted it, a pin included; the next want runs it again.
fn unneeded<'a>(facts: &Facts<'a>) -> Facts<'a> {
    Facts { dependents: 0, pin: Pinned::No, ..facts.clone() }
}

/// What runs to its end serves nobody who waits at its gate.
fn deny_completed(now: Timestamp) -> Effect {
    let kind = FailureKind::Crashed { exit_code: Some(0) };
    Effect::Deny {
        failure: Failure::new(kind, "it ran to its end, as those who need it expect"),
        retry_at: Some(now + limits::RETRY_DELAY_MIN),
    }
}

/// The failure of a workload that ended while it should have run.
pub(super) fn crash(exit_code: Option<i32>) -> Failure {
    let detail = match exit_code {
        Some(code) => format!("it ended with exit code {code}"),
        None => "it ended".to_owned(),
    };
    Failure::new(FailureKind::Crashed { exit_code }, detail)
}

fn start_again(
    phase: Waking,
    failure: Failure,
    remains: Remains,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let failed_starts = phase.failed_starts + 1;
    let until = now + facts.retry_delay(failed_starts);
    if failed_starts >= limits::START_ATTEMPTS_MAX || until >= phase.give_up_at {
        return give_up(failure, remains, facts, now, effects);
    }
    effects.push(tell(StepKind::Starting, format!("starting it again: {failure}")));
    let step = WakeStep::Backoff { until, after: Some(failure) };
    Phase::Waking(Waking { failed_starts, step, ..phase })
}

fn deadline_reached(
    phase: Waking,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    match &phase.step {
        WakeStep::Backoff { .. } if now < phase.give_up_at => {
            await_needs(phase, facts, now, effects)
        }
        WakeStep::Backoff { after, .. } => {
            let failure = after.clone().unwrap_or_else(|| timed_out("it may be started again"));
            give_up(failure, Remains::Nothing, facts, now, effects)
        }
        WakeStep::Needs { .. } => {
            let failure = timed_out("what it needs was ready");
            give_up(failure, Remains::Nothing, facts, now, effects)
        }
        WakeStep::Completing { run } => {
            let remains = Remains::Run(*run);
            give_up(timed_out("it had run to its end"), remains, facts, now, effects)
        }
        WakeStep::Starting { .. } => {
            let failure = timed_out("the runtime had answered");
            give_up(failure, Remains::Unclear, facts, now, effects)
        }
        WakeStep::Probing { run, .. } => {
            let remains = Remains::Run(*run);
            give_up(timed_out("its probe had answered"), remains, facts, now, effects)
        }
    }
}

fn give_up(
    failure: Failure,
    remains: Remains,
    facts: &Facts<'_>,
    now: Timestamp,
    effects: &mut Effects,
) -> Phase {
    let retry_at = now + facts.retry_delay(facts.failures + 1);
    let failure = blame_environment(failure, facts.environment);
    failed::enter(failure, retry_at, remains, facts, now, effects)
}

fn blame_environment(failure: Failure, environment: Reach) -> Failure {
    if failure.kind == FailureKind::TimedOut && environment == Reach::Unreachable {
        return Failure { kind: FailureKind::Unreachable, ..failure };
    }
    failure
}

fn timed_out(before: &str) -> Failure {
    Failure::new(FailureKind::TimedOut, format!("its wake_timeout passed before {before}"))
}

fn tell(kind: StepKind, message: impl Into<String>) -> Effect {
    Effect::Tell(Step { kind, message: message.into(), dependency: None })
}

fn tell_need(facts: &Facts<'_>, position: usize, kind: StepKind) -> Effect {
    let on = facts.policy.needs.get(position).map(|need| need.on.clone());
    let name = on.as_ref().map_or("something", |on| on.name());
    let message = match kind {
        StepKind::WakingDependency => format!("waking {name}, which it needs"),
        StepKind::DependencyReady
        | StepKind::Starting
        | StepKind::Started
        | StepKind::WaitingReady
        | StepKind::Ready
        | StepKind::Error => format!("{name} is there"),
    };
    Effect::Tell(Step { kind, message, dependency: on })
}
