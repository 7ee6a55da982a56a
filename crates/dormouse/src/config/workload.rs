//! Reads `[workload.NAME]`.

use std::collections::BTreeMap;

use dormouse_core::policy::Until;
use dormouse_core::routes::Pattern;
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_providers::{LaunchSpec, Target};
use dormouse_proxy::Scheme;

use super::environment::{Known, PROCESS};
use super::report::{Flaw, Report, nearest, quote};
use super::section::{Section, Title};
use super::settings::{
    Draft, EnvironmentKind, EnvironmentSpec, NeedWish, Origin, RouteWish, Treatment, Wanted,
};
use super::treatment;
use super::tree::{Entry, Node, Value};
use super::values::{self, Word};
use crate::registry::RouteSpec;

const SCHEMES: [Word<Scheme>; 2] = [("http", Scheme::Http), ("h2c", Scheme::H2c)];

const LATER_SCHEMES: [&str; 1] = ["https"];

const UNTILS: [Word<Until>; 3] = [
    ("started", Until::Started),
    ("ready", Until::Ready),
    ("completed", Until::Completed),
];

/// What one workload of the file lives on.
struct Home {
    environment: EnvironmentName,
    target: Target,
    launch: Option<LaunchSpec>,
}

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
    for entry in section.take_all() {
        if let Err(flaw) = values::check_name(&entry.key) {
            section.flaw(report, entry, flaw.at(&entry.spot));
            continue;
        }
        report.turn_to(Some(entry.key.clone()));
        if let Some(section) = Section::open(entry, &title.named(&entry.key), report) {
            drafts.extend(read(entry, section, defaults, known, report));
        }
        report.turn_to(None);
    }
    section.close(report);
    drafts
}

/// Reads the scheme and the port of a route from `section`.
pub(crate) fn read_end(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> (Option<u16>, Option<Scheme>) {
    (
        section.read(report, "port", values::port),
        section.read(report, "scheme", scheme),
    )
}

/// Reads the patterns of the key `key`.
pub(crate) fn read_hosts(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Vec<(Pattern, dormouse_core::findings::Place)> {
    let read = |node: &Node| pattern(node).map(|pattern| (pattern, node.spot.place()));
    section.read_list(report, key, read).unwrap_or_default()
}

/// Reads `needs`.
pub(crate) fn read_needs(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<NeedWish> {
    section.read_list(report, "needs", need).unwrap_or_default()
}

/// Makes the ports of the routes those of the policy, the first route's first.
pub(crate) fn ports_of(main: Option<u16>, routes: &[RouteWish]) -> Vec<u16> {
    let mut ports: Vec<u16> = main.into_iter().collect();
    for port in routes.iter().filter_map(|route| route.spec.port) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

fn read(
    entry: &Entry,
    mut section: Section<'_>,
    defaults: &Treatment,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Draft> {
    let (port, scheme) = read_end(&mut section, report);
    let home = read_home(&entry.key, &mut section, port, known, report);
    if let Some(home) = &home {
        let id = WorkloadId::new(&home.environment, &entry.key);
        report.turn_to(Some(id.to_string()));
    }
    let mut treatment = defaults.clone();
    treatment::read(&mut section, &mut treatment, report);
    let hosts = read_hosts(&mut section, "hosts", report);
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
    read_routes(&mut section, scheme, &mut routes, report);
    let needs = read_needs(&mut section, report);
    section.not_yet(report, &["tcp", "udp"]);
    section.close(report);
    let Home {
        environment,
        target,
        launch,
    } = home?;
    treatment.policy.ports = ports_of(port, &routes);
    Some(Draft {
        name: entry.key.clone(),
        environment,
        target,
        launch,
        treatment,
        needs,
        routes,
        misconfigured: None,
        origin: Origin::File,
        place: entry.spot.place(),
        compose: None,
    })
}

/// Reads `routes`, a list of tables.
fn read_routes(
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
        section.flaw(
            report,
            entry,
            values::wrong_kind("a list of tables", &entry.node),
        );
        return;
    };
    for item in items {
        match Section::of(item, &item.spot, &title) {
            Ok(section) => read_route(section, scheme, routes, report),
            Err(flaw) => section.flaw(report, entry, flaw.at(&item.spot)),
        }
    }
}

fn read_route(
    mut section: Section<'_>,
    scheme: Scheme,
    routes: &mut Vec<RouteWish>,
    report: &mut Report<'_>,
) {
    let hosts = read_hosts(&mut section, "host", report);
    let (port, own_scheme) = read_end(&mut section, report);
    if !section.has("host") {
        section.complain(
            report,
            Flaw::new("has an entry without `host`").slug("missing-key"),
        );
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

/// Reads what the workload is at its runtime: a target, or a command.
fn read_home(
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
        let flaw = Flaw::new(format!(
            "names {}, whose workloads have a `command`",
            quote(text)
        ));
        section.flaw(report, entry, flaw);
        return None;
    }
    Some(Home {
        environment,
        target: Target::new(&target),
        launch: None,
    })
}

fn process_home(
    name: &str,
    environment: Option<String>,
    launch: LaunchSpec,
    section: &Section<'_>,
    known: &Known,
    report: &mut Report<'_>,
) -> Option<Home> {
    let entry = section
        .peek("environment")
        .or(section.peek("command"))
        .expect("the caller read it");
    let environment = match environment {
        Some(environment) => {
            check_environment(&environment, entry, section, known, report)?;
            EnvironmentName::new(&environment)
        }
        None => EnvironmentName::new(PROCESS),
    };
    if let Some(EnvironmentKind::Docker(_)) = known.specs.get(&environment).map(|spec| &spec.kind) {
        let name = quote(environment.as_str());
        let flaw = Flaw::new(format!(
            "would run in {name}, which is not one of processes"
        ));
        let hint =
            "give environments of containers another name, and those of processes process = true";
        section.flaw(report, entry, flaw.hint(hint));
        return None;
    }
    Some(Home {
        environment,
        target: Target::new(name),
        launch: Some(launch),
    })
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
    let flaw = Flaw::new(format!(
        "names the environment {}, which is not defined",
        quote(environment)
    ))
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
    Some(LaunchSpec {
        command,
        env,
        folder,
        port,
    })
}

fn command(node: &Node) -> Result<Vec<String>, Flaw> {
    let Value::List(items) = &node.value else {
        let flaw = values::wrong_kind("a list", node);
        return Err(flaw.hint("say [\"./app\", \"--port\", \"$PORT\"]; no shell reads it"));
    };
    let words: Result<Vec<String>, Flaw> = items
        .iter()
        .map(|item| values::text(item).map_err(|flaw| flaw.at(&item.spot)))
        .collect();
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

fn scheme(node: &Node) -> Result<Scheme, Flaw> {
    values::word_or_later(node, &SCHEMES, &LATER_SCHEMES)
}

fn pattern(node: &Node) -> Result<Pattern, Flaw> {
    let text = values::filled(node)?;
    Pattern::parse(&text).map_err(|error| {
        let flaw = Flaw::new(format!(
            "has {}, which is not a hostname: {error}",
            quote(&text)
        ));
        flaw.hint("say \"example.com\", \"*.example.com\" or \"example.com/path\"")
    })
}

/// Reads `db`, `cache:started`, `env/db:ready`.
fn need(node: &Node) -> Result<NeedWish, Flaw> {
    let text = values::filled(node)?;
    let (name, until) = match text.rsplit_once(':') {
        Some((name, until)) => {
            let word = Node {
                value: Value::Flat(until.trim().into()),
                spot: node.spot.clone(),
            };
            (name.trim(), values::word(&word, &UNTILS)?)
        }
        None => (text.trim(), Until::Ready),
    };
    let (environment, workload) = name
        .split_once('/')
        .map_or((None, name), |(environment, name)| {
            (Some(environment), name)
        });
    let legal = |name: &str| values::check_name(name).is_ok();
    if !legal(workload) || !environment.is_none_or(legal) {
        let flaw = Flaw::new(format!("has {}, which cannot be a workload", quote(name)));
        return Err(flaw.hint("say \"db\", \"db:started\" or \"environment/db:completed\""));
    }
    Ok(NeedWish {
        on: Wanted::Workload(name.to_owned()),
        until,
        place: node.spot.place(),
    })
}
