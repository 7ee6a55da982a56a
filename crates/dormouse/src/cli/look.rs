//! The verbs that look: list, show, explain, top, health.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use dormouse_wire::{Exit, Explanation, FailureReport, Health, Summary, Workload, WorkloadDetails};
use jiff::Timestamp;

use super::complaint::Complaint;
use super::slugs::Page;
use super::{print, words};
use crate::client::{Call, Client, escape};

/// Clears the screen and goes to its corner.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// `dormouse list`.
pub(super) async fn list(client: &Client, json: bool) -> Result<Exit, Complaint> {
    let workloads = workloads(client).await?;
    match json {
        true => print::json(&workloads)?,
        false => print::text(&listing(&workloads))?,
    }
    Ok(Exit::Ok)
}

/// `dormouse show`.
pub(super) async fn show(client: &Client, name: &str, json: bool) -> Result<Exit, Complaint> {
    let details = details(client, name).await?;
    match json {
        true => print::json(&details)?,
        false => print::text(&everything(&details))?,
    }
    Ok(Exit::Ok)
}

/// `dormouse explain` of a workload.
pub(super) async fn explain(client: &Client, name: &str, json: bool) -> Result<Exit, Complaint> {
    let details = details(client, name).await?;
    match json {
        true => print::json(&details)?,
        false => print::text(&explanation(&details))?,
    }
    Ok(Exit::Ok)
}

/// `dormouse explain` of a slug.
pub(super) fn slug(page: &Page, json: bool) -> Result<Exit, Complaint> {
    match json {
        true => print::json(page)?,
        false => print::text(&page.text())?,
    }
    Ok(Exit::Ok)
}

/// `dormouse top`: once where nobody watches, anew every so often on a terminal.
pub(super) async fn top(client: &Client, every: Duration, json: bool) -> Result<Exit, Complaint> {
    let watched = io::stdout().is_terminal() && !json;
    loop {
        let (_, summary): (_, Summary) = client.call(Call::get("/api/v1/summary")).await?;
        let workloads = workloads(client).await?;
        if json {
            print::json(&serde_json::json!({ "summary": summary, "workloads": workloads }))?;
            return Ok(Exit::Ok);
        }
        let clear = if watched { CLEAR } else { "" };
        print::text(&format!("{clear}{}\n{}", totals(&summary), measured(&workloads)))?;
        if !watched {
            return Ok(Exit::Ok);
        }
        tokio::time::sleep(every).await;
    }
}

/// `dormouse health`: a success as long as dormouse answers.
pub(super) async fn health(client: &Client, json: bool) -> Result<Exit, Complaint> {
    let (_, health): (_, Health) = client.call(Call::get("/health")).await?;
    if json {
        print::json(&health)?;
        return Ok(Exit::Ok);
    }
    print::line(health.status.as_str())?;
    let row = |service: &dormouse_wire::ServiceHealth| {
        let state = if service.ready { "ready" } else { "not ready" };
        let error = service.last_error.clone().unwrap_or_default();
        vec![service.name.clone(), state.to_owned(), error]
    };
    let rows: Vec<Vec<String>> = health.services.values().map(row).collect();
    if !rows.is_empty() {
        print::text(&print::table(&["SERVICE", "STATE", "ERROR"], &rows))?;
    }
    Ok(Exit::Ok)
}

async fn workloads(client: &Client) -> Result<Vec<Workload>, Complaint> {
    let (_, workloads) = client.call(Call::get("/api/v1/workloads")).await?;
    Ok(workloads)
}

async fn details(client: &Client, name: &str) -> Result<WorkloadDetails, Complaint> {
    let path = format!("/api/v1/workloads/{}", escape(name));
    let (_, details) = client.call(Call::get(path)).await?;
    Ok(details)
}

fn listing(workloads: &[Workload]) -> String {
    let now = Timestamp::now();
    let row = |workload: &Workload| {
        vec![
            workload.name.clone(),
            workload.environment.clone(),
            workload.phase.as_str().to_owned(),
            words::ago(&workload.since, now),
            words::leases(&workload.leases),
            workload.why.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = workloads.iter().map(row).collect();
    print::table(&["NAME", "ENVIRONMENT", "PHASE", "FOR", "LEASES", "WHY"], &rows)
}

/// The table of `top`: the busiest first, then those that have freed the most.
fn measured(workloads: &[Workload]) -> String {
    let now = Timestamp::now();
    let busy = |workload: &Workload| workload.usage.as_ref().map_or(-1.0, |it| it.cpu_percent);
    let freed = |workload: &Workload| workload.memory_freed_bytes.unwrap_or_default();
    let mut workloads: Vec<&Workload> = workloads.iter().collect();
    workloads.sort_by(|a, b| busy(b).total_cmp(&busy(a)).then(freed(b).cmp(&freed(a))));
    let row = |workload: &&Workload| {
        let usage = workload.usage.as_ref();
        let bytes = |bytes: Option<u64>| bytes.map(words::bytes).unwrap_or_default();
        vec![
            workload.id(),
            workload.phase.as_str().to_owned(),
            words::ago(&workload.since, now),
            usage.map(|usage| format!("{:.1}", usage.cpu_percent)).unwrap_or_default(),
            bytes(usage.map(|usage| usage.memory_bytes)),
            usage.and_then(|usage| usage.network).map(words::rates).unwrap_or_default(),
            usage.and_then(|usage| usage.disk).map(words::rates).unwrap_or_default(),
            bytes(workload.memory_freed_bytes.filter(|freed| *freed > 0)),
            words::leases(&workload.leases),
            workload.why.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = workloads.iter().map(row).collect();
    let head = [
        "ID",
        "PHASE",
        "FOR",
        "CPU %",
        "MEMORY",
        "NET IN/OUT",
        "DISK IN/OUT",
        "FREED",
        "LEASES",
        "WHY",
    ];
    print::table(&head, &rows)
}

fn totals(summary: &Summary) -> String {
    format!(
        "dormouse {}: {} workloads, {} awake, {} asleep, {} failed; {} waiting; {} requests, \
         {} wakes, {} rests; {} of {} environments up\n",
        summary.version,
        summary.workloads,
        summary.awake,
        summary.asleep,
        summary.phases.failed,
        summary.waiting,
        summary.requests,
        summary.wakes,
        summary.rests,
        summary.environments.up,
        summary.environments.total,
    )
}

fn headline(workload: &Workload) -> String {
    format!("{} is {}: {}\n", workload.id(), workload.phase.as_str(), workload.why)
}

fn explanation(details: &WorkloadDetails) -> String {
    let WorkloadDetails { workload, explain } = details;
    let now = Timestamp::now();
    let moment = |said: &Option<String>| said.as_deref().map(|said| words::moment(said, now));
    let next = explain.next.as_ref();
    let next = next.map(|next| format!("{}: {}", words::moment(&next.at, now), next.reason));
    let freed = workload.memory_freed_bytes.filter(|freed| *freed > 0);
    let pairs = [
        ("since", words::moment(&workload.since, now)),
        ("idle at", moment(&workload.idle_at).unwrap_or_default()),
        ("next", next.unwrap_or_default()),
        ("retry at", moment(&explain.retry_at).unwrap_or_default()),
        ("leases", words::leases(&workload.leases)),
        ("waiting", format!("{} callers", workload.waiting)),
        ("pins", pins(workload, now)),
        ("needs", needs(explain)),
        ("needed by", explain.dependents.join(", ")),
        ("runtime", explain.condition.clone().unwrap_or_default()),
        ("uses", workload.usage.as_ref().map(words::usage).unwrap_or_default()),
        ("sleep freed", freed.map(words::bytes).unwrap_or_default()),
    ];
    let mut text = printable_line(&headline(workload));
    text.push_str(&print::pairs(&pairs));
    text.push_str(&wake(workload, now));
    if let Some(failure) = &explain.last_failure {
        text.push_str(&self::failure(failure, now));
    }
    text
}

fn everything(details: &WorkloadDetails) -> String {
    let WorkloadDetails { workload, explain } = details;
    let policy = &explain.policy;
    let mut text = explanation(details);
    text.push_str(&print::pairs(&[
        ("target", format!("{}/{}", workload.environment, workload.target)),
        ("defined by", explain.defined_by.clone().unwrap_or_default()),
        ("routes", words::routes(workload)),
        ("upstream", workload.upstream.clone().unwrap_or_default()),
        ("idle after", policy.idle_timeout.clone()),
        ("idle below", idle_below(policy)),
        ("wakes within", policy.wake_timeout.clone()),
        ("rests by", format!("{} (stop within {})", policy.rest, policy.stop_timeout)),
    ]));
    text
}

fn idle_below(policy: &dormouse_wire::PolicyReport) -> String {
    let cpu = policy.idle_cpu_below.map(|percent| format!("{percent} % of a processor"));
    let net = policy.idle_net_below.map(|it| format!("{} of network a second", words::bytes(it)));
    cpu.into_iter().chain(net).collect::<Vec<_>>().join(" and ")
}

fn pins(workload: &Workload, now: Timestamp) -> String {
    let pin = |pin: &dormouse_wire::Pin| {
        let until = pin.until.as_deref().map_or_else(
            || "for good".to_owned(),
            |until| format!("until {}", words::moment(until, now)),
        );
        if pin.reason.is_empty() { until } else { format!("{until}: {}", pin.reason) }
    };
    workload.pins.iter().map(pin).collect::<Vec<_>>().join("; ")
}

fn needs(explain: &Explanation) -> String {
    let need = |need: &dormouse_wire::NeedReport| {
        let phase = need.phase.as_deref().unwrap_or("not defined");
        let met = if need.met { "met" } else { "not met" };
        format!("{} until {} ({phase}, {met})", need.on, need.until)
    };
    explain.needs.iter().map(need).collect::<Vec<_>>().join(", ")
}

fn wake(workload: &Workload, now: Timestamp) -> String {
    let Some(wake) = &workload.last_wake else { return String::new() };
    let took = wake.ms.map_or_else(|| "under way".to_owned(), |ms| format!("took {ms} ms"));
    let mut text = printable_line(&format!(
        "last wake ({}): {}, {took}\n",
        wake.cause,
        words::moment(&wake.at, now)
    ));
    for step in &wake.steps {
        text.push_str(&printable_line(&format!("  {}  {}\n", step.at, step.message)));
    }
    text
}

fn failure(failure: &FailureReport, now: Timestamp) -> String {
    let at = words::moment(&failure.at, now);
    let mut text =
        printable_line(&format!("last failure ({}): {at}: {}\n", failure.slug, failure.detail));
    text.push_str(&printable_line(&format!("  hint: {}\n", failure.hint)));
    for line in &failure.log {
        text.push_str(&printable_line(&format!("  | {line}\n")));
    }
    text
}

/// The line with what would move the cursor written out, but for its own end.
fn printable_line(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    format!("{}\n", super::complaint::printable(line))
}
