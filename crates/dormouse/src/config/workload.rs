//! Reads `[workload.NAME]`.

use std::sync::Arc;

use dormouse_core::WorkloadId;
use dormouse_core::policy::Until;

use super::environment::Known;
use super::home::{self, Home};
use super::report::{Flaw, Report, quote};
use super::section::{Section, Title};
use super::settings::{Draft, NeedWish, Origin, RouteWish, Treatment, Wanted};
use super::shared::Shared;
use super::tree::{Entry, Node, Value};
use super::values::{self, Word};
use super::{listeners, routes, treatment};
use crate::registry::RouteSpec;

const UNTILS: [Word<Until>; 3] =
    [("started", Until::Started), ("ready", Until::Ready), ("completed", Until::Completed)];

pub(crate) fn read_all(
    entry: Option<&Entry>,
    defaults: &Treatment,
    known: &Known,
    report: &mut Report<'_>,
) -> Vec<Draft> {
    let title = Title::new("workload");
    let Some(entry) = entry else {
        return Vec::new();
    };
    let Some(mut section) = Section::open(entry, &title, report) else {
        return Vec::new();
    };
    let mut drafts = Vec::new();
    let mut policies = Shared::default();
    for entry in section.take_all() {
        if let Err(flaw) = values::check_name(&entry.key) {
            section.flaw(report, entry, flaw.at(&entry.spot));
            continue;
        }
        report.turn_to(Some(entry.key.clone()));
        if let Some(section) = Section::open(entry, &title.named(&entry.key), report) {
            let mut draft = read(entry, section, defaults, known, report);
            if let Some(draft) = &mut draft {
                policies.share(&mut draft.treatment.policy);
            }
            drafts.extend(draft);
        }
        report.turn_to(None);
    }
    section.close(report);
    drafts.shrink_to_fit();
    drafts
}

/// Reads `needs`.
pub(crate) fn read_needs(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<NeedWish> {
    section.read_list(report, "needs", need).unwrap_or_default()
}

fn read(
    entry: &Entry,
    mut section: Section<'_>,
    defaults: &Treatment,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Draft> {
    let (port, scheme) = routes::read_end(&mut section, report);
    let home = home::read(&entry.key, &mut section, port, known, report);
    let id = home.as_ref().map(|home| WorkloadId::new(&home.environment, &entry.key));
    if let Some(id) = &id {
        report.turn_to(Some(id.to_string()));
    }
    let mut treatment = defaults.clone();
    treatment::read(&mut section, &mut treatment, report);
    let hosts = routes::read_hosts(&mut section, "hosts", report);
    let scheme = scheme.unwrap_or_default();
    let mut routes: Vec<RouteWish> = hosts
        .into_iter()
        .map(|(pattern, place)| RouteWish { spec: RouteSpec { pattern, port, scheme }, place })
        .collect();
    routes::read_all(&mut section, scheme, &mut routes, report);
    let needs = read_needs(&mut section, report);
    let listeners = listeners::read_lists(&mut section, report);
    listeners::refuse_unnamed_port(&section, &routes, &listeners, report);
    section.close(report);
    let Home { environment, target, launch } = home?;
    let policy = Arc::make_mut(&mut treatment.policy);
    policy.ports = routes::ports_of(port, &routes, &listeners);
    policy.udp_ports = routes::udp_ports_of(&listeners);
    Some(Draft {
        id: id?,
        environment,
        target,
        launch,
        treatment,
        needs,
        routes,
        listeners,
        misconfigured: None,
        origin: Origin::File,
        place: entry.spot.place(),
        compose: None,
    })
}

/// Reads `db`, `cache:started`, `env/db:ready`.
fn need(node: &Node) -> Result<NeedWish, Flaw> {
    let text = values::filled(node)?;
    let (name, until) = match text.rsplit_once(':') {
        Some((name, until)) => {
            let word = Node { value: Value::Flat(until.trim().into()), spot: node.spot.clone() };
            (name.trim(), values::word(&word, &UNTILS)?)
        }
        None => (text.trim(), Until::Ready),
    };
    let (environment, workload) =
        name.split_once('/').map_or((None, name), |(environment, name)| (Some(environment), name));
    let legal = |name: &str| values::check_name(name).is_ok();
    if !legal(workload) || !environment.is_none_or(legal) {
        let flaw = Flaw::new(format!("has {}, which cannot be a workload", quote(name)));
        return Err(flaw.hint("say \"db\", \"db:started\" or \"environment/db:completed\""));
    }
    Ok(NeedWish { on: Wanted::Workload(name.to_owned()), until, place: node.spot.place() })
}
