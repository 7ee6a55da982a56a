//! Reads the labels of a container: the same keys as the file's, flat, in text that nobody vouches
//! for.
//!
//! Whatever a label says, only the workload of its own container is affected, and where that
//! workload is reached never comes from a label.

use std::collections::BTreeMap;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::policy::Until;
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::Target;

use crate::config::report::{Flaw, Report, is_unprintable, nearest, quote};
use crate::config::section::{Section, Title};
use crate::config::settings::{
    ComposeService, Draft, NeedWish, Origin, RouteWish, Treatment, Wanted,
};
use crate::config::tree::{Entry, Node, Spot, Value};
use crate::config::{treatment, values, workload};
use crate::registry::RouteSpec;

/// The labels of one thing at a runtime.
pub type Labels = BTreeMap<String, String>;

/// What all labels of ours begin with.
const PREFIX: &str = "dormouse.";

/// Labels of ours that one container may have.
const LABELS_MAX: usize = 256;

/// Bytes of a label's key.
const KEY_MAX: usize = 256;

/// Bytes of a label's text.
const TEXT_MAX: usize = 8 * 1024;

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// What the labels of one container say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labelled {
    /// The workload, where they define one; `misconfigured` where they do it wrongly.
    pub(crate) draft: Option<Draft>,
    pub(crate) findings: Vec<Finding>,
}

/// Reads the labels of `target`.
pub(crate) fn read(
    environment: &EnvironmentName,
    target: &Target,
    labels: &Labels,
    defaults: &Treatment,
) -> Labelled {
    let ours: Vec<(&str, &str)> = ours(labels).collect();
    let keys: Vec<&str> = ours.iter().map(|(key, _)| *key).collect();
    if keys.is_empty() {
        return Labelled::default();
    }
    match says_enable(labels) {
        Some(false) => Labelled::default(),
        Some(true) => read_enabled(environment, target, labels, defaults),
        None if keys.iter().any(|key| names_a_host(key)) => {
            read_enabled(environment, target, labels, defaults)
        }
        None => Labelled {
            draft: None,
            findings: vec![idle_labels(target, &keys)],
        },
    }
}

/// The Compose service that the labels name.
pub(crate) fn compose_service(labels: &Labels) -> Option<ComposeService> {
    let name = |key| {
        labels
            .get(key)
            .filter(|name| values::check_name(name).is_ok())
            .cloned()
    };
    Some(ComposeService {
        project: name(COMPOSE_PROJECT)?,
        service: name(COMPOSE_SERVICE)?,
    })
}

fn read_enabled(
    environment: &EnvironmentName,
    target: &Target,
    labels: &Labels,
    defaults: &Treatment,
) -> Labelled {
    let mut report = Report::new(&|_| None);
    if let Some(finding) = illegal_own_name(target) {
        return Labelled {
            draft: None,
            findings: vec![finding],
        };
    }
    report.turn_to(Some(
        WorkloadId::new(environment, target.as_str()).to_string(),
    ));
    let name = name_of(target, labels, &mut report);
    report.turn_to(Some(WorkloadId::new(environment, &name).to_string()));
    let root = tree_of(target, labels, &mut report);
    let title = Title {
        name: "dormouse".into(),
        pattern: String::new(),
    };
    let mut section =
        Section::of(&root, &root.spot, &title).expect("the root is a table, and bounded");
    let mut treatment = defaults.clone();
    let (routes, needs) = read_keys(&mut section, &mut treatment, &mut report);
    section.close(&mut report);
    let compose = compose_service(labels);
    let mut needs = needs;
    if compose.is_some() {
        needs.extend(depends_on(target, labels, &mut report));
    }
    let findings = report.into_findings();
    let draft = Draft {
        name,
        environment: environment.clone(),
        target: target.clone(),
        launch: None,
        treatment,
        needs,
        routes,
        misconfigured: verdict(&findings),
        origin: Origin::Labels,
        place: label_place(target, "dormouse"),
        compose,
    };
    Labelled {
        draft: Some(draft),
        findings,
    }
}

fn read_keys(
    section: &mut Section<'_>,
    treatment: &mut Treatment,
    report: &mut Report<'_>,
) -> (Vec<RouteWish>, Vec<NeedWish>) {
    section.read(report, "enable", values::flag);
    // The name was read before everything else.
    section.take(report, "name");
    treatment::read(section, treatment, report);
    let mut hosts = workload::read_hosts(section, "host", report);
    hosts.extend(workload::read_hosts(section, "hosts", report));
    let (port, scheme) = workload::read_end(section, report);
    let scheme = scheme.unwrap_or_default();
    let mut routes: Vec<RouteWish> = hosts
        .into_iter()
        .map(|(pattern, place)| RouteWish {
            spec: RouteSpec {
                pattern,
                port,
                scheme,
            },
            place,
        })
        .collect();
    let title = section.title("route");
    let table = section.take(report, "route");
    if let Some(mut table) = table.and_then(|entry| Section::open(entry, &title, report)) {
        for entry in table.take_all() {
            if let Some(section) = Section::open(entry, &title.named(&entry.key), report) {
                read_route(section, scheme, &mut routes, report);
            }
        }
    }
    let needs = workload::read_needs(section, report);
    section.not_yet(report, &["tcp", "udp"]);
    treatment.policy.ports = workload::ports_of(port, &routes);
    (routes, needs)
}

fn read_route(
    mut section: Section<'_>,
    scheme: dormouse_proxy::Scheme,
    routes: &mut Vec<RouteWish>,
    report: &mut Report<'_>,
) {
    let hosts = workload::read_hosts(&mut section, "host", report);
    let (port, own_scheme) = workload::read_end(&mut section, report);
    if !section.has("host") {
        section.complain(report, Flaw::new("has no `host`").slug("missing-key"));
    }
    let scheme = own_scheme.unwrap_or(scheme);
    routes.extend(hosts.into_iter().map(|(pattern, place)| RouteWish {
        spec: RouteSpec {
            pattern,
            port,
            scheme,
        },
        place,
    }));
    section.close(report);
}

/// A thing whose own name is not legal cannot be a workload, whatever its labels say.
fn illegal_own_name(target: &Target) -> Option<Finding> {
    let flaw = values::check_name(target.as_str()).err()?;
    let message = format!("the name {} {}", quote(target.as_str()), flaw.message);
    Some(Finding::error(flaw.slug, message).at(label_place(target, "dormouse")))
}

/// The name by label, or else the target's own.
fn name_of(target: &Target, labels: &Labels, report: &mut Report<'_>) -> String {
    let key = "dormouse.name";
    let Some(name) = labels.get(key) else {
        return target.to_string();
    };
    match values::check_name(name) {
        Ok(()) => name.clone(),
        Err(flaw) => {
            let message = format!("`{key}` says {}, which {}", quote(name), flaw.message);
            let finding = Finding::error(flaw.slug, message).at(label_place(target, key));
            report.add(match flaw.hint {
                Some(hint) => finding.with_hint(hint),
                None => finding,
            });
            target.to_string()
        }
    }
}

/// The labels of ours as a tree, each dot a level. Labels that are not fit to be read are left out
/// and reported.
fn tree_of(target: &Target, labels: &Labels, report: &mut Report<'_>) -> Node {
    let label_of = |key: &str| Spot::Label {
        target: target.as_str().into(),
        key: key.into(),
    };
    let mut root = Vec::new();
    for (count, (key, text)) in ours(labels).enumerate() {
        let spot = label_of(&key.chars().take(KEY_MAX).collect::<String>());
        let outcome = if count == LABELS_MAX {
            Err(format!("more than {LABELS_MAX} labels"))
        } else {
            fit(key, text).and_then(|()| graft(&mut root, key, text, &spot))
        };
        if let Err(message) = outcome {
            report.add(Finding::error("bad-label", message).at(spot.place()));
        }
        if count == LABELS_MAX {
            break;
        }
    }
    Node {
        value: Value::Table(root),
        spot: label_of("dormouse"),
    }
}

fn fit(key: &str, text: &str) -> Result<(), String> {
    if key.len() > KEY_MAX {
        return Err(format!(
            "the label {} is longer than {KEY_MAX} bytes",
            quote(key)
        ));
    }
    if text.len() > TEXT_MAX {
        return Err(format!(
            "the text of {} is longer than {TEXT_MAX} bytes",
            quote(key)
        ));
    }
    if key.chars().any(is_unprintable) {
        return Err(format!("the label {} has a control character", quote(key)));
    }
    if text.chars().any(is_unprintable) {
        return Err(format!(
            "the text of {} has a control character",
            quote(key)
        ));
    }
    Ok(())
}

fn graft(root: &mut Vec<Entry>, key: &str, text: &str, spot: &Spot) -> Result<(), String> {
    let path = key.strip_prefix(PREFIX).unwrap_or(key);
    let parts: Vec<&str> = path.split('.').collect();
    let Some((last, folders)) = parts.split_last() else {
        return Ok(());
    };
    // No key of ours is deeper than `route.NAME.host`.
    if parts.iter().any(|part| part.is_empty()) || parts.len() > 3 {
        return Err(format!("unknown label {}", quote(key)));
    }
    let mut table = root;
    for folder in folders {
        table = subtable(table, folder, spot).ok_or_else(|| clash(key))?;
    }
    if table.iter().any(|entry| entry.key == *last) {
        return Err(clash(key));
    }
    let node = Node {
        value: Value::Flat(text.to_owned()),
        spot: spot.clone(),
    };
    table.push(Entry {
        key: (*last).to_owned(),
        spot: spot.clone(),
        node,
    });
    Ok(())
}

fn subtable<'t>(table: &'t mut Vec<Entry>, key: &str, spot: &Spot) -> Option<&'t mut Vec<Entry>> {
    let at = table
        .iter()
        .position(|entry| entry.key == key)
        .unwrap_or_else(|| {
            let node = Node {
                value: Value::Table(Vec::new()),
                spot: spot.clone(),
            };
            table.push(Entry {
                key: key.to_owned(),
                spot: spot.clone(),
                node,
            });
            table.len() - 1
        });
    match &mut table[at].node.value {
        Value::Table(entries) => Some(entries),
        Value::Text(_)
        | Value::Whole(_)
        | Value::Flag(_)
        | Value::List(_)
        | Value::Flat(_)
        | Value::Other(_) => None,
    }
}

fn clash(key: &str) -> String {
    format!("{} clashes with a label that is a part of it", quote(key))
}

/// Reads Compose's own `db:service_healthy:false,cache:service_started:true`.
fn depends_on(target: &Target, labels: &Labels, report: &mut Report<'_>) -> Vec<NeedWish> {
    let Some(text) = labels.get(COMPOSE_DEPENDS_ON) else {
        return Vec::new();
    };
    let place = label_place(target, COMPOSE_DEPENDS_ON);
    if text.len() > TEXT_MAX {
        let message = format!("{} is too long to be read", quote(COMPOSE_DEPENDS_ON));
        report.add(Finding::warning("ignored-need", message).at(place));
        return Vec::new();
    }
    let mut needs = Vec::new();
    for item in text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let mut parts = item.split(':');
        let service = parts.next().unwrap_or_default();
        let until = match parts.next() {
            Some("service_started") => Some(Until::Started),
            Some("service_healthy") | None => Some(Until::Ready),
            Some("service_completed_successfully") => Some(Until::Completed),
            Some(_) => None,
        };
        match until.filter(|_| values::check_name(service).is_ok()) {
            Some(until) => {
                let on = Wanted::Service(service.to_owned());
                needs.push(NeedWish {
                    on,
                    until,
                    place: place.clone(),
                });
            }
            None => {
                let message = format!("{} of `depends_on` is not understood", quote(item));
                report.add(Finding::warning("ignored-need", message).at(place.clone()));
            }
        }
    }
    needs
}

fn ours(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels
        .range(PREFIX.to_owned()..)
        .take_while(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, text)| (key.as_str(), text.as_str()))
}

/// What `dormouse.enable` says; a text that is neither is a workload that is misconfigured.
fn says_enable(labels: &Labels) -> Option<bool> {
    labels
        .get("dormouse.enable")
        .map(|text| !text.eq_ignore_ascii_case("false"))
}

fn names_a_host(key: &str) -> bool {
    matches!(key, "dormouse.host" | "dormouse.hosts") || key.starts_with("dormouse.route.")
}

/// Labels of ours that define nothing, because none of them says that there is a workload.
fn idle_labels(target: &Target, keys: &[&str]) -> Finding {
    let first = keys.first().copied().unwrap_or(PREFIX);
    let message = format!(
        "{} has no effect without `dormouse.enable` or a host",
        quote(first)
    );
    let finding = Finding::warning("idle-label", message).at(label_place(target, first));
    let wanted = ["dormouse.enable", "dormouse.host", "dormouse.hosts"];
    match keys.iter().find_map(|key| nearest(key, wanted)) {
        Some(meant) => finding.with_hint(format!("did you mean `{meant}`?")),
        None => finding.with_hint("set dormouse.enable=true"),
    }
}

/// What is shown of a workload whose labels are wrong.
fn verdict(findings: &[Finding]) -> Option<String> {
    let mut errors = findings.iter().filter(|finding| finding.is_error());
    let first = errors.next()?;
    Some(match errors.count() {
        0 => first.message.clone(),
        more => format!("{}, and {more} more", first.message),
    })
}

fn label_place(target: &Target, key: &str) -> Place {
    Place::Label {
        target: target.to_string(),
        key: key.chars().take(KEY_MAX).collect(),
    }
}

#[cfg(test)]
mod tests;
