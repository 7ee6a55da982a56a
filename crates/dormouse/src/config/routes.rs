//! Reads routes: hostnames, and the port and scheme behind them.

use dormouse_core::findings::Place;
use dormouse_core::routes::Pattern;
use dormouse_proxy::Scheme;

use super::report::{Flaw, Report, quote};
use super::section::Section;
use super::settings::RouteWish;
use super::tree::{Node, Value};
use super::values::{self, Word};
use crate::registry::{ListenerSpec, Protocol, RouteSpec};

const SCHEMES: [Word<Scheme>; 2] = [("http", Scheme::Http), ("h2c", Scheme::H2c)];

const LATER_SCHEMES: [&str; 1] = ["https"];

/// Reads the scheme and the port of a route from `section`.
pub(crate) fn read_end(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> (Option<u16>, Option<Scheme>) {
    (section.read(report, "port", values::port), section.read(report, "scheme", scheme))
}

/// Reads the patterns of the key `key`.
pub(crate) fn read_hosts(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Vec<(Pattern, Place)> {
    let read = |node: &Node| pattern(node).map(|pattern| (pattern, node.spot.place()));
    section.read_list(report, key, read).unwrap_or_default()
}

/// Reads `routes`, a list of tables.
pub(crate) fn read_all(
    section: &mut Section<'_>,
    scheme: Scheme,
    routes: &mut Vec<RouteWish>,
    report: &mut Report<'_>,
) {
    let title = section.title("routes");
    let Some(entry) = section.take(report, "routes") else {
        return;
    };
    let Value::List(items) = &entry.node.value else {
        section.flaw(report, entry, values::wrong_kind("a list of tables", &entry.node));
        return;
    };
    for item in items {
        match Section::of(item, &item.spot, &title) {
            Ok(section) => read_route(section, scheme, routes, report),
            Err(flaw) => section.flaw(report, entry, flaw.at(&item.spot)),
        }
    }
}

/// Reads one further route: its `host`, and the port and scheme behind it.
pub(crate) fn read_route(
    mut section: Section<'_>,
    scheme: Scheme,
    routes: &mut Vec<RouteWish>,
    report: &mut Report<'_>,
) {
    let hosts = read_hosts(&mut section, "host", report);
    let (port, own_scheme) = read_end(&mut section, report);
    if !section.has("host") {
        section.complain(report, Flaw::new("has no `host`").slug("missing-key"));
    }
    let scheme = own_scheme.unwrap_or(scheme);
    routes.extend(
        hosts
            .into_iter()
            .map(|(pattern, place)| RouteWish { spec: RouteSpec { pattern, port, scheme }, place }),
    );
    section.close(report);
}

/// Makes the ports of routes and listeners those of the policy, the first route's first.
pub(crate) fn ports_of(
    main: Option<u16>,
    routes: &[RouteWish],
    listeners: &[ListenerSpec],
) -> Vec<u16> {
    let of_routes = routes.iter().filter_map(|route| route.spec.port);
    each_once(main.into_iter().chain(of_routes).chain(of_listeners(listeners, Protocol::Tcp)))
}

/// Every port that datagrams lead to, in order, without doubles.
pub(crate) fn udp_ports_of(listeners: &[ListenerSpec]) -> Vec<u16> {
    each_once(of_listeners(listeners, Protocol::Udp))
}

fn of_listeners(listeners: &[ListenerSpec], protocol: Protocol) -> impl Iterator<Item = u16> {
    let spoken = listeners.iter().filter(move |listener| listener.protocol == protocol);
    spoken.map(|listener| listener.port)
}

fn each_once(all: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports = Vec::new();
    for port in all {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

fn scheme(node: &Node) -> Result<Scheme, Flaw> {
    values::word_or_later(node, &SCHEMES, &LATER_SCHEMES)
}

fn pattern(node: &Node) -> Result<Pattern, Flaw> {
    let text = values::filled(node)?;
    Pattern::parse(&text).map_err(|error| {
        let flaw = Flaw::new(format!("has {}, which is not a hostname: {error}", quote(&text)));
        flaw.hint("say \"example.com\", \"*.example.com\" or \"example.com/path\"")
    })
}
