//! Reads `[watch.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use dormouse_core::watch::{Flaw as PolicyFlaw, Policy, Settings as PolicySettings};
use dormouse_keeper::probe::{Target, TargetError, Wire};

use super::environment;
use super::quantities;
use super::report::{EnvLookup, Flaw, Report, quote};
use super::secret::{self, Secret};
use super::section::{Section, Title};
use super::settings::TlsSpec;
use super::tree::{Entry, Node, Value};
use super::values;

/// The statuses that count as reached when nothing is said.
const STATUS: RangeInclusive<u16> = 200..=399;
/// The longest text that is looked for in a body.
const BODY_MAX: usize = 1024;
/// The most words of a command.
const WORDS_MAX: usize = 256;

/// A watch as the file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchSpec {
    /// What is probed.
    pub target: Target,
    /// The statuses that count as reached, for a page.
    pub status: RangeInclusive<u16>,
    /// What the body must have, for a page.
    pub body: Option<String>,
    /// How TLS is spoken, where it is with more than this machine's roots.
    pub tls: Option<TlsSpec>,
    /// When it is probed.
    pub policy: Policy,
    /// What follows when it comes up.
    pub on_ready: Option<HookSpec>,
    /// What follows when it goes down.
    pub on_down: Option<HookSpec>,
    /// The env vars with secrets, which no command gets.
    pub withheld: BTreeSet<String>,
}

/// What follows a transition.
#[derive(Clone, Debug, PartialEq)]
pub enum HookSpec {
    /// A POST to this URL, which may carry a token of whoever listens there.
    Webhook(Secret),
    /// A program and its arguments.
    Command(Vec<String>),
}

impl HookSpec {
    /// The page that a webhook is sent to; none for a command.
    pub fn page(&self) -> Option<Target> {
        match self {
            Self::Webhook(url) => page(url).ok(),
            Self::Command(_) => None,
        }
    }
}

/// Reads all watches, by name.
pub(crate) fn read_all(
    entry: Option<&Entry>,
    report: &mut Report<'_>,
) -> BTreeMap<String, WatchSpec> {
    let mut watches = BTreeMap::new();
    let title = Title::new("watch");
    let Some(mut section) = entry.and_then(|entry| Section::open(entry, &title, report)) else {
        return watches;
    };
    for entry in section.take_all() {
        if let Err(flaw) = values::check_name(&entry.key) {
            section.flaw(report, entry, flaw.at(&entry.spot));
            continue;
        }
        let opened = Section::open(entry, &title.named(&entry.key), report);
        if let Some(spec) = opened.and_then(|section| read(section, report)) {
            watches.insert(entry.key.clone(), spec);
        }
    }
    section.close(report);
    watches
}

fn read(mut section: Section<'_>, report: &mut Report<'_>) -> Option<WatchSpec> {
    let env = report.env;
    let target = section.read(report, "probe", target);
    if !section.has("probe") {
        let flaw = Flaw::new("does not say what to probe").slug("missing-key");
        section.complain(report, flaw.hint("say probe = \"http://…\", or another kind of target"));
    }
    let status = section.read(report, "status", quantities::status_range);
    let body = section.read(report, "body", body);
    let tls_entry = section.take(report, "tls");
    let tls_title = section.title("tls");
    let tls = tls_entry
        .and_then(|entry| Section::open(entry, &tls_title, report))
        .map(|tls| environment::read_tls(tls, report));
    let policy = read_policy(&mut section, report);
    let on_ready = section.read(report, "on_ready", |node| hook(node, env));
    let on_down = section.read(report, "on_down", |node| hook(node, env));
    if let Some(target) = &target {
        refuse_what_has_no_meaning(target, &section, report);
    }
    section.close(report);
    let status = status.unwrap_or(STATUS);
    let withheld = BTreeSet::new();
    Some(WatchSpec {
        target: target?,
        status,
        body,
        tls,
        policy: policy?,
        on_ready,
        on_down,
        withheld,
    })
}

fn read_policy(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Policy> {
    let mut settings = PolicySettings::default();
    let times = [
        ("initial_delay", &mut settings.initial_delay),
        ("max_delay", &mut settings.max_delay),
        ("poll_interval", &mut settings.poll_interval),
        ("probe_timeout", &mut settings.probe_timeout),
    ];
    for (key, set) in times {
        if let Some(time) = section.read(report, key, quantities::duration) {
            *set = time;
        }
    }
    let counts = [
        ("max_retries", &mut settings.max_retries),
        ("fall", &mut settings.fall),
        ("rise", &mut settings.rise),
    ];
    for (key, set) in counts {
        if let Some(count) = section.read(report, key, count) {
            *set = count;
        }
    }
    if let Some(multiplier) = section.read(report, "multiplier", values::number) {
        settings.multiplier = multiplier;
    }
    match settings.validated() {
        Ok(policy) => Some(policy),
        Err(flaws) => {
            for flaw in flaws {
                report_policy_flaw(flaw, section, report);
            }
            None
        }
    }
}

/// Only a value that stands there can be wrong, for the defaults are right: of two that do not fit
/// together, one does.
fn report_policy_flaw(flaw: PolicyFlaw, section: &Section<'_>, report: &mut Report<'_>) {
    let (message, keys) = match flaw {
        PolicyFlaw::Multiplier => ("must be a number from 1 to 1000", ["multiplier", "multiplier"]),
        PolicyFlaw::InitialDelayAboveMax => {
            let message = "does not fit: initial_delay must not be longer than max_delay";
            (message, ["initial_delay", "max_delay"])
        }
        PolicyFlaw::Time { key } => ("must be from 1ms to 7d", [key, key]),
        PolicyFlaw::Count { key } => ("must be from 1 to 10000", [key, key]),
    };
    if let Some(entry) = keys.into_iter().find_map(|key| section.peek(key)) {
        section.flaw(report, entry, Flaw::new(message));
    }
}

fn count(node: &Node) -> Result<u32, Flaw> {
    let most = i64::from(dormouse_core::limits::WATCH_COUNT_MAX);
    let number = values::whole(node, 1..=most)?;
    Ok(u32::try_from(number).expect("the range fits"))
}

fn body(node: &Node) -> Result<String, Flaw> {
    let text = values::filled(node)?;
    if text.len() > BODY_MAX {
        return Err(Flaw::new(format!("is longer than {BODY_MAX} bytes")));
    }
    Ok(text)
}

/// A URL, or `{ command = [...] }`.
fn target(node: &Node) -> Result<Target, Flaw> {
    if let Value::Table(entries) = &node.value {
        return match entries.as_slice() {
            [entry] if entry.key == "command" => words(&entry.node).map(Target::Command),
            _ => Err(Flaw::new("must be a URL or { command = [\"program\", \"argument\"] }")),
        };
    }
    values::filled(node)?.parse().map_err(target_flaw)
}

fn target_flaw(error: TargetError) -> Flaw {
    let hint = match &error {
        TargetError::NotUrl => {
            "say http://host/path, https://…, tcp://host:port, unix:///path, dns://name, \
             grpc://host:port or { command = [\"program\"] }"
        }
        TargetError::Scheme(scheme) => {
            let known = ["http", "https", "tcp", "unix", "dns", "grpc", "grpcs"];
            let nearest = super::report::nearest(scheme, known);
            let hint = match nearest {
                Some(known) => format!("did you mean \"{known}://\"?"),
                None => {
                    format!("say one of {}", known.map(|known| format!("{known}://")).join(", "))
                }
            };
            return Flaw::new(format!("begins with {}, which no probe speaks", quote(scheme)))
                .hint(hint);
        }
        TargetError::NoHost => "say http://host/path or tcp://host:port",
        TargetError::NoPort => "say the port, such as tcp://host:5432",
        TargetError::Credentials => "a probe sends no name and no password",
        TargetError::Surplus => "say tcp://host:port or grpc://host:port/package.Service",
        TargetError::NotPath => "say unix:///run/app.sock, with three slashes",
        TargetError::NotDnsName => "say dns://name, or dns://server/name to ask a certain server",
        TargetError::Record => "say ?type=A or ?type=AAAA",
    };
    Flaw::new(error.to_string()).hint(hint)
}

/// A URL, a secret that is one, or `{ command = [...] }`.
fn hook(node: &Node, env: EnvLookup<'_>) -> Result<HookSpec, Flaw> {
    if let Value::Table(entries) = &node.value
        && let [entry] = entries.as_slice()
        && entry.key == "command"
    {
        return words(&entry.node).map(HookSpec::Command);
    }
    let shape = "say \"https://…\", { env = \"NAME\" }, { file = \"path\" } or \
                 { command = [\"program\"] }";
    let url = secret::secret(node, env).map_err(|flaw| match flaw.hint {
        Some(_) => flaw,
        None => flaw.hint(shape),
    })?;
    match page(&url) {
        Ok(_) => Ok(HookSpec::Webhook(url)),
        Err(flaw) => Err(flaw.hint("say http://host/path or https://host/path")),
    }
}

/// What is wrong with the URL of a webhook is said without repeating it.
fn page(url: &Secret) -> Result<Target, Flaw> {
    match url.reveal().parse() {
        Ok(target @ Target::Http(_)) => Ok(target),
        Ok(
            Target::Tcp(_)
            | Target::Unix(_)
            | Target::Dns(_)
            | Target::Grpc(_)
            | Target::Command(_),
        )
        | Err(TargetError::Scheme(_)) => Err(Flaw::new("must be an http:// or https:// URL")),
        Err(error) => Err(Flaw::new(error.to_string())),
    }
}

fn words(node: &Node) -> Result<Vec<String>, Flaw> {
    let Value::List(items) = &node.value else {
        let flaw = Flaw::new("must be a list of the program and its arguments; no shell reads it");
        return Err(flaw.at(&node.spot));
    };
    if items.is_empty() || items.len() > WORDS_MAX {
        let flaw = Flaw::new(format!("must name a program, and have at most {WORDS_MAX} words"));
        return Err(flaw.at(&node.spot));
    }
    let word = |(position, item): (usize, &Node)| {
        let read = if position == 0 { values::filled(item) } else { values::text(item) };
        read.map_err(|flaw| flaw.at(&item.spot))
    };
    items.iter().enumerate().map(word).collect()
}

fn refuse_what_has_no_meaning(target: &Target, section: &Section<'_>, report: &mut Report<'_>) {
    let is_page = matches!(target, Target::Http(_));
    let is_encrypted = match target {
        Target::Http(page) => page.wire == Wire::Tls,
        Target::Grpc(service) => service.wire == Wire::Tls,
        Target::Tcp(_) | Target::Unix(_) | Target::Dns(_) | Target::Command(_) => false,
    };
    let keys = [("status", is_page), ("body", is_page), ("tls", is_encrypted)];
    for (key, has_meaning) in keys {
        if let (Some(entry), false) = (section.peek(key), has_meaning) {
            let kind = target.kind();
            let flaw = Flaw::new(format!("has no meaning for a {kind} probe")).at(&entry.spot);
            section.flaw(report, entry, flaw);
        }
    }
}
