//! Turns what the keeper answers into what the API shows.

use dormouse_core::fleet::{Explanation, NeedState};
use dormouse_core::lifecycle::TimerReason;
use dormouse_core::observation::Health;
use dormouse_core::policy::{Need, Until};
use dormouse_core::progress::StepKind;
use dormouse_core::{Condition, Policy, WorkloadId};
use dormouse_keeper::{Clock, EnvironmentView, JournalEntry, JournalKind, StoryLine, WorkloadView};
use dormouse_proxy::Scheme;
use dormouse_wire as wire;

use super::moment::{at, duration_text, rfc3339};
use super::{App, usage};
use crate::config::{EnvironmentKind, EnvironmentSpec, Origin};
use crate::metering::EnvironmentReading;
use crate::registry::{ListenerSpec, RouteSpec};

/// A workload as it is listed.
pub(super) fn workload(view: &WorkloadView, app: &App) -> wire::Workload {
    let (registry, clock) = (app.registry(), app.keeper.clock());
    let explanation = &view.explanation;
    let id = &explanation.id;
    let spec = registry.workloads.get(id);
    wire::Workload {
        name: id.name().to_owned(),
        environment: id.environment().to_owned(),
        target: view.target.to_string(),
        phase: wire::Phase::from_word(explanation.phase),
        since: at(clock, explanation.since),
        why: explanation.why.clone(),
        idle_at: explanation.idle_at.map(|moment| at(clock, moment)),
        leases: leases(view),
        waiting: view.waiting,
        pins: view
            .pin
            .iter()
            .map(|pin| wire::Pin { until: pin.until_ms.map(rfc3339), reason: pin.reason.clone() })
            .collect(),
        needs: view.policy.needs.iter().map(need).collect(),
        routes: spec.map(|spec| spec.routes.iter().map(route).collect()).unwrap_or_default(),
        listeners: spec
            .map(|spec| spec.listeners.iter().map(listener).collect())
            .unwrap_or_default(),
        last_wake: last_wake(view, clock),
        last_error: explanation.last_failure.as_ref().map(|(_, failure)| failure.detail.clone()),
        upstream: view.upstream.first().map(|(_, address)| address.to_string()),
        usage: app.board.workload(id).map(usage::reading),
        memory_freed_bytes: usage::freed_bytes(&app.board, id, explanation.phase),
    }
}

/// A workload with its explanation.
pub(super) fn details(view: &WorkloadView, app: &App) -> wire::WorkloadDetails {
    let (registry, clock) = (app.registry(), app.keeper.clock());
    let explanation = &view.explanation;
    let spec = registry.workloads.get(&explanation.id);
    let failure = explanation.last_failure.as_ref();
    let explain = wire::Explanation {
        why: explanation.why.clone(),
        next: next_step(explanation, clock),
        retry_at: explanation.retry_at.map(|moment| at(clock, moment)),
        needs: explanation.needs.iter().map(need_report).collect(),
        dependents: explanation.dependents.iter().map(ToString::to_string).collect(),
        condition: explanation.condition.map(condition),
        last_failure: failure.map(|(moment, failure)| wire::FailureReport {
            at: at(clock, *moment),
            slug: failure.kind.slug().to_owned(),
            detail: failure.detail.clone(),
            hint: failure.kind.hint().to_owned(),
            log: failure.log.clone(),
        }),
        policy: policy(&view.policy),
        defined_by: spec.map(|spec| {
            match spec.origin {
                Origin::File => "file",
                Origin::Labels => "labels",
            }
            .to_owned()
        }),
    };
    wire::WorkloadDetails { workload: workload(view, app), explain }
}

/// What keeps a workload awake.
pub(super) fn leases(view: &WorkloadView) -> wire::Leases {
    let dependents = view.explanation.dependents.len();
    wire::Leases {
        request: view.leases.request,
        connection: view.leases.connection,
        flow: view.leases.flow,
        dependent: u32::try_from(dependents).unwrap_or(u32::MAX),
        pin: u32::from(view.explanation.pin.is_some()),
    }
}

/// One line of a wake's story.
pub(super) fn progress(id: &WorkloadId, line: &StoryLine) -> wire::ProgressEvent {
    let is_error = line.step.kind == StepKind::Error;
    wire::ProgressEvent {
        workload: id.name().to_owned(),
        seq: line.seq,
        at: rfc3339(line.at_ms),
        kind: line.step.kind.into(),
        message: line.step.message.clone(),
        error: is_error.then(|| line.step.message.clone()),
        dependency: line.step.dependency.as_ref().map(ToString::to_string),
    }
}

/// One entry of the journal.
pub(super) fn event(entry: &JournalEntry) -> wire::Event {
    let plain = |kind, message: String| wire::Event {
        seq: entry.seq,
        at: rfc3339(entry.at_ms),
        kind,
        workload: entry.workload.as_ref().map(ToString::to_string),
        environment: None,
        from: None,
        to: None,
        message,
    };
    match &entry.kind {
        JournalKind::Phase { from, to, why } => wire::Event {
            from: Some((*from).to_owned()),
            to: Some((*to).to_owned()),
            ..plain(wire::EventKind::Phase, why.clone())
        },
        JournalKind::Pinned => plain(wire::EventKind::Pinned, "it is pinned awake".to_owned()),
        JournalKind::Unpinned => plain(wire::EventKind::Unpinned, "its pin has ended".to_owned()),
        JournalKind::RestFailed { error } => plain(wire::EventKind::RestFailed, error.clone()),
        JournalKind::EnvironmentLost { environment, reason } => wire::Event {
            environment: Some(environment.clone()),
            ..plain(wire::EventKind::EnvironmentLost, reason.clone())
        },
        JournalKind::EnvironmentReached { environment } => wire::Event {
            environment: Some(environment.clone()),
            ..plain(wire::EventKind::EnvironmentReached, "it answers".to_owned())
        },
    }
}

/// An environment. `last_listed_ms` is when it last listed everything it has.
pub(super) fn environment(
    view: &EnvironmentView,
    spec: Option<&EnvironmentSpec>,
    last_listed_ms: Option<u64>,
    known: &EnvironmentReading,
) -> wire::Environment {
    let address = spec.and_then(|spec| match &spec.kind {
        EnvironmentKind::Docker(docker) => Some(docker.address.to_string()),
        EnvironmentKind::Process => None,
    });
    wire::Environment {
        name: view.name.to_string(),
        address,
        state: match view.reachable {
            None => wire::EnvironmentState::Pending,
            Some(true) => wire::EnvironmentState::Up,
            Some(false) => wire::EnvironmentState::Down,
        },
        since: rfc3339(view.since_ms),
        last_check: last_listed_ms.map(rfc3339),
        last_error: view.last_error.clone(),
        labels: spec.is_some_and(|spec| spec.labels),
        workloads: view.workloads,
        resyncs: view.resyncs,
        usage: usage::environment_usage(known),
        disk_usage: known.disk.map(usage::disk_usage),
    }
}

fn next_step(explanation: &Explanation, clock: Clock) -> Option<wire::NextStep> {
    let pin_ends = explanation.pin.flatten().map(|until| (until, TimerReason::PinEnds));
    let next = explanation.next.into_iter().chain(pin_ends).min_by_key(|(moment, _)| *moment);
    next.map(|(moment, reason)| wire::NextStep {
        at: at(clock, moment),
        reason: timer_reason(reason).to_owned(),
    })
}

fn timer_reason(reason: TimerReason) -> &'static str {
    match reason {
        TimerReason::LookAgain => "its environment is asked about it again",
        TimerReason::WakeGivesUp => "the wake gives up",
        TimerReason::StartAgain => "the start is tried again",
        TimerReason::AnswerOverdue => "the runtime's answer is overdue",
        TimerReason::IdleCheck => "idleness is looked at",
        TimerReason::GateOverdue => "its gate should have closed",
        TimerReason::DrainEnds => "what is still open has had its time",
        TimerReason::RetryOpens => "it may be woken again",
        TimerReason::Settle => "what remains of it is rested",
        TimerReason::PinEnds => "its pin ends",
    }
}

fn last_wake(view: &WorkloadView, clock: Clock) -> Option<wire::LastWake> {
    let (began, cause) = view.explanation.last_wake?;
    let is_over = wire::Phase::from_word(view.explanation.phase) != wire::Phase::Waking;
    let times = view.last_wake_times.filter(|_| is_over);
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Some(wire::LastWake {
        at: at(clock, began),
        cause: cause.as_str().to_owned(),
        ms: times.map(|times| ms(times.needs + times.start + times.ready)),
        parts: times.map(|times| wire::WakeParts {
            needs_ms: ms(times.needs),
            start_ms: ms(times.start),
            ready_ms: ms(times.ready),
        }),
        steps: view.story.iter().map(|line| progress(&view.explanation.id, line)).collect(),
    })
}

fn need(need: &Need) -> String {
    match need.until {
        Until::Ready => need.on.to_string(),
        Until::Started | Until::Completed => format!("{}:{}", need.on, until(need.until)),
    }
}

fn need_report(state: &NeedState) -> wire::NeedReport {
    wire::NeedReport {
        on: state.on.to_string(),
        until: until(state.until).to_owned(),
        phase: state.phase.map(str::to_owned),
        met: state.met,
    }
}

fn until(until: Until) -> &'static str {
    match until {
        Until::Started => "started",
        Until::Ready => "ready",
        Until::Completed => "completed",
    }
}

fn route(route: &RouteSpec) -> wire::Route {
    let prefix = route.pattern.prefix();
    wire::Route {
        host: route.pattern.hostname().to_owned(),
        path: if prefix.is_empty() { "/" } else { prefix }.to_owned(),
        port: route.port,
        scheme: match route.scheme {
            Scheme::Http => "http",
            Scheme::H2c => "h2c",
        }
        .to_owned(),
    }
}

fn listener(listener: &ListenerSpec) -> wire::Listener {
    wire::Listener {
        protocol: listener.protocol.as_str().to_owned(),
        listen: listener.listen.to_string(),
        port: listener.port,
    }
}

fn condition(condition: Condition) -> String {
    let exit = |exit_code: Option<i32>| {
        exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"))
    };
    match condition {
        Condition::Running { health, .. } => match health {
            Health::Undeclared => "running".to_owned(),
            Health::Starting => "running, health not decided yet".to_owned(),
            Health::Healthy => "running, healthy".to_owned(),
            Health::Unhealthy => "running, unhealthy".to_owned(),
        },
        Condition::Paused { .. } => "paused".to_owned(),
        Condition::Stopped { exit_code } => format!("stopped{}", exit(exit_code)),
        Condition::Restarting { exit_code } => {
            format!("ended{}, and about to be restarted by its runtime", exit(exit_code))
        }
        Condition::Absent => "absent".to_owned(),
    }
}

fn policy(policy: &Policy) -> wire::PolicyReport {
    wire::PolicyReport {
        idle_timeout: policy.idle_timeout.map_or_else(|| "never".to_owned(), duration_text),
        idle_cpu_below: policy.idle_below.cpu_millipercent.map(|it| f64::from(it) / 1e3),
        idle_net_below: policy.idle_below.net_bytes,
        wake_timeout: duration_text(policy.wake_timeout),
        rest: policy.rest.as_str().to_owned(),
        stop_timeout: duration_text(policy.stop_timeout),
    }
}
