//! Reads `tcp` and `udp`: the addresses of a workload's own, and the ports behind them.

use super::address::{self, Listen};
use super::report::{Flaw, Report};
use super::section::Section;
use super::settings::RouteWish;
use super::tree::{Node, Value};
use super::values;
use crate::registry::{ListenerSpec, Protocol};

/// Reads `tcp` and `udp` of the file: lists of tables.
pub(crate) fn read_lists(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<ListenerSpec> {
    let mut listeners = Vec::new();
    for protocol in Protocol::ALL {
        let key = protocol.as_str();
        let title = section.title(key);
        let Some(entry) = section.take(report, key) else {
            continue;
        };
        let Value::List(items) = &entry.node.value else {
            let flaw = values::wrong_kind("a list of tables", &entry.node);
            section.flaw(report, entry, flaw.hint(SAY));
            continue;
        };
        for item in items {
            match Section::of(item, &item.spot, &title) {
                Ok(item) => listeners.extend(read(item, protocol, report)),
                Err(flaw) => section.flaw(report, entry, flaw.at(&item.spot).hint(SAY)),
            }
        }
    }
    listeners
}

/// Reads `tcp` and `udp` of labels: `dormouse.tcp.NAME.listen` and `dormouse.tcp.NAME.port`.
pub(crate) fn read_named(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<ListenerSpec> {
    let mut listeners = Vec::new();
    for protocol in Protocol::ALL {
        let title = section.title(protocol.as_str());
        let Some(entry) = section.take(report, protocol.as_str()) else {
            continue;
        };
        let mut table = match Section::of(&entry.node, &entry.spot, &title) {
            Ok(table) => table,
            Err(flaw) => {
                let key = protocol.as_str();
                let hint = format!("say dormouse.{key}.NAME.listen and dormouse.{key}.NAME.port");
                section.flaw(report, entry, flaw.hint(hint));
                continue;
            }
        };
        for entry in table.take_all() {
            if let Some(section) = Section::open(entry, &title.named(&entry.key), report) {
                listeners.extend(read(section, protocol, report));
            }
        }
    }
    listeners
}

/// Complains where hostnames lead to no port by name although there are several to choose from:
/// the ports of listeners must never become those of hostnames.
pub(crate) fn refuse_unnamed_port(
    section: &Section<'_>,
    routes: &[RouteWish],
    listeners: &[ListenerSpec],
    report: &mut Report<'_>,
) {
    if !listeners.is_empty() && !section.has("port") && routes.iter().any(|r| r.spec.port.is_none())
    {
        let flaw = Flaw::new("has hostnames and listeners, and no `port`").slug("missing-key");
        section.complain(report, flaw.hint("say to which of its ports the hostnames lead"));
    }
}

const SAY: &str = "say { listen = \":2222\", port = 22 }";

fn read(
    mut section: Section<'_>,
    protocol: Protocol,
    report: &mut Report<'_>,
) -> Option<ListenerSpec> {
    let place = |node: &Node| node.spot.place();
    let listen = section.read(report, "listen", |node| listen(node).map(|at| (at, place(node))));
    let port = section.read(report, "port", values::port);
    for key in ["listen", "port"] {
        if !section.has(key) {
            let flaw = Flaw::new(format!("has no `{key}`")).slug("missing-key");
            section.complain(report, flaw);
        }
    }
    section.close(report);
    let ((listen, place), port) = listen.zip(port)?;
    Some(ListenerSpec { protocol, listen, port, place })
}

/// An address with a port of its own: nobody finds one that the system chose.
fn listen(node: &Node) -> Result<Listen, Flaw> {
    let is_path = |text: &str| text.starts_with('/') || text.starts_with("unix:");
    if values::plain(node).is_ok_and(is_path) {
        let flaw = Flaw::new("is a unix socket, which no client elsewhere can reach");
        return Err(flaw.hint("say an address, such as \":2222\""));
    }
    let listen = address::listen(node)?;
    if listen.port() == Some(0) {
        return Err(Flaw::new("has the port 0").hint("a port is 1 to 65535"));
    }
    Ok(listen)
}
