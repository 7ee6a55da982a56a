//! The house as a whole: environments, totals, health, metrics, and reloading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use dormouse_core::Timestamp;
use dormouse_wire as wire;
use tokio::sync::oneshot;

use super::App;
use super::moment::{at, rfc3339};
use super::report;
use super::trouble::Trouble;
use super::watches;
use crate::conductor::ReloadOutcome;
use crate::config::check;
use crate::reload::Reading;

/// How long a reload may take.
const RELOAD_MAX: Duration = Duration::from_secs(30);

/// The environments, by name.
#[utoipa::path(
    get, path = "/api/v1/environments", tag = "house",
    responses(
        (status = 200, description = "All environments: show them.", body = Vec<wire::Environment>),
    ),
)]
pub(super) async fn environments(
    State(app): State<App>,
) -> Result<Json<Vec<wire::Environment>>, Trouble> {
    let registry = app.registry();
    let views = app.keeper.environments().await?;
    let environment = |view: &dormouse_keeper::EnvironmentView| {
        let spec = registry.environments.get(&view.name);
        let name = view.name.as_str();
        let known = app.board.environment(name).unwrap_or_default();
        report::environment(view, spec, app.metrics.last_listed_ms(name), &known)
    };
    Ok(Json(views.iter().map(environment).collect()))
}

/// The house in a few numbers.
#[utoipa::path(
    get, path = "/api/v1/summary", tag = "house",
    responses((status = 200, description = "The numbers: show them.", body = wire::Summary)),
)]
pub(super) async fn summary(State(app): State<App>) -> Result<Json<wire::Summary>, Trouble> {
    let views = app.keeper.views().await?;
    let environments = app.keeper.environments().await?;
    let mut phases = wire::PhaseTotals::default();
    let mut awake = 0;
    for view in &views {
        let phase = wire::Phase::from_word(view.explanation.phase);
        phases.count(phase);
        awake += usize::from(phase.is_awake());
    }
    let totals = app.metrics.totals();
    let up = environments.iter().filter(|view| view.reachable == Some(true)).count();
    Ok(Json(wire::Summary {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: at(app.keeper.clock(), Timestamp::ZERO),
        workloads: views.len(),
        awake,
        asleep: phases.asleep,
        phases,
        waiting: views.iter().map(|view| u64::from(view.waiting)).sum(),
        requests: totals.requests,
        wakes: totals.wakes,
        rests: totals.rests,
        environments: wire::EnvironmentTotals { total: environments.len(), up },
    }))
}

/// Reads the configuration again.
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "house",
    responses(
        (status = 200, description = "What the files say is in force.", body = wire::Reloaded),
        (status = 422, description = "The files have errors and the last good configuration stays \
            in force: correct what the findings name.", body = wire::Problem),
        (status = 503, description = "Dormouse is ending: ask again when it has started.",
            body = wire::Problem),
    ),
)]
pub(super) async fn reload(State(app): State<App>) -> Result<Json<wire::Reloaded>, Trouble> {
    let answered = async {
        let (answer, answered) = oneshot::channel();
        app.score.reload.send(answer).await.ok()?;
        answered.await.ok()
    };
    let answer = tokio::time::timeout(RELOAD_MAX, answered).await.ok().flatten();
    let outcome = match answer.ok_or(Trouble::ShuttingDown)? {
        ReloadOutcome::Applied => wire::ReloadOutcome::Changed,
        ReloadOutcome::Unchanged => wire::ReloadOutcome::Unchanged,
        ReloadOutcome::Refused(reading) => {
            return Err(Trouble::ReloadRefused(file_findings(&reading)));
        }
    };
    Ok(Json(wire::Reloaded { outcome, version: app.registry().version }))
}

/// What there is to say about the configuration: the files as they were last read, and how files
/// and labels fit together in the registry that is in force.
#[utoipa::path(
    get, path = "/api/v1/config/findings", tag = "house",
    responses(
        (status = 200, description = "The findings: correct what they name.",
            body = wire::FindingList),
    ),
)]
pub(super) async fn findings(State(app): State<App>) -> Json<wire::FindingList> {
    let registry = app.registry();
    let reading = Arc::clone(&app.score.reading.borrow());
    let mut findings = file_findings(&reading);
    let fitting = check::list(&registry.findings, &reading.sources);
    findings.extend(fitting.findings.into_iter().map(finding));
    Json(wire::FindingList { findings })
}

/// Whether dormouse and everything it depends on is well: its environments and its watches. The
/// status is 200 as long as dormouse lives, also when it is degraded: whoever restarts dormouse by
/// this check must not do so because something else is down.
#[utoipa::path(
    get, path = "/health", tag = "house",
    responses(
        (status = 200, description = "Dormouse lives. `degraded`: see which service is not ready.",
            body = wire::Health),
        (status = 503, description = "Dormouse is ending.", body = wire::Problem),
    ),
)]
pub(super) async fn health(State(app): State<App>) -> Result<Json<wire::Health>, Trouble> {
    let views = app.keeper.environments().await?;
    let service = |view: dormouse_keeper::EnvironmentView| {
        let since_ms = view.reachable.map(|_| view.since_ms);
        let last_check = app.metrics.last_listed_ms(view.name.as_str()).max(since_ms);
        let name = view.name.to_string();
        let service = wire::ServiceHealth {
            name: name.clone(),
            ready: view.reachable == Some(true),
            last_check: last_check.map(rfc3339),
            last_error: view.last_error,
        };
        (name, service)
    };
    let mut services: BTreeMap<_, _> = views.into_iter().map(service).collect();
    for (status, _) in app.score.watches.status() {
        let service = watches::service(&status);
        // No name has a slash, so a watch beside an environment of its name is still told apart.
        let taken = services.contains_key(&service.name);
        let key = if taken { format!("watch/{}", service.name) } else { service.name.clone() };
        services.insert(key, service);
    }
    let is_well = services.values().all(|service| service.ready);
    let status = if is_well { wire::HealthStatus::Ok } else { wire::HealthStatus::Degraded };
    Ok(Json(wire::Health { status, services }))
}

/// Everything that is counted, in the text format of OpenMetrics.
#[utoipa::path(
    get, path = "/metrics", tag = "house",
    responses(
        (status = 200, description = "The metrics: scrape again later.", body = String,
            content_type = "application/openmetrics-text"),
    ),
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Trouble> {
    let text = app.metrics.scrape(&app.keeper, &app.registry(), &app.score.watches).await?;
    Ok(([(header::CONTENT_TYPE, crate::metrics::MEDIA_TYPE)], text).into_response())
}

fn file_findings(reading: &Reading) -> Vec<wire::Finding> {
    let list = check::list(&reading.findings, &reading.sources);
    list.findings.into_iter().map(finding).collect()
}

fn finding(view: check::FindingView) -> wire::Finding {
    wire::Finding {
        severity: match view.severity {
            "error" => wire::FindingSeverity::Error,
            _ => wire::FindingSeverity::Warning,
        },
        slug: view.slug.to_owned(),
        message: view.message,
        file: view.file.map(|file| file.display().to_string()),
        line: view.line,
        column: view.column,
        end_column: view.end_column,
        target: view.target,
        label: view.label,
        hint: view.hint,
        workload: view.workload,
    }
}
