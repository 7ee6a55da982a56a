//! How moments and leases are said to people.

use std::time::Duration;

use dormouse_wire::{Leases, Route, Workload};
use jiff::Timestamp;

use crate::api::duration_text;

/// How long ago a moment is, in its two largest units; as it is when it cannot be read.
pub(super) fn ago(moment: &str, now: Timestamp) -> String {
    match moment.parse::<Timestamp>() {
        Ok(then) => rough(now.duration_since(then).unsigned_abs()),
        Err(_) => moment.to_owned(),
    }
}

/// A moment with how far away it is.
pub(super) fn moment(moment: &str, now: Timestamp) -> String {
    match moment.parse::<Timestamp>() {
        Ok(then) if then > now => format!("{moment} (in {})", ago(moment, now)),
        Ok(_) => format!("{moment} ({} ago)", ago(moment, now)),
        Err(_) => moment.to_owned(),
    }
}

/// The leases that are open; a dash where none is.
pub(super) fn leases(leases: &Leases) -> String {
    let kinds = [
        (leases.request, "request"),
        (leases.connection, "connection"),
        (leases.flow, "flow"),
        (leases.dependent, "dependent"),
        (leases.pin, "pin"),
    ];
    let open: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    if open.is_empty() { "-".to_owned() } else { open.join(", ") }
}

/// What leads to a workload.
pub(super) fn routes(workload: &Workload) -> String {
    let route = |route: &Route| {
        let path = if route.path == "/" { "" } else { &route.path };
        let port = route.port.map_or_else(String::new, |port| format!(" → {port}"));
        format!("{}{path}{port}", route.host)
    };
    workload.routes.iter().map(route).collect::<Vec<_>>().join(", ")
}

fn rough(duration: Duration) -> String {
    let secs = duration.as_secs();
    let unit = match secs {
        0..60 => 1,
        60..3600 => 60,
        3600..86_400 => 3600,
        _ => 86_400,
    };
    // The largest unit and the one below it.
    let below = match unit {
        86_400 => 3600,
        3600 => 60,
        _ => 1,
    };
    duration_text(Duration::from_secs(secs - secs % below))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::rough;

    #[test]
    fn a_period_is_said_in_its_two_largest_units() {
        for (secs, said) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3661, "1h1m"), (90_000, "1d1h")]
        {
            assert_eq!(rough(Duration::from_secs(secs)), said);
        }
    }
}
