//! The doors of the fuzzer: each takes any bytes, as an engine or a container that lies could send
//! them, and holds what must be true of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use dormouse_core::limits;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address;
use super::client::{ApiVersion, http_date};
use super::endpoint::DockerEndpoint;
use super::events::{Cursor, Line, Lines};
use super::json::{ContainerJson, ListingJson, VersionJson};
use super::logs::{Framing, Tail};
use super::meter::stats::{self, SystemTime};
use super::meter::{disk, groups};
use super::sighting;
use super::vantage::Vantage;
use crate::Address;

/// Bytes that replace one which is not UTF-8.
const REPLACED_BYTES: usize = 3;

/// An inspect.
///
/// # Panics
/// When JSON of an odd shape spoils the whole answer, or an address comes from anywhere but the
/// engine's own network settings.
pub fn inspect(bytes: &[u8]) {
    let Some(container) = read::<ContainerJson>(bytes, Value::is_object) else { return };
    let _ = sighting::condition(&container);
    let _ = sighting::labels(&container.config.labels);
    assert_ne!(address::default_port(&container), Some(0));
    if container.host_config.network_mode == "host" {
        return;
    }
    let own = own_addresses(&container);
    for vantage in vantages() {
        for preferred in [None, Some("back")] {
            for address in address::addresses(&container, &vantage, preferred) {
                match address {
                    Address::Own { ip, .. } => assert!(own.contains(&ip), "{ip} is nobody's"),
                    Address::Published { port, at, .. } => {
                        assert!(port != 0 && at.port() != 0 && !at.ip().is_unspecified());
                    }
                }
            }
        }
    }
}

/// A listing.
///
/// # Panics
/// When JSON of an odd shape spoils the whole answer.
pub fn listing(bytes: &[u8]) {
    let Some(listing) = read::<ListingJson>(bytes, Value::is_array) else { return };
    for entry in &listing.0 {
        let _ = sighting::entry_condition(&entry.0);
        assert!(sighting::entry_name(&entry.0).is_none_or(|name| !name.is_empty()));
        let _ = sighting::labels(&entry.0.labels);
    }
}

/// The event stream.
///
/// # Panics
/// When it matters how the bytes are cut, or an event is news twice.
pub fn events(bytes: &[u8]) {
    let whole = lines(bytes, bytes.len());
    assert_eq!(lines(bytes, 1), whole);
    assert_eq!(lines(bytes, 7), whole);
    let mut cursor = Cursor::default();
    for line in &whole {
        if let Line::Event(event) = Line::parse(line) {
            let key = (event.at, event.id.clone(), event.action.clone());
            cursor.is_news(event.at, key.clone());
            assert!(!cursor.is_news(event.at, key), "{event:?} is news twice");
            let (seconds, nanos) = event.at.to_string().split_once('.').map_or((0, 0), parts);
            assert!(seconds > 0 || nanos > 0, "{}", event.at);
        }
    }
}

/// A log. The first byte says whether it is framed, the second how many lines are kept.
///
/// # Panics
/// When it matters how the bytes are cut, or a bound does not hold.
pub fn log(bytes: &[u8]) {
    let [framed, lines_max, log @ ..] = bytes else { return };
    let framing = || if framed % 2 == 0 { Framing::Framed } else { Framing::Raw };
    let lines_max = usize::from(*lines_max);
    let tail = |piece_bytes: usize| {
        let mut tail = Tail::new(lines_max, framing());
        log.chunks(piece_bytes).for_each(|piece| tail.push(Bytes::copy_from_slice(piece)));
        tail.finish()
    };
    let whole = tail(log.len().max(1));
    assert_eq!(tail(1), whole);
    assert_eq!(tail(11), whole);
    assert!(whole.len() <= lines_max);
    for line in whole {
        assert!(line.len() <= limits::LOG_LINE_BYTES_MAX * REPLACED_BYTES);
        assert!(!line.contains(char::is_control), "{line:?} could steer a terminal");
    }
}

/// One container's counters.
///
/// # Panics
/// When counters come without a count, or the host's time is believed of an engine that has none.
pub fn stats(bytes: &[u8]) {
    if let Ok(sample) = stats::read(bytes, "c1", 1, SystemTime::OfTheHost) {
        assert!(!sample.is_empty());
    }
    if let Ok(sample) = stats::read(bytes, "c1", 1, SystemTime::OfNobody) {
        assert_eq!((sample.wall_nanos, sample.host_cpu_nanos), (1, None));
    }
}

/// The kernel's files of counters and of groups.
///
/// # Panics
/// When a folder is believed that is not the container's own, or a sum is none.
pub fn counters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    groups::fuzz::counters(&text);
    groups::fuzz::places(&text);
}

/// The engine's account of its disk.
///
/// # Panics
/// When what is kept of it is not the same JSON in one line.
pub fn disk(bytes: &[u8]) {
    let Ok(usage) = disk::read(Bytes::copy_from_slice(bytes)) else { return };
    assert!(!usage.raw.contains(&b'\n') && !usage.raw.contains(&b'\r'));
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        assert_eq!(serde_json::from_slice::<Value>(&usage.raw).ok(), Some(value));
    }
}

/// The address of an engine, as a configuration has it.
///
/// # Panics
/// When what was read is not what is shown, or `ssh` could take it for an option.
pub fn endpoint(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(endpoint) = DockerEndpoint::parse(&text) else { return };
    let shown = endpoint.to_string();
    match &endpoint {
        DockerEndpoint::Unix(_) => {}
        DockerEndpoint::Http { host, .. } | DockerEndpoint::Https { host, .. } => {
            assert!(!host.is_empty() && !host.contains(char::is_control), "{text:?}");
            let again = DockerEndpoint::parse(&shown).map(|endpoint| endpoint.to_string());
            assert_eq!(again.ok().as_ref(), Some(&shown), "{text:?}");
        }
        DockerEndpoint::Ssh(target) => {
            assert!(!target.destination.starts_with('-'), "{text:?}");
            assert!(!target.destination.contains(char::is_control), "{text:?}");
        }
    }
}

/// What an engine says of its version, and of the time in `Date`: the first line.
///
/// # Panics
/// When a version is agreed on that either side does not speak.
pub fn version(bytes: &[u8]) {
    let (date, json) = bytes.split_at(bytes.iter().position(|&b| b == b'\n').unwrap_or(0));
    if let Ok(date) = http::HeaderValue::from_bytes(date) {
        let _ = http_date(&date);
    }
    let Some(version) = read::<VersionJson>(json, Value::is_object) else { return };
    if let Ok(agreed) = ApiVersion::negotiate(&version.oldest, &version.newest) {
        let again = ApiVersion::negotiate(&agreed.to_string(), &agreed.to_string());
        assert_eq!(again.ok(), Some(agreed));
    }
}

/// Reads JSON, and holds that a shape which was not expected is no reason to know nothing.
fn read<T: DeserializeOwned>(bytes: &[u8], fits: fn(&Value) -> bool) -> Option<T> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && fits(&value)
    {
        let text = value.to_string();
        assert!(serde_json::from_str::<T>(&text).is_ok(), "{text} spoils the answer");
    }
    serde_json::from_slice(bytes).ok()
}

fn lines(bytes: &[u8], piece_bytes: usize) -> Vec<Bytes> {
    let mut lines = Lines::default();
    let mut read = Vec::new();
    for piece in bytes.chunks(piece_bytes.max(1)) {
        lines.push(piece);
        read.extend(std::iter::from_fn(|| lines.next()));
    }
    read
}

fn parts((seconds, nanos): (&str, &str)) -> (u64, u64) {
    (seconds.parse().expect("digits"), nanos.parse().expect("digits"))
}

fn own_addresses(container: &ContainerJson) -> BTreeSet<IpAddr> {
    let networks = container.network_settings.networks.values();
    let texts = networks.flat_map(|network| [&network.0.ip_v4, &network.0.ip_v6]);
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn vantages() -> [Vantage; 4] {
    [
        Vantage::Host { own_first: true },
        Vantage::Host { own_first: false },
        Vantage::Container {
            networks: BTreeSet::from(["n2".to_owned()]),
            gateway: Some(IpAddr::from([10, 2, 0, 1])),
        },
        Vantage::Remote { ip: None },
    ]
}

#[cfg(test)]
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_inspects_holds() {
        replay("inspect", super::inspect);
    }

    #[test]
    fn the_corpus_of_listings_holds() {
        replay("listing", super::listing);
    }

    #[test]
    fn the_corpus_of_events_holds() {
        replay("events", super::events);
    }

    #[test]
    fn the_corpus_of_logs_holds() {
        replay("log", super::log);
    }

    #[test]
    fn the_corpus_of_stats_holds() {
        replay("stats", super::stats);
    }

    #[test]
    fn the_corpus_of_counters_holds() {
        replay("counters", super::counters);
    }

    #[test]
    fn the_corpus_of_disks_holds() {
        replay("disk", super::disk);
    }

    #[test]
    fn the_corpus_of_endpoints_holds() {
        replay("endpoint", super::endpoint);
    }

    #[test]
    fn the_corpus_of_versions_holds() {
        replay("version", super::version);
    }
}
