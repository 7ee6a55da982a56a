//! Reads `[environment.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse_core::EnvironmentName;

use super::address;
use super::quantities;
use super::report::{Flaw, Report};
use super::secret;
use super::section::{Section, Title};
use super::settings::{DockerSpec, Draft, EnvironmentKind, EnvironmentSpec, TlsSpec};
use super::tree::{Entry, Node, Value};
use super::values::{self, Word};

/// The environment of workloads that have a `command` and name no environment.
pub(crate) const PROCESS: &str = "process";

/// How often counters are read when nothing is said.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// The environments of the file.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) specs: BTreeMap<EnvironmentName, EnvironmentSpec>,
    /// Every name, also of those that are not right.
    pub(crate) names: BTreeSet<String>,
}

pub(crate) fn read_all(entry: Option<&Entry>, report: &mut Report<'_>) -> Known {
    let mut known = Known::default();
    let title = Title::new("environment");
    let Some(entry) = entry else { return known };
    let Some(mut section) = Section::open(entry, &title, report) else {
        return known;
    };
    for entry in section.take_all() {
        known.names.insert(entry.key.clone());
        if let Err(flaw) = values::check_name(&entry.key) {
            section.flaw(report, entry, flaw.at(&entry.spot));
            continue;
        }
        let opened = Section::open(entry, &title.named(&entry.key), report);
        let name = EnvironmentName::new(&entry.key);
        if let Some(spec) = opened.and_then(|section| read(name.clone(), section, report)) {
            known.specs.insert(name, spec);
        }
    }
    section.close(report);
    known
}

/// The environments with that of plain processes, where a workload lives in it.
pub(crate) fn with_implicit(
    mut specs: BTreeMap<EnvironmentName, EnvironmentSpec>,
    workloads: &[Draft],
) -> BTreeMap<EnvironmentName, EnvironmentSpec> {
    let name = EnvironmentName::new(PROCESS);
    if !specs.contains_key(&name) && workloads.iter().any(|draft| draft.environment == name) {
        let kind = EnvironmentKind::Process;
        specs.insert(
            name.clone(),
            EnvironmentSpec { name, kind, labels: false, sample_interval: None },
        );
    }
    specs
}

fn read(
    name: EnvironmentName,
    mut section: Section<'_>,
    report: &mut Report<'_>,
) -> Option<EnvironmentSpec> {
    let docker = read_docker(&mut section, report);
    let process = section.read(report, "process", values::flag);
    let labels_entry = section.take(report, "labels");
    let labels = labels_entry.map(|entry| read_labels(entry, &section, report));
    let sample_interval = section.read(report, "sample_interval", quantities::sample_interval);
    let sample_interval = sample_interval.unwrap_or(Some(SAMPLE_INTERVAL));
    section.not_yet(report, &["proxmox", "swarm", "kubernetes", "microvm"]);
    let declared = section.has("docker") || section.has("process") || section.has("proxmox");
    let spec = match (docker, process) {
        (Some(docker), None | Some(false)) => {
            let kind = EnvironmentKind::Docker(docker);
            let labels = labels.unwrap_or(true);
            Some(EnvironmentSpec { name, kind, labels, sample_interval })
        }
        (Some(_), Some(true)) => {
            let flaw = Flaw::new("is of two kinds, docker and process");
            section.complain(report, flaw.hint("make it two environments"));
            None
        }
        (None, Some(true)) => {
            refuse_engine_keys(&section, report);
            let kind = EnvironmentKind::Process;
            Some(EnvironmentSpec { name, kind, labels: false, sample_interval: None })
        }
        (None, None | Some(false)) => {
            if !declared {
                let flaw = Flaw::new("does not say which runtime it is");
                let hint = "say docker = \"unix:///var/run/docker.sock\", or process = true";
                section.complain(report, flaw.hint(hint).slug("missing-key"));
            }
            None
        }
    };
    section.close(report);
    spec
}

fn read_docker(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<DockerSpec> {
    let env = report.env;
    let address = section.read(report, "docker", address::docker);
    let tls_entry = section.take(report, "tls");
    let title = section.title("tls");
    let tls = tls_entry
        .and_then(|entry| Section::open(entry, &title, report))
        .map(|tls| read_tls(tls, report));
    let token = section.read(report, "token", |node| secret::secret(node, env));
    let network = section.read(report, "network", values::filled);
    let address = address?;
    if let (Some(entry), Some(misfit)) = (tls_entry, address.tls_misfit()) {
        let flaw = Flaw::new(format!("has no meaning here: {misfit}"));
        section.flaw(report, entry, flaw.hint("TLS is spoken to https:// addresses"));
    }
    Some(DockerSpec { address, tls, token, network })
}

pub(crate) fn read_tls(mut section: Section<'_>, report: &mut Report<'_>) -> TlsSpec {
    let env = report.env;
    let pem = |node: &Node| secret::pem(node, env);
    let tls = TlsSpec {
        ca: section.read(report, "ca", pem),
        cert: section.read(report, "cert", pem),
        key: section.read(report, "key", pem),
        server_name: section.read(report, "server_name", values::filled),
        insecure: section.read(report, "insecure", values::flag).unwrap_or(false),
    };
    if section.has("cert") != section.has("key") {
        let flaw = Flaw::new("needs both `cert` and `key`, or neither");
        section.complain(report, flaw.slug("missing-key"));
    }
    section.close(report);
    tls
}

/// Whether labels are read: `true`, `false`, or a list with the systems whose labels are.
fn read_labels(entry: &Entry, section: &Section<'_>, report: &mut Report<'_>) -> bool {
    const FAMILIES: [Word<bool>; 3] = [("dormouse", true), ("godoxy", false), ("sablier", false)];
    if let Value::Flag(flag) = entry.node.value {
        return flag;
    }
    let mut ours = false;
    match values::items(&entry.node) {
        Ok(items) => {
            for item in items.iter() {
                match values::word(item, &FAMILIES) {
                    Ok(true) => ours = true,
                    Ok(false) => {
                        let flaw = Flaw::not_yet(&values::text(item).unwrap_or_default());
                        section.flaw(report, entry, flaw.at(&item.spot));
                    }
                    Err(flaw) => section.flaw(report, entry, flaw.at(&item.spot)),
                }
            }
        }
        Err(_) => {
            section.flaw(report, entry, values::wrong_kind("true, false or a list", &entry.node))
        }
    }
    ours
}

fn refuse_engine_keys(section: &Section<'_>, report: &mut Report<'_>) {
    for key in ["tls", "token", "network", "labels", "sample_interval"] {
        if let Some(entry) = section.peek(key) {
            let flaw = Flaw::new("has no meaning for an environment of processes");
            section.flaw(report, entry, flaw.at(&entry.spot));
        }
    }
}
