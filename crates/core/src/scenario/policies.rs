//! Policies as a scenario writes them.

use std::time::Duration;

use super::words::{self, Refusal};
use crate::id::{EnvironmentName, WorkloadId};
use crate::policy::{Adopt, Need, OnRestFailure, Policy, Rest, Until};

/// What a workload of a scenario is like when nobody says otherwise.
pub(super) fn plain() -> Policy {
    Policy {
        idle_timeout: Some(Duration::from_secs(60)),
        wake_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(10),
        ..Policy::default()
    }
}

/// Sets one wish; `None` when there is no such wish.
pub(super) fn set(
    policy: &mut Policy,
    environment: &EnvironmentName,
    name: &str,
    value: &str,
) -> Option<Result<(), Refusal>> {
    let set = match name {
        "idle" => words::duration_or_never(value).map(|it| policy.idle_timeout = it),
        "cpu-below" => {
            words::count(value).map(|it| policy.idle_below.cpu_millipercent = Some(it * 1_000))
        }
        "net-below" => {
            words::count(value).map(|it| policy.idle_below.net_bytes = Some(u64::from(it)))
        }
        "wake" => words::duration(value).map(|it| policy.wake_timeout = it),
        "grace" => words::duration(value).map(|it| policy.stop_timeout = it),
        "drain" => words::duration(value).map(|it| policy.drain_timeout = it),
        "rest" => rest(value).map(|it| policy.rest = it),
        "on-rest-failure" => on_rest_failure(value).map(|it| policy.on_rest_failure = it),
        "adopt" => adopt(value).map(|it| policy.adopt = it),
        "needs" => needs(value, environment).map(|it| policy.needs = it),
        _ => return None,
    };
    Some(set)
}

fn rest(word: &str) -> Result<Rest, Refusal> {
    match word {
        "stop" => Ok(Rest::Stop),
        "pause" => Ok(Rest::Pause),
        "kill" => Ok(Rest::Kill),
        word => Err(words::refuse("a rest", word)),
    }
}

fn on_rest_failure(word: &str) -> Result<OnRestFailure, Refusal> {
    match word {
        "keep" => Ok(OnRestFailure::Keep),
        "kill" => Ok(OnRestFailure::Kill),
        word => Err(words::refuse("keep or kill", word)),
    }
}

fn adopt(word: &str) -> Result<Adopt, Refusal> {
    match word {
        "keep" => Ok(Adopt::Keep),
        "rest" => Ok(Adopt::Rest),
        word => Err(words::refuse("keep or rest", word)),
    }
}

/// `db,cache:started,migrate:completed`, or `none`.
fn needs(value: &str, environment: &EnvironmentName) -> Result<Vec<Need>, Refusal> {
    if value == "none" {
        return Ok(Vec::new());
    }
    let need = |word: &str| {
        let (on, until) = word.split_once(':').unwrap_or((word, "ready"));
        let until = match until {
            "started" => Until::Started,
            "ready" => Until::Ready,
            "completed" => Until::Completed,
            word => return Err(words::refuse("how far a need must have come", word)),
        };
        let on = WorkloadId::new(environment, on);
        Ok(Need { on, until })
    };
    value.split(',').map(need).collect()
}
