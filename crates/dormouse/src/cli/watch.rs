//! `dormouse watch`: follows services from a shell, without a running dormouse; or lists the
//! watches of a running one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dormouse_keeper::probe::Probe;
use dormouse_keeper::watch::{Change, Manager, Spec};
use dormouse_providers::TlsOptions;
use dormouse_wire::{Exit, Watch, WatchChange, WatchState};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::args::{Expectations, Pace};
use super::complaint::Complaint;
use super::{print, words};
use crate::api::rfc3339;
use crate::client::{Call, Client};
use crate::watch::{Flaw, Policy, Settings, Target, notice};

/// Transitions that wait to be printed.
const CHANGES_MAX: usize = 256;

/// `dormouse watch` without a target: the watches of a running dormouse.
pub(super) async fn list(client: &Client, json: bool) -> Result<Exit, Complaint> {
    let (_, watches): (_, Vec<Watch>) = client.call(Call::get("/api/v1/watches")).await?;
    match json {
        true => print::json(&watches)?,
        false => print::text(&listing(&watches))?,
    }
    Ok(Exit::Ok)
}

/// `dormouse watch --once`: one probe of each target. A success when all are reached.
pub(super) async fn once(
    probes: Vec<Probe>,
    limit: Duration,
    json: bool,
) -> Result<Exit, Complaint> {
    let asked = probes.iter().map(async |probe| {
        let outcome = match timeout(limit, probe.run()).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        };
        seen(probe, outcome)
    });
    let watches = join_all(asked).await;
    match json {
        true => print::json(&watches)?,
        false => print::text(&verdicts(&watches))?,
    }
    let all_reached = watches.iter().all(|watch| watch.ready);
    Ok(if all_reached { Exit::Ok } else { Exit::Failed })
}

/// `dormouse watch`: tells each target's state and every change of it, until Ctrl-C.
pub(super) async fn follow(
    probes: Vec<Probe>,
    policy: Policy,
    json: bool,
) -> Result<Exit, Complaint> {
    let (tell, mut told) = mpsc::channel(CHANGES_MAX);
    let manager = Manager::new();
    for probe in probes {
        let probe = Arc::new(probe);
        let name = probe.target().to_string();
        let spec = Spec::new(name, move || {
            let probe = Arc::clone(&probe);
            async move { probe.run().await }
        });
        let spec = spec.policy(policy).on_ready(hook(&tell)).on_down(hook(&tell));
        let watch = manager.watch(spec);
        watch.map_err(|error| Complaint::of(Exit::Usage, &error))?;
    }
    while let Some(change) = told.recv().await {
        let change = notice(&change);
        match json {
            true => print::text(&format!("{}\n", one_line(&change)))?,
            false => print::line(&sentence(&change))?,
        }
    }
    Ok(Exit::Ok)
}

/// The probes of these targets, each once.
pub(super) fn probes(
    targets: &[Target],
    expectations: &Expectations,
) -> Result<Vec<Probe>, Complaint> {
    let mut known = BTreeSet::new();
    let fresh = targets.iter().filter(|target| known.insert(target.to_string()));
    fresh
        .map(|target| {
            let probe = Probe::new(target.clone());
            let probe = match &expectations.status {
                Some(status) => probe.expect_status(status.clone()),
                None => probe,
            };
            let probe = match &expectations.body {
                Some(text) => probe.expect_body(text.clone()),
                None => probe,
            };
            if !expectations.insecure {
                return Ok(probe);
            }
            let anyone = TlsOptions { insecure: true, ..TlsOptions::default() };
            probe.with_tls(&anyone).map_err(|error| Complaint::of(Exit::Failed, &error))
        })
        .collect()
}

/// The policy of a shell: whoever looks wants the first verdict at once.
pub(super) fn policy(pace: &Pace) -> Result<Policy, Complaint> {
    let settings = Settings {
        max_retries: 1,
        poll_interval: pace.every,
        initial_delay: pace.every.min(Duration::from_secs(1)),
        max_delay: pace.every,
        probe_timeout: pace.timeout,
        fall: pace.fall,
        rise: pace.rise,
        ..Settings::default()
    };
    settings.validated().map_err(|flaws| {
        let said: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
        Complaint::new(Exit::Usage, said.join("; "))
    })
}

fn hook(
    tell: &mpsc::Sender<Change>,
) -> impl Fn(Change) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync + use<> {
    let tell = tell.clone();
    move |change| {
        let tell = tell.clone();
        Box::pin(async move {
            // Whoever has closed the pipe is not told.
            let _ = tell.send(change).await;
        })
    }
}

fn seen(probe: &Probe, outcome: Result<(), String>) -> Watch {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = rfc3339(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    let target = probe.target().to_string();
    Watch {
        name: target.clone(),
        ready: outcome.is_ok(),
        state: if outcome.is_ok() { WatchState::Up } else { WatchState::Down },
        since: now.clone(),
        probe: target,
        failures: u32::from(outcome.is_err()),
        last_check: Some(now),
        next_check: None,
        last_error: outcome.err(),
    }
}

fn verdicts(watches: &[Watch]) -> String {
    let row = |watch: &Watch| {
        let error = watch.last_error.clone().unwrap_or_default();
        vec![watch.probe.clone(), watch.state.as_str().to_owned(), error]
    };
    let rows: Vec<Vec<String>> = watches.iter().map(row).collect();
    print::table(&["TARGET", "STATE", "ERROR"], &rows)
}

fn listing(watches: &[Watch]) -> String {
    let now = Timestamp::now();
    let row = |watch: &Watch| {
        vec![
            watch.name.clone(),
            watch.state.as_str().to_owned(),
            words::ago(&watch.since, now),
            watch.failures.to_string(),
            watch.probe.clone(),
            watch.last_error.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = watches.iter().map(row).collect();
    print::table(&["NAME", "STATE", "FOR", "FAILURES", "PROBE", "ERROR"], &rows)
}

fn one_line(change: &WatchChange) -> String {
    serde_json::to_string(change).expect("texts are JSON")
}

fn sentence(change: &WatchChange) -> String {
    let WatchChange { watch, state, at, error, .. } = change;
    match error {
        Some(error) => format!("{at}  {watch}  {}: {error}", state.as_str()),
        None => format!("{at}  {watch}  {}", state.as_str()),
    }
}
