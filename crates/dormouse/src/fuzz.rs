//! The doors of the fuzzer: each takes any bytes, as a file, a container or a client could bring
//! them, and holds what must be true of them.

use std::collections::BTreeMap;
use std::path::Path;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::Target;

use crate::api::guard;
use crate::api::moment;
use crate::client::Address;
use crate::client::stream::take_event;
use crate::collect::input::{Input, read_to_end};
use crate::config::check::{Form, all_findings, list, render};
use crate::config::tree::{Node, Spot, Value};
use crate::config::{Settings, load_text, quantities, values};
use crate::labels::Labels;
use crate::registry::{Found, assemble};

/// What an env var of a secret holds, and no finding may say.
const CANARY: &str = "canary-0f6e";
/// Bytes of one finding's message.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A configuration file that includes nothing.
///
/// # Panics
/// When there are settings beside an error, a finding stands nowhere in its file, or a secret
/// shows.
pub fn config(bytes: &[u8]) {
    let path = Path::new("/nowhere/dormouse.toml");
    let text = String::from_utf8_lossy(bytes).into_owned();
    let is_quoted = text.contains(CANARY);
    let loaded = load_text(text, path, &|name| (name != "ABSENT").then(|| CANARY.to_owned()));
    let is_bad = loaded.findings.iter().any(Finding::is_error);
    assert_eq!(loaded.settings.is_none(), is_bad);
    let findings = all_findings(&loaded);
    for finding in &findings {
        if let Some(Place::File { path, span }) = &finding.place {
            assert!(loaded.sources[&**path].get(span.clone()).is_some(), "{finding:?} is nowhere");
        }
        is_harmless(finding);
    }
    let mut told = render(&findings, &loaded.sources, Form::Plain);
    told.push_str(&format!("{:?}", list(&findings, &loaded.sources)));
    told.push_str(&format!("{:?}", loaded.settings));
    assert!(is_quoted || !told.contains(CANARY), "a secret shows in {told}");
}

/// The labels of one container beside two good ones: `KEY=TEXT` in each line, and its name in the
/// first.
///
/// # Panics
/// When another container's workload is hurt, or a finding could steer a terminal.
pub fn labels(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let name = lines.next().unwrap_or_default();
    let labels: Labels = lines.filter_map(|line| line.split_once('=')).map(owned).collect();
    let local = EnvironmentName::new("local");
    let neighbour = |host: &str| Labels::from([("dormouse.host".to_owned(), host.to_owned())]);
    // Names that sort before and after whatever the container calls itself.
    let good = [("0-good", "good.example.com"), ("zz-good", "well.example.com")];
    let mut targets: BTreeMap<Target, Labels> =
        good.iter().map(|(name, host)| (Target::new(name), neighbour(host))).collect();
    targets.entry(Target::new(name)).or_insert(labels);
    let settings = Settings::standard(&|_| None, true);
    let registry = assemble(1, &settings, &Found::from([(local.clone(), targets)]));
    assert!(registry.workloads.len() <= good.len() + 1);
    for (name, host) in good {
        let id = WorkloadId::new(&local, name);
        let workload = registry.workloads.get(&id).expect("it was found");
        assert_eq!(workload.target.as_str(), name);
        assert_eq!(workload.misconfigured, None);
        // A hostname belongs to the first that asks for it, and labels are all alike.
        let is_claimed = text.to_ascii_lowercase().contains(host);
        assert!(is_claimed || workload.routes.len() == 1, "{:?}", registry.findings);
    }
    registry.findings.iter().for_each(is_harmless);
}

/// A single value, as a file has it and as a label has it.
///
/// # Panics
/// When the two are read differently, or a bound does not hold.
pub fn value(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let spot = Spot::Label { target: "t".into(), key: "k".into() };
    let [file, label] = [Value::Text(text.to_string()), Value::Flat(text.to_string())]
        .map(|value| Node { value, spot: spot.clone() });
    let duration = quantities::duration(&file);
    assert_eq!(duration, quantities::duration(&label));
    if let Ok(duration) = duration {
        let again = moment::parse_duration(&moment::duration_text(duration));
        assert_eq!(again, Ok(duration));
    }
    assert_eq!(quantities::duration_or_never(&file), quantities::duration_or_never(&label));
    assert_eq!(quantities::duration_or_zero(&file), quantities::duration_or_zero(&label));
    let size = quantities::size(&file);
    assert!(size.as_ref().is_ok_and(|size| (1..=1 << 40).contains(size)) || size.is_err());
    assert_eq!(size, quantities::size(&label));
    assert_eq!(quantities::status_range(&file), quantities::status_range(&label));
    assert_eq!(values::signal(&file), values::signal(&label));
    assert_ne!(values::port(&label), Ok(0));
    addresses(&file);
}

/// The address of a dormouse, as `--url` has it.
///
/// # Panics
/// When what was read is not what is shown, or what stands in Host is no authority.
pub fn client_url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(address) = text.parse::<Address>() else { return };
    assert_eq!(address.to_string().parse::<Address>().as_ref(), Ok(&address), "{text:?}");
    let authority = address.authority();
    assert!(authority.parse::<http::uri::Authority>().is_ok(), "{text:?} has {authority:?}");
}

/// The Host of a request to the admin side.
///
/// # Panics
/// When a host passes on loopback that a page elsewhere could have.
pub fn admin_host(bytes: &[u8]) {
    let host = String::from_utf8_lossy(bytes);
    let local = ([127, 0, 0, 1], 9900).into();
    if !guard::is_ours(&host, local) {
        return;
    }
    let bare = host.to_ascii_lowercase();
    let bare = match bare.rfind(':') {
        Some(colon) if !bare[colon..].contains(']') => &bare[..colon],
        _ => &bare,
    };
    let is_name = bare.trim_end_matches('.').rsplit('.').next() == Some("localhost");
    let inside = bare.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(bare);
    let is_loopback = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
    assert!(is_name || inside.parse().is_ok_and(is_loopback), "{host:?} is taken for ours");
}

/// Server-sent events, as the client reads them.
///
/// # Panics
/// When it matters how the bytes are cut.
pub fn server_events(bytes: &[u8]) {
    let read = |piece_bytes: usize| {
        let mut unread = Vec::new();
        let mut events = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            unread.extend_from_slice(piece);
            events.extend(std::iter::from_fn(|| take_event(&mut unread)));
        }
        events
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(read(1), whole);
    assert!(whole.iter().all(|event| !event.data.is_empty()));
}

/// What the parent of a collector writes to it.
///
/// # Panics
/// When it matters how the bytes are cut, a line is read that is none, or a complaint repeats a
/// value.
pub fn collect_input(bytes: &[u8]) {
    let read = |piece_bytes| read_to_end(std::io::BufReader::with_capacity(piece_bytes, bytes));
    let whole = read(bytes.len().max(1));
    let told = format!("{whole:?}");
    assert_eq!(format!("{:?}", read(1)), told);
    assert_eq!(format!("{:?}", read(7)), told);
    assert!(whole.len() <= bytes.split(|byte| *byte == b'\n').count());
    for input in whole {
        match input {
            Input::Bad(bad) => assert!(!bad.to_string().contains(CANARY), "a value is in {bad}"),
            Input::Command(_) | Input::TooLong(_) => {}
            Input::Ended | Input::Broken(_) => panic!("nothing was read here"),
        }
    }
}

fn addresses(node: &Node) {
    use crate::config::address;
    if let Ok(listen) = address::listen_or_unix(node) {
        let shown = Node { value: Value::Text(listen.to_string()), spot: node.spot.clone() };
        assert_eq!(address::listen_or_unix(&shown), Ok(listen));
    }
    if let Ok(network) = address::network(node) {
        assert_eq!(network, network.trunc());
    }
    // An engine's address has a door of its own.
    let _ = address::docker(node);
}

fn is_harmless(finding: &Finding) {
    let text = format!("{}{}", finding.message, finding.hint.as_deref().unwrap_or_default());
    assert!(text.len() < MESSAGE_BYTES_MAX, "{finding:?} is too long");
    assert!(!text.contains(char::is_control), "{finding:?} could steer a terminal");
}

fn owned((key, text): (&str, &str)) -> (String, String) {
    (key.to_owned(), text.to_owned())
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_configurations_holds() {
        replay("config", super::config);
    }

    #[test]
    fn the_corpus_of_labels_holds() {
        replay("labels", super::labels);
    }

    #[test]
    fn the_corpus_of_values_holds() {
        replay("value", super::value);
    }

    #[test]
    fn the_corpus_of_client_urls_holds() {
        replay("client_url", super::client_url);
    }

    #[test]
    fn the_corpus_of_admin_hosts_holds() {
        replay("admin_host", super::admin_host);
    }

    #[test]
    fn the_corpus_of_collect_inputs_holds() {
        replay("collect_input", super::collect_input);
    }

    #[test]
    fn the_corpus_of_server_events_holds() {
        replay("server_events", super::server_events);
    }
}
