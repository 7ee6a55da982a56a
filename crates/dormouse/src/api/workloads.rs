//! Shows workloads: the list, one of them, its log.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use dormouse_core::WorkloadId;
use dormouse_keeper::WorkloadView;
use dormouse_wire as wire;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::App;
use super::naming::Named;
use super::report;
use super::trouble::Trouble;

/// Lines of a log when nobody says how many.
const LOG_LINES: usize = 100;
/// Lines of a log at most.
const LOG_LINES_MAX: usize = 5000;
/// How long reading a log may take.
const LOG_READ_MAX: Duration = Duration::from_secs(10);

/// How much of a log is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// How many of the last lines, at most 5000; 100 when absent.
    lines: Option<usize>,
}

/// Every workload, by id.
#[utoipa::path(
    get, path = "/api/v1/workloads", tag = "workloads",
    responses(
        (status = 200, description = "All workloads: show them.", body = Vec<wire::Workload>),
    ),
)]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<wire::Workload>>, Trouble> {
    let views = app.keeper.views().await?;
    Ok(Json(views.iter().map(|view| report::workload(view, &app)).collect()))
}

/// One workload: everything about it, why it is in its phase, what keeps it awake, until when.
#[utoipa::path(
    get, path = "/api/v1/workloads/{name}", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME)),
    responses(
        (status = 200, description = "The workload: show it.", body = wire::WorkloadDetails),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    Named(id): Named,
) -> Result<Json<wire::WorkloadDetails>, Trouble> {
    let view = view_of(&app, &id).await?;
    Ok(Json(report::details(&view, &app)))
}

/// The last lines that the workload wrote.
#[utoipa::path(
    get, path = "/api/v1/workloads/{name}/logs", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME), LogQuery),
    responses(
        (status = 200, description = "The lines, oldest first: show them.", body = wire::Logs),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
        (status = 502, description = "The runtime does not give the log (`no-log`): see what it \
            says about it.", body = wire::Problem),
    ),
)]
pub(super) async fn logs(
    State(app): State<App>,
    Named(id): Named,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Json<wire::Logs>, Trouble> {
    let lines = query?.0.lines.unwrap_or(LOG_LINES).min(LOG_LINES_MAX);
    let deadline = Instant::now() + LOG_READ_MAX;
    let target = view_of(&app, &id).await?.target;
    let adapter = app.score.adapters.borrow().get(id.environment()).cloned();
    let adapter = adapter.ok_or(Trouble::ShuttingDown)?;
    let lines = adapter.log_tail(&target, lines, deadline).await.map_err(Trouble::NoLog)?;
    Ok(Json(wire::Logs { workload: id.to_string(), lines }))
}

/// The keeper's view of a workload that the registry knows.
pub(super) async fn view_of(app: &App, id: &WorkloadId) -> Result<WorkloadView, Trouble> {
    let view = app.keeper.view(id).await?;
    view.ok_or_else(|| Trouble::NoSuchWorkload { name: id.to_string(), near: None })
}

/// A workload as it is listed, now.
pub(super) async fn listed(app: &App, id: &WorkloadId) -> Result<wire::Workload, Trouble> {
    Ok(report::workload(&view_of(app, id).await?, app))
}
