//! How moments, leases and measurements are said to people.

use std::time::Duration;

use dormouse_wire::{Leases, Listener, Rates, Route, Usage, Workload};
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
    let listener = |own: &Listener| format!("{} {} → {}", own.protocol, own.listen, own.port);
    let listeners = workload.listeners.iter().map(listener);
    workload.routes.iter().map(route).chain(listeners).collect::<Vec<_>>().join(", ")
}

/// A number of bytes in the largest unit that leaves a digit before the point.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64)
}

/// Bytes a second both ways.
pub(super) fn rates(rates: Rates) -> String {
    format!("{}/{}", scaled(rates.in_bytes_per_second), scaled(rates.out_bytes_per_second))
}

/// What a workload uses, in one line.
pub(super) fn usage(usage: &Usage) -> String {
    let mut said = format!(
        "{:.1} % of a processor, {} of memory",
        usage.cpu_percent,
        bytes(usage.memory_bytes)
    );
    if let Some(network) = usage.network {
        said.push_str(&format!(", network in/out {} a second", rates(network)));
    }
    if let Some(disk) = usage.disk {
        said.push_str(&format!(", devices in/out {} a second", rates(disk)));
    }
    said
}

fn scaled(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0}B");
    }
    let mut scaled = bytes / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if scaled >= 1024.0 {
            scaled /= 1024.0;
            unit = larger;
        }
    }
    format!("{scaled:.1}{unit}")
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

    use super::{bytes, rough};

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_fits() {
        let cases = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_572_864, "1.5MiB"),
            (8 << 30, "8.0GiB"),
            (5 << 50, "5120.0TiB"),
        ];
        for (number, said) in cases {
            assert_eq!(bytes(number), said);
        }
    }

    #[test]
    fn a_period_is_said_in_its_two_largest_units() {
        for (secs, said) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3661, "1h1m"), (90_000, "1d1h")]
        {
            assert_eq!(rough(Duration::from_secs(secs)), said);
        }
    }
}
