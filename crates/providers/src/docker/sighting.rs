//! From what the engine writes to what the house reads: conditions, runs, health.

use std::collections::BTreeMap;

use dormouse_core::observation::Health;
use dormouse_core::{Condition, RunId};

use super::json::{ContainerJson, EntryJson, StateJson};
use super::lenient::Text;

/// What an inspect says of a container.
pub(super) fn condition(container: &ContainerJson) -> Condition {
    let state = &container.state;
    let run = run_id(&container.id, &state.started_at);
    let exit_code = Some(narrow(state.exit_code));
    match Standing::of(state) {
        Standing::Running => Condition::Running { run, health: health(&state.health.status) },
        Standing::Paused => Condition::Paused { run },
        Standing::Restarting => Condition::Restarting { exit_code },
        Standing::Created => Condition::Stopped { exit_code: None },
        Standing::Ended => Condition::Stopped { exit_code },
        Standing::Leaving => Condition::Absent,
    }
}

/// What a listing says of a container. It does not tell when the container was started, so the run
/// is that of the container as such and differs from the one that an inspect gives.
pub(super) fn entry_condition(entry: &EntryJson) -> Condition {
    let run = run_id(&entry.id, "");
    let exit_code = bracketed_number(&entry.status);
    match Standing::named(&entry.state) {
        Some(Standing::Running) => Condition::Running { run, health: entry_health(&entry.status) },
        Some(Standing::Paused) => Condition::Paused { run },
        Some(Standing::Restarting) => Condition::Restarting { exit_code },
        Some(Standing::Created) => Condition::Stopped { exit_code: None },
        Some(Standing::Ended) | None => Condition::Stopped { exit_code },
        Some(Standing::Leaving) => Condition::Absent,
    }
}

/// Whether what a listing shows has processes whose counters can be read.
pub(super) fn has_counters(entry: &EntryJson) -> bool {
    match entry_condition(entry) {
        Condition::Running { .. } | Condition::Paused { .. } => true,
        Condition::Stopped { .. } | Condition::Restarting { .. } | Condition::Absent => false,
    }
}

/// One start of one container: FNV-1a over its id and the moment at which it was started.
pub(super) fn run_id(id: &str, started_at: &str) -> RunId {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = id.bytes().chain([0]).chain(started_at.bytes());
    RunId(bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

/// The name without its slash. A listing also has the names that links give: those have two.
pub(super) fn entry_name(entry: &EntryJson) -> Option<&str> {
    let bare = |name: &'_ Text| !name.0.trim_start_matches('/').contains('/');
    let own = entry.names.iter().find(|name| bare(name)).or(entry.names.first())?;
    let name = own.0.strip_prefix('/').unwrap_or(&own.0);
    (!name.is_empty()).then_some(name)
}

pub(super) fn labels(json: &BTreeMap<String, Text>) -> BTreeMap<String, String> {
    json.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Whether any label is addressed to the house.
pub(super) fn has_own_label<'a>(mut keys: impl Iterator<Item = &'a String>) -> bool {
    keys.any(|key| key.starts_with("dormouse."))
}

/// The runtime's words, sorted.
enum Standing {
    Running,
    Paused,
    Restarting,
    Created,
    Ended,
    Leaving,
}

impl Standing {
    fn of(state: &StateJson) -> Self {
        match Self::named(&state.status) {
            // A paused container is running as well; the flag is the older witness.
            Some(Self::Running) if state.paused => Self::Paused,
            Some(Self::Running) if state.restarting => Self::Restarting,
            Some(standing) => standing,
            None if state.paused => Self::Paused,
            None if state.restarting => Self::Restarting,
            None if state.running => Self::Running,
            None => Self::Ended,
        }
    }

    fn named(status: &str) -> Option<Self> {
        match status {
            // Podman says `stopping` while processes still run.
            "running" | "stopping" => Some(Self::Running),
            "paused" => Some(Self::Paused),
            "restarting" => Some(Self::Restarting),
            "created" | "configured" | "initialized" => Some(Self::Created),
            "exited" | "stopped" | "dead" => Some(Self::Ended),
            "removing" => Some(Self::Leaving),
            _ => None,
        }
    }
}

fn health(status: &str) -> Health {
    match status {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => Health::Undeclared,
    }
}

/// `Up 5 seconds (healthy)`, `Up 5 seconds (health: starting)`.
fn entry_health(status: &str) -> Health {
    let inside = status.rsplit_once('(').map_or("", |(_, inside)| inside.trim_end_matches(')'));
    health(inside.strip_prefix("health: ").unwrap_or(inside))
}

/// `Exited (137) 5 seconds ago`.
fn bracketed_number(status: &str) -> Option<i32> {
    let (_, behind) = status.split_once('(')?;
    behind.split_once(')')?.0.parse().ok()
}

fn narrow(exit_code: i64) -> i32 {
    // Windows reports unsigned codes beyond i32; which one exactly matters to nobody.
    i32::try_from(exit_code).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(state: &str) -> Condition {
        let text = format!(r#"{{"Id": "c1", "State": {state}}}"#);
        condition(&serde_json::from_str(&text).unwrap())
    }

    fn listed(state: &str, status: &str) -> Condition {
        let entry = EntryJson {
            id: "c1".into(),
            state: state.into(),
            status: status.into(),
            ..EntryJson::default()
        };
        entry_condition(&entry)
    }

    #[test]
    fn every_state_of_docker_and_podman_has_a_condition() {
        let run = run_id("c1", "T");
        let running = |health| Condition::Running { run, health };
        let cases = [
            (r#"{"Status":"running","Running":true,"StartedAt":"T"}"#, running(Health::Undeclared)),
            (
                r#"{"Status":"running","StartedAt":"T","Health":{"Status":"starting"}}"#,
                running(Health::Starting),
            ),
            (
                r#"{"Status":"running","StartedAt":"T","Health":{"Status":"none"}}"#,
                running(Health::Undeclared),
            ),
            (r#"{"Status":"stopping","StartedAt":"T"}"#, running(Health::Undeclared)),
            (r#"{"Running":true,"StartedAt":"T"}"#, running(Health::Undeclared)),
            (
                r#"{"Status":"paused","Running":true,"Paused":true,"StartedAt":"T","Health":{"Status":"unhealthy"}}"#,
                Condition::Paused { run },
            ),
            (r#"{"Running":true,"Paused":true,"StartedAt":"T"}"#, Condition::Paused { run }),
            (
                r#"{"Status":"restarting","Running":true,"Restarting":true,"ExitCode":3}"#,
                Condition::Restarting { exit_code: Some(3) },
            ),
            (r#"{"Status":"created","ExitCode":127}"#, Condition::Stopped { exit_code: None }),
            (r#"{"Status":"exited","ExitCode":137}"#, Condition::Stopped { exit_code: Some(137) }),
            (r#"{"Status":"stopped","ExitCode":0}"#, Condition::Stopped { exit_code: Some(0) }),
            (r#"{"Status":"dead","ExitCode":1}"#, Condition::Stopped { exit_code: Some(1) }),
            (r#"{"Status":"removing"}"#, Condition::Absent),
            (r#"{"Status":"levitating"}"#, Condition::Stopped { exit_code: Some(0) }),
        ];
        for (state, expected) in cases {
            assert_eq!(inspected(state), expected, "{state}");
        }
    }

    #[test]
    fn a_listing_tells_health_and_exit_code_in_prose() {
        let run = run_id("c1", "");
        let cases = [
            ("running", "Up 2 hours", Condition::Running { run, health: Health::Undeclared }),
            (
                "running",
                "Up 2 hours (healthy)",
                Condition::Running { run, health: Health::Healthy },
            ),
            (
                "running",
                "Up 1 second (health: starting)",
                Condition::Running { run, health: Health::Starting },
            ),
            ("paused", "Up 2 hours (Paused)", Condition::Paused { run }),
            ("exited", "Exited (137) 5 days ago", Condition::Stopped { exit_code: Some(137) }),
            ("created", "Created", Condition::Stopped { exit_code: None }),
        ];
        for (state, status, expected) in cases {
            assert_eq!(listed(state, status), expected, "{state} {status}");
        }
    }

    #[test]
    fn a_run_changes_with_the_container_and_with_each_start() {
        let run = run_id("abc", "2026-01-01T00:00:00Z");
        assert_eq!(run, run_id("abc", "2026-01-01T00:00:00Z"));
        assert_ne!(run, run_id("abc", "2026-01-01T00:00:01Z"));
        assert_ne!(run, run_id("abd", "2026-01-01T00:00:00Z"));
        assert_ne!(run_id("ab", "c"), run_id("a", "bc"));
    }

    #[test]
    fn the_own_name_is_told_from_those_of_links() {
        let names = |names: &[&str]| {
            let names = names.iter().map(|name| Text((*name).into())).collect();
            let entry = EntryJson { names, ..EntryJson::default() };
            entry_name(&entry).map(str::to_owned)
        };
        assert_eq!(names(&["/app/db", "/db"]).as_deref(), Some("db"));
        assert_eq!(names(&["podman"]).as_deref(), Some("podman"));
        assert_eq!(names(&[]), None);
    }
}
