//! Reads how a workload is treated: the keys that `[defaults]`, workloads and labels share.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::load::IdleBelow;
use dormouse_core::policy::{Adopt, OnRestFailure, Readiness, Rest};
use dormouse_proxy::{Held, Loading};

use super::quantities;
use super::report::{Flaw, Report, quote};
use super::section::{Section, Title};
use super::settings::Treatment;
use super::tree::{Entry, Node};
use super::values::{self, Word};

/// The statuses that count as ready when nothing is said.
const READY_STATUS: std::ops::RangeInclusive<u16> = 200..=399;

/// The longest heading of a loading page.
const TITLE_MAX: usize = 200;

/// Percent of one processor.
const CPU_BELOW_MIN: f64 = 0.1;
const CPU_BELOW_MAX: f64 = 100_000.0;

const RESTS: [Word<Rest>; 3] = [("stop", Rest::Stop), ("pause", Rest::Pause), ("kill", Rest::Kill)];

const LATER_RESTS: [&str; 1] = ["snapshot"];

const ON_REST_FAILURES: [Word<OnRestFailure>; 2] =
    [("keep", OnRestFailure::Keep), ("kill", OnRestFailure::Kill)];

const LATER_ON_REST_FAILURES: [&str; 1] = ["destroy"];

const ADOPTS: [Word<Adopt>; 2] = [("keep", Adopt::Keep), ("rest", Adopt::Rest)];

const THEMES: [Word<&str>; 1] = [("dormouse", "dormouse")];

const STATUSES: [u16; 3] = [503, 202, 200];

/// Reads `[defaults]`.
pub(crate) fn read_defaults(entry: Option<&Entry>, report: &mut Report<'_>) -> Treatment {
    let mut treatment = Treatment::default();
    let title = Title::new("defaults");
    if let Some(mut section) = entry.and_then(|entry| Section::open(entry, &title, report)) {
        read(&mut section, &mut treatment, report);
        section.close(report);
    }
    treatment
}

/// Reads what `section` says about the treatment over what `treatment` says already.
pub(crate) fn read(section: &mut Section<'_>, treatment: &mut Treatment, report: &mut Report<'_>) {
    let policy = Arc::make_mut(&mut treatment.policy);
    let set = &mut policy.idle_timeout;
    put(set, section.read(report, "idle_timeout", quantities::duration_or_never));
    put(&mut policy.wake_timeout, section.read(report, "wake_timeout", quantities::duration));
    put(&mut policy.rest, section.read(report, "rest", rest));
    if let Some(signal) = section.read(report, "stop_signal", values::signal) {
        policy.stop_signal = Some(signal);
    }
    put(
        &mut policy.stop_timeout,
        section.read(report, "stop_timeout", quantities::duration_or_zero),
    );
    put(
        &mut policy.drain_timeout,
        section.read(report, "drain_timeout", quantities::duration_or_zero),
    );
    put(&mut policy.on_rest_failure, section.read(report, "on_rest_failure", on_rest_failure));
    put(&mut policy.adopt, section.read(report, "adopt", |node| values::word(node, &ADOPTS)));
    put(&mut policy.readiness, read_ready(section, report));
    read_idle(section, &mut policy.idle_below, report);
    put(
        &mut treatment.connection_idle,
        section.read(report, "connection_idle", quantities::duration_or_never),
    );
    read_loading(section, &mut treatment.loading, report);
    read_held(section, &mut treatment.held, report);
    section.not_yet(report, &["wake", "awake", "asleep"]);
}

fn read_ready(parent: &mut Section<'_>, report: &mut Report<'_>) -> Option<Readiness> {
    let mut section = open(parent, "ready", report)?;
    let http = section.read(report, "http", url_path);
    let status = section.read(report, "status", quantities::status_range);
    let grpc = section.read(report, "grpc", values::text);
    let tcp = section.read(report, "tcp", only_true);
    let engine = section.read(report, "engine", only_true);
    let kinds = ["http", "tcp", "engine", "grpc"];
    let said = kinds.iter().filter(|kind| section.has(kind)).count();
    // A key that is not known is most likely the one that is missing.
    if said > 1 || (said == 0 && section.is_understood()) {
        let flaw = Flaw::new("must say exactly one of http, tcp, engine and grpc");
        section.complain(report, flaw.hint("such as ready = { http = \"/health\" }"));
    }
    if let (Some(entry), false) = (section.peek("status"), section.has("http")) {
        let flaw = Flaw::new("has no meaning without `http`").at(&entry.spot);
        section.flaw(report, entry, flaw);
    }
    section.close(report);
    http.map(|path| Readiness::Http { path, status: status.unwrap_or(READY_STATUS) })
        .or(grpc.map(|service| Readiness::Grpc { service }))
        .or(tcp.map(|()| Readiness::Tcp))
        .or(engine.map(|()| Readiness::Engine))
}

fn read_idle(parent: &mut Section<'_>, below: &mut IdleBelow, report: &mut Report<'_>) {
    let Some(mut section) = open(parent, "idle", report) else {
        return;
    };
    put(&mut below.cpu_millipercent, section.read(report, "cpu_below", cpu_below));
    put(&mut below.net_bytes, section.read(report, "net_below", net_below));
    section.close(report);
}

fn read_loading(parent: &mut Section<'_>, loading: &mut Arc<Loading>, report: &mut Report<'_>) {
    let Some(mut section) = open(parent, "loading", report) else {
        return;
    };
    let loading = Arc::make_mut(loading);
    put(&mut loading.page, section.read(report, "page", values::flag));
    let theme = section.read(report, "theme", |node| values::word(node, &THEMES));
    put(&mut loading.theme, theme.map(str::to_owned));
    if let Some(title) = section.read(report, "title", title) {
        loading.title = Some(title);
    }
    put(&mut loading.refresh, section.read(report, "refresh", refresh));
    put(&mut loading.status, section.read(report, "status", status));
    section.close(report);
}

fn read_held(parent: &mut Section<'_>, held: &mut Held, report: &mut Report<'_>) {
    let Some(mut section) = open(parent, "held", report) else {
        return;
    };
    put(&mut held.requests, section.read(report, "requests", values::count));
    put(&mut held.bytes, section.read(report, "bytes", quantities::size));
    put(&mut held.per_client, section.read(report, "per_client", values::count));
    section.close(report);
}

/// Opens the table `key` of `parent`.
fn open<'t>(
    parent: &mut Section<'t>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Section<'t>> {
    let title = parent.title(key);
    parent.take(report, key).and_then(|entry| Section::open(entry, &title, report))
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Percent of one processor, in thousandths; "never" takes the bound away.
fn cpu_below(node: &Node) -> Result<Option<u32>, Flaw> {
    if values::plain(node).is_ok_and(|text| text.trim() == "never") {
        return Ok(None);
    }
    let percent = values::number(node)?;
    if (CPU_BELOW_MIN..=CPU_BELOW_MAX).contains(&percent) {
        return Ok(Some((percent * 1e3).round() as u32));
    }
    let flaw = Flaw::new(format!("must be between {CPU_BELOW_MIN} and {CPU_BELOW_MAX}"));
    Err(flaw.hint("it is percent of one processor, such as 5; or \"never\""))
}

/// Bytes a second; "never" takes the bound away.
fn net_below(node: &Node) -> Result<Option<u64>, Flaw> {
    if values::plain(node).is_ok_and(|text| text.trim() == "never") {
        return Ok(None);
    }
    quantities::size(node).map(Some)
}

fn rest(node: &Node) -> Result<Rest, Flaw> {
    values::word_or_later(node, &RESTS, &LATER_RESTS)
}

fn on_rest_failure(node: &Node) -> Result<OnRestFailure, Flaw> {
    values::word_or_later(node, &ON_REST_FAILURES, &LATER_ON_REST_FAILURES)
}

fn only_true(node: &Node) -> Result<(), Flaw> {
    if values::flag(node)? {
        return Ok(());
    }
    Err(Flaw::new("can only be true").hint("leave it out, and say which probe is meant"))
}

fn url_path(node: &Node) -> Result<String, Flaw> {
    let path = values::filled(node)?;
    let legal = |char: char| char.is_ascii_graphic() && char != '#';
    if path.starts_with('/') && path.chars().all(legal) {
        return Ok(path);
    }
    let flaw = Flaw::new(format!("is not a path: {}", quote(&path)));
    Err(flaw.hint("a path begins with `/` and has no spaces, such as \"/health\""))
}

fn title(node: &Node) -> Result<String, Flaw> {
    let title = values::filled(node)?;
    if title.chars().count() > TITLE_MAX {
        return Err(Flaw::new(format!("is longer than {TITLE_MAX} characters")));
    }
    Ok(title)
}

fn refresh(node: &Node) -> Result<Duration, Flaw> {
    let refresh = quantities::duration(node)?;
    if refresh.subsec_nanos() == 0 {
        return Ok(refresh);
    }
    Err(Flaw::new("must be whole seconds, for that is what browsers understand"))
}

fn status(node: &Node) -> Result<u16, Flaw> {
    let status = values::whole(node, 100..=599)?;
    let found = STATUSES.into_iter().find(|known| i64::from(*known) == status);
    found.ok_or_else(|| Flaw::new(format!("cannot be {status}")).hint("say 503, 202 or 200"))
}
