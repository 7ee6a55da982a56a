//! Reads the labels of a container: the same keys as the file's, flat, in text that nobody vouches
//! for.
//!
//! Whatever a label says, only the workload of its own container is affected, and where that
//! workload is reached never comes from a label.

mod compose;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_core::findings::{Finding, Place};
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::Target;

use crate::config::report::{Report, nearest, quote};
use crate::config::section::{Section, Title};
use crate::config::settings::{Draft, NeedWish, Origin, RouteWish, Treatment};
use crate::config::{listeners, routes, treatment, values, workload};
use crate::registry::{ListenerSpec, RouteSpec};

pub(crate) use compose::compose_service;

/// The labels of one thing at a runtime.
pub type Labels = BTreeMap<String, String>;

/// What all labels of ours begin with.
const PREFIX: &str = "dormouse.";

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
        None if keys.iter().any(|key| leads_here(key)) => {
            read_enabled(environment, target, labels, defaults)
        }
        None => Labelled { draft: None, findings: vec![idle_labels(target, &keys)] },
    }
}

fn read_enabled(
    environment: &EnvironmentName,
    target: &Target,
    labels: &Labels,
    defaults: &Treatment,
) -> Labelled {
    let mut report = Report::new(&|_| None);
    if let Some(finding) = illegal_own_name(target) {
        return Labelled { draft: None, findings: vec![finding] };
    }
    report.turn_to(Some(WorkloadId::new(environment, target.as_str()).to_string()));
    let name = name_of(target, labels, &mut report);
    let id = WorkloadId::new(environment, &name);
    report.turn_to(Some(id.to_string()));
    let root = tree::tree_of(target, labels, &mut report);
    let title = Title { name: "dormouse".into(), pattern: String::new() };
    let mut section =
        Section::of(&root, &root.spot, &title).expect("the root is a table, and bounded");
    let mut treatment = defaults.clone();
    let (routes, listeners, needs) = read_keys(&mut section, &mut treatment, &mut report);
    section.close(&mut report);
    let compose = compose_service(labels);
    let mut needs = needs;
    if compose.is_some() {
        needs.extend(compose::depends_on(target, labels, &mut report));
    }
    let findings = report.into_findings();
    let draft = Draft {
        id,
        environment: environment.clone(),
        target: target.clone(),
        launch: None,
        treatment,
        needs,
        routes,
        listeners,
        misconfigured: verdict(&findings),
        origin: Origin::Labels,
        place: label_place(target, "dormouse"),
        compose: compose.map(Box::new),
    };
    Labelled { draft: Some(draft), findings }
}

fn read_keys(
    section: &mut Section<'_>,
    treatment: &mut Treatment,
    report: &mut Report<'_>,
) -> (Vec<RouteWish>, Vec<ListenerSpec>, Vec<NeedWish>) {
    section.read(report, "enable", values::flag);
    // The name was read before everything else.
    section.take(report, "name");
    treatment::read(section, treatment, report);
    let mut hosts = routes::read_hosts(section, "host", report);
    hosts.extend(routes::read_hosts(section, "hosts", report));
    let (port, scheme) = routes::read_end(section, report);
    let scheme = scheme.unwrap_or_default();
    let mut routes: Vec<RouteWish> = hosts
        .into_iter()
        .map(|(pattern, place)| RouteWish { spec: RouteSpec { pattern, port, scheme }, place })
        .collect();
    let title = section.title("route");
    let table = section.take(report, "route");
    if let Some(mut table) = table.and_then(|entry| Section::open(entry, &title, report)) {
        for entry in table.take_all() {
            if let Some(section) = Section::open(entry, &title.named(&entry.key), report) {
                routes::read_route(section, scheme, &mut routes, report);
            }
        }
    }
    let needs = workload::read_needs(section, report);
    let listeners = listeners::read_named(section, report);
    listeners::refuse_unnamed_port(section, &routes, &listeners, report);
    let policy = Arc::make_mut(&mut treatment.policy);
    policy.ports = routes::ports_of(port, &routes, &listeners);
    policy.udp_ports = routes::udp_ports_of(&listeners);
    (routes, listeners, needs)
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

fn ours(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels
        .range(PREFIX.to_owned()..)
        .take_while(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, text)| (key.as_str(), text.as_str()))
}

/// What `dormouse.enable` says; a text that is neither is a workload that is misconfigured.
fn says_enable(labels: &Labels) -> Option<bool> {
    labels.get("dormouse.enable").map(|text| !text.eq_ignore_ascii_case("false"))
}

/// Whether a label says on its own that there is a workload, for somebody is to reach it.
fn leads_here(key: &str) -> bool {
    let folders = ["dormouse.route.", "dormouse.tcp.", "dormouse.udp."];
    matches!(key, "dormouse.host" | "dormouse.hosts")
        || folders.iter().any(|folder| key.starts_with(folder))
}

/// Labels of ours that define nothing, because none of them says that there is a workload.
fn idle_labels(target: &Target, keys: &[&str]) -> Finding {
    let first = keys.first().copied().unwrap_or(PREFIX);
    let message = format!("{} has no effect without `dormouse.enable` or a host", quote(first));
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
    let key: String = key.chars().take(tree::KEY_MAX).collect();
    Place::Label { target: target.as_str().into(), key: key.into() }
}
