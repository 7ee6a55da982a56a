//! The doors of the fuzzer: each takes any bytes, and holds what must be true of them.

use crate::routes::{Pattern, RouteTable};
use crate::sim;

/// The longest hostname that DNS can carry, in bytes.
const HOSTNAME_BYTES_MAX: usize = 253;
/// Steps of one simulated storm.
const STEPS_MAX: u64 = 400;

/// What can happen to a fleet, in any order: the bytes are the dice of the simulator, whose witness
/// holds every step against the invariants.
///
/// # Panics
/// When an invariant does not hold.
pub fn fleet(tape: &[u8]) {
    let report = sim::run_tape(tape, STEPS_MAX);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

/// Routes and requests: `HOSTNAME PATH` in the first line, a pattern in each further one.
///
/// # Panics
/// When a pattern does not read back as itself, or another route is found than by looking at all
/// of them in turn.
pub fn routes(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let request = lines.next().unwrap_or_default();
    let (hostname, path) = request.split_once(' ').unwrap_or((request, "/"));
    let patterns: Vec<Pattern> = lines.filter_map(|line| Pattern::parse(line).ok()).collect();
    for pattern in &patterns {
        assert_eq!(Pattern::parse(&pattern.to_string()).as_ref(), Ok(pattern));
    }
    let (table, duplicates) =
        RouteTable::build(patterns.iter().cloned().map(|it| (it.clone(), it)));
    assert_eq!(table.len() + duplicates.len(), patterns.len());
    let found = table.lookup(hostname, path);
    assert_eq!(found, best(&patterns, hostname, path), "{hostname}{path}");
}

/// The best of all routes, found without a table.
fn best<'a>(patterns: &'a [Pattern], hostname: &str, path: &str) -> Option<&'a Pattern> {
    let hostname = match hostname.rfind(':') {
        Some(colon) if !hostname[colon..].contains(']') => &hostname[..colon],
        _ => hostname,
    };
    let hostname = hostname.strip_suffix('.').unwrap_or(hostname).to_ascii_lowercase();
    if hostname.len() > HOSTNAME_BYTES_MAX {
        return None;
    }
    let fits_path = |pattern: &&Pattern| {
        let rest = path.strip_prefix(pattern.prefix());
        pattern.prefix().is_empty() || rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    let rank = |pattern: &Pattern| match pattern.hostname().strip_prefix('*') {
        None if pattern.hostname() == hostname => Some(usize::MAX),
        None => None,
        Some("") => Some(0),
        Some(suffix) => {
            (hostname.len() > suffix.len() && hostname.ends_with(suffix)).then_some(suffix.len())
        }
    };
    let ranked = patterns.iter().filter(fits_path);
    let ranked = ranked.filter_map(|it| Some(((rank(it)?, it.prefix().len()), it)));
    // Of equal ones the first is kept, and `max_by_key` would take the last.
    ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, pattern)| pattern)
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::{replay, replay_with};

    #[test]
    fn the_corpus_of_fleets_holds() {
        replay_with("fleet", 40, super::fleet);
    }

    #[test]
    fn the_corpus_of_routes_holds() {
        replay("routes", super::routes);
    }
}
