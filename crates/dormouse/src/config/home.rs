//! Reads what a workload is at its runtime: a target, or a command.

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_core::EnvironmentName;
use dormouse_providers::{LaunchSpec, Target};

use super::environment::{Known, PROCESS};
use super::report::{Flaw, Report, nearest, quote};
use super::section::Section;
use super::settings::{EnvironmentKind, EnvironmentSpec};
use super::tree::{Entry, Node, Value};
use super::values;

/// What one workload of the file lives on.
pub(crate) struct Home {
    pub(crate) environment: EnvironmentName,
    pub(crate) target: Target,
    pub(crate) launch: Option<Arc<LaunchSpec>>,
}

/// Reads what the workload is at its runtime: a target, or a command.
pub(crate) fn read(
    name: &str,
    section: &mut Section<'_>,
    port: Option<u16>,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Home> {
    let environment = section.read(report, "environment", values::filled);
    let target = section.read(report, "target", values::filled);
    let launch = read_launch(section, port, report);
    match (section.has("target"), section.has("command")) {
        (true, true) => {
            let flaw = Flaw::new("has both a `target` and a `command`");
            section.complain(report, flaw.hint("a workload is one or the other"));
            None
        }
        (false, false) => {
            let flaw = Flaw::new("says neither `target` nor `command`").slug("missing-key");
            let hint = "say target = \"ENVIRONMENT/NAME\", or command = [\"./app\", \"--port\", \"$PORT\"]";
            section.complain(report, flaw.hint(hint));
            None
        }
        (true, false) => containers_home(environment, &target?, section, known, report),
        (false, true) => process_home(name, environment, launch?, section, known, report),
    }
}

fn containers_home(
    environment: Option<String>,
    text: &str,
    section: &Section<'_>,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Home> {
    let entry = section.peek("target").expect("the caller read it");
    for key in ["env", "folder"] {
        if let Some(entry) = section.peek(key) {
            let flaw = Flaw::new("has no meaning without `command`").at(&entry.spot);
            section.flaw(report, entry, flaw);
        }
    }
    let (environment, target) = match environment {
        Some(environment) => {
            let prefix = format!("{environment}/");
            let target = text.strip_prefix(&prefix).unwrap_or(text).to_owned();
            (environment, target)
        }
        None => match text.split_once('/') {
            Some((environment, target)) => (environment.to_owned(), target.to_owned()),
            None => {
                let flaw = Flaw::new("does not name its environment");
                let docker =
                    |spec: &&EnvironmentSpec| matches!(spec.kind, EnvironmentKind::Docker(_));
                let first = known.specs.values().find(docker);
                let first = first.map_or("local", |spec| spec.name.as_str());
                section.flaw(report, entry, flaw.hint(format!("say \"{first}/{text}\"")));
                return None;
            }
        },
    };
    if target.is_empty() || target.contains('/') {
        let flaw = Flaw::new(format!("names nothing that can be: {}", quote(text)));
        section.flaw(report, entry, flaw.hint("say \"ENVIRONMENT/NAME\""));
        return None;
    }
    let entry = section.peek("environment").unwrap_or(entry);
    check_environment(&environment, entry, section, known, report)?;
    let environment = EnvironmentName::new(&environment);
    if let Some(EnvironmentKind::Process) = known.specs.get(&environment).map(|spec| &spec.kind) {
        let flaw = Flaw::new(format!("names {}, whose workloads have a `command`", quote(text)));
        section.flaw(report, entry, flaw);
        return None;
    }
    Some(Home { environment, target: Target::new(&target), launch: None })
}

fn process_home(
    name: &str,
    environment: Option<String>,
    launch: LaunchSpec,
    section: &Section<'_>,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Home> {
    let entry =
        section.peek("environment").or(section.peek("command")).expect("the caller read it");
    let environment = match environment {
        Some(environment) if environment != PROCESS => {
            check_environment(&environment, entry, section, known, report)?;
            EnvironmentName::new(&environment)
        }
        Some(_) | None => EnvironmentName::new(PROCESS),
    };
    if let Some(EnvironmentKind::Docker(_)) = known.specs.get(&environment).map(|spec| &spec.kind) {
        let name = quote(environment.as_str());
        let flaw = Flaw::new(format!("would run in {name}, which is not one of processes"));
        let hint =
            "give environments of containers another name, and those of processes process = true";
        section.flaw(report, entry, flaw.hint(hint));
        return None;
    }
    Some(Home { environment, target: Target::new(name), launch: Some(Arc::new(launch)) })
}

fn check_environment(
    environment: &str,
    entry: &Entry,
    section: &Section<'_>,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<()> {
    if known.names.contains(environment) {
        return Some(());
    }
    let flaw =
        Flaw::new(format!("names the environment {}, which is not defined", quote(environment)))
            .slug("unknown-environment");
    let flaw = match nearest(environment, known.names.iter().map(String::as_str)) {
        Some(name) => flaw.hint(format!("did you mean `{name}`?")),
        None => flaw.hint(format!("define it as [environment.{environment}]")),
    };
    section.flaw(report, entry, flaw);
    None
}

fn read_launch(
    section: &mut Section<'_>,
    port: Option<u16>,
    report: &mut Report<'_>,
) -> Option<LaunchSpec> {
    let folder = section.read(report, "folder", values::path);
    let env = section.read(report, "env", env_vars).unwrap_or_default();
    let command = section.read(report, "command", command)?;
    Some(LaunchSpec { command, env, folder, port, ..LaunchSpec::default() })
}

fn command(node: &Node) -> Result<Vec<String>, Flaw> {
    let Value::List(items) = &node.value else {
        let flaw = values::wrong_kind("a list", node);
        return Err(flaw.hint("say [\"./app\", \"--port\", \"$PORT\"]; no shell reads it"));
    };
    let words: Result<Vec<String>, Flaw> =
        items.iter().map(|item| values::text(item).map_err(|flaw| flaw.at(&item.spot))).collect();
    match words? {
        words if words.first().is_none_or(String::is_empty) => {
            Err(Flaw::new("must begin with a program"))
        }
        words => Ok(words),
    }
}

fn env_vars(node: &Node) -> Result<BTreeMap<String, String>, Flaw> {
    let Value::Table(entries) = &node.value else {
        return Err(values::wrong_kind("a table of env vars", node));
    };
    let mut vars = BTreeMap::new();
    for entry in entries {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            return Err(Flaw::new("has a name that no env var can have").at(&entry.spot));
        }
        let text = values::text(&entry.node).map_err(|flaw| flaw.at(&entry.node.spot))?;
        vars.insert(entry.key.clone(), text);
    }
    Ok(vars)
}
