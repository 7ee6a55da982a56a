//! Acts on workloads: wake, sleep, touch, pin.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dormouse_core::WorkloadId;
use dormouse_core::failure::Denial;
use dormouse_core::lifecycle::SleepAnswer;
use dormouse_keeper::{Admission, Gate, PinView, Waiting};
use dormouse_wire as wire;
use serde::Deserialize;
use utoipa::IntoParams;

use super::moment::parse_duration;
use super::naming::Named;
use super::report;
use super::trouble::Trouble;
use super::workloads::{listed, view_of};
use super::{App, BODY_BYTES_MAX};

/// The longest that one request waits for a wake.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(600);
/// How long a sleep waits for its answer before it is merely accepted.
const SLEEP_ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a client may take over a body.
const BODY_READ_MAX: Duration = Duration::from_secs(10);

/// How long to wait for the wake.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WakeQuery {
    /// A period such as `60s`, at most 10m. The wake is not waited for when absent.
    wait: Option<String>,
}

/// How seriously the sleep is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SleepQuery {
    /// `true` puts it to sleep although it is in use: what is open has its drain timeout.
    #[serde(default)]
    force: bool,
}

/// Wakes a workload, and waits for it if asked to.
#[utoipa::path(
    post, path = "/api/v1/workloads/{name}/wake", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME), WakeQuery),
    responses(
        (status = 200, description = "It is ready: use it.", body = wire::Workload),
        (status = 202, description = "The wake has begun, and nobody asked to wait: follow its \
            events.", body = wire::Workload),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
        (status = 502, description = "The wake failed: read detail, hint and log, and correct \
            the cause.", body = wire::Problem),
        (status = 503, description = "The wake failed for a reason that may pass by itself: ask \
            again after retry_after.", body = wire::Problem),
        (status = 504, description = "It was not ready in time. `still-waking`: the wake goes on, \
            wait longer; any other slug: it has failed.", body = wire::Problem),
    ),
)]
pub(super) async fn wake(
    State(app): State<App>,
    Named(id): Named,
    query: Result<Query<WakeQuery>, QueryRejection>,
) -> Result<Response, Trouble> {
    let wait = query?.0.wait.as_deref().map(parse_duration).transpose();
    let wait = wait.map_err(|why| Trouble::BadRequest(format!("wait {why}")))?;
    let gate = gate_of(&app, &id).await?;
    let status = match (gate.ask_for_person(), wait) {
        (Admission::Pass(_), _) => StatusCode::OK,
        (Admission::Denied(denial), _) => return Err(denied(&id, denial)),
        (Admission::Wait(_), None) => StatusCode::ACCEPTED,
        (Admission::Wait(waiting), Some(wait)) => {
            wait_for(&gate, waiting, wait.min(WAIT_MAX)).await?;
            StatusCode::OK
        }
    };
    Ok((status, Json(listed(&app, &id).await?)).into_response())
}

/// Puts a workload to sleep.
#[utoipa::path(
    post, path = "/api/v1/workloads/{name}/sleep", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME), SleepQuery),
    responses(
        (status = 200, description = "It is asleep already: nothing to do.", body = wire::Workload),
        (status = 202, description = "It is on its way to sleep: follow its events.",
            body = wire::Workload),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = "`in-use`: wait until what `leases` counts has ended, or \
            force it. `ambiguous-name`: say which of the candidates.", body = wire::Problem),
    ),
)]
pub(super) async fn sleep(
    State(app): State<App>,
    Named(id): Named,
    query: Result<Query<SleepQuery>, QueryRejection>,
) -> Result<Response, Trouble> {
    let force = query?.0.force;
    let answer = async {
        if force { app.keeper.force_sleep(&id).await } else { app.keeper.sleep(&id).await }
    };
    // A forced sleep is answered when what is open has had its time, which may be long.
    let status = match tokio::time::timeout(SLEEP_ANSWER_MAX, answer).await {
        Err(_) => StatusCode::ACCEPTED,
        Ok(answer) => match answer? {
            None => return Err(Trouble::NoSuchWorkload { name: id.to_string(), near: None }),
            Some(SleepAnswer::AlreadyAsleep) => StatusCode::OK,
            Some(SleepAnswer::Resting) => StatusCode::ACCEPTED,
            Some(SleepAnswer::Refused(why)) => {
                let leases = report::leases(&view_of(&app, &id).await?);
                return Err(Trouble::InUse { id, why, leases });
            }
        },
    };
    Ok((status, Json(listed(&app, &id).await?)).into_response())
}

/// Counts as use now: an awake workload gets a full idle period, a sleeping one sleeps on.
#[utoipa::path(
    post, path = "/api/v1/workloads/{name}/touch", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME)),
    responses(
        (status = 200, description = "Its idle period begins anew, if it is awake.",
            body = wire::Workload),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
    ),
)]
pub(super) async fn touch(
    State(app): State<App>,
    Named(id): Named,
) -> Result<Json<wire::Workload>, Trouble> {
    gate_of(&app, &id).await?.touch();
    Ok(Json(listed(&app, &id).await?))
}

/// Pins a workload awake, replacing an earlier pin, and wakes it if it sleeps.
#[utoipa::path(
    put, path = "/api/v1/workloads/{name}/pin", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME)),
    request_body(content = wire::PinOrder, description = "May be left out: for good, for no \
        particular reason."),
    responses(
        (status = 200, description = "It is pinned, and will be after a restart of dormouse.",
            body = wire::Workload),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
        (status = 413, description = "The body is too large: send a shorter reason.",
            body = wire::Problem),
        (status = 500, description = "`pin-not-saved`: it is pinned until dormouse restarts; \
            correct the state folder and pin again.", body = wire::Problem),
    ),
)]
pub(super) async fn pin(
    State(app): State<App>,
    Named(id): Named,
    body: Body,
) -> Result<Json<wire::Workload>, Trouble> {
    let order = read_order(body).await?;
    let period = order.period.as_deref().map(parse_duration).transpose();
    let period = period.map_err(|why| Trouble::BadRequest(format!("`for` {why}")))?;
    let clock = app.keeper.clock();
    let until_ms = period.map(|period| clock.unix_ms(clock.now() + period));
    let pin = PinView { until_ms, reason: order.reason };
    if !app.pins.set(&id, pin).await? {
        return Err(Trouble::NoSuchWorkload { name: id.to_string(), near: None });
    }
    Ok(Json(listed(&app, &id).await?))
}

/// Takes the pin away. Without one nothing happens.
#[utoipa::path(
    delete, path = "/api/v1/workloads/{name}/pin", tag = "workloads",
    params(("name" = String, Path, description = super::contract::NAME)),
    responses(
        (status = 200, description = "It has no pin: it sleeps when it is idle.",
            body = wire::Workload),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
        (status = 500, description = "`pin-not-saved`: it has no pin until dormouse restarts; \
            correct the state folder and unpin again.", body = wire::Problem),
    ),
)]
pub(super) async fn unpin(
    State(app): State<App>,
    Named(id): Named,
) -> Result<Json<wire::Workload>, Trouble> {
    app.pins.remove(&id).await?;
    Ok(Json(listed(&app, &id).await?))
}

async fn gate_of(app: &App, id: &WorkloadId) -> Result<Arc<Gate>, Trouble> {
    let gate = app.keeper.gate(id).await?;
    gate.ok_or_else(|| Trouble::NoSuchWorkload { name: id.to_string(), near: None })
}

async fn wait_for(gate: &Gate, waiting: Waiting, wait: Duration) -> Result<(), Trouble> {
    match tokio::time::timeout(wait, waiting.ready()).await {
        Ok(Ok(_pass)) => Ok(()),
        Ok(Err(denial)) => Err(denied(gate.id(), denial)),
        Err(_) => {
            let published = gate.published();
            Err(Trouble::StillWaking {
                id: gate.id().clone(),
                phase: published.phase,
                why: published.why.clone(),
            })
        }
    }
}

fn denied(id: &WorkloadId, denial: Denial) -> Trouble {
    Trouble::Denied { id: id.clone(), denial: Box::new(denial) }
}

/// Takes any media type: what is not JSON is refused for what it is.
async fn read_order(body: Body) -> Result<wire::PinOrder, Trouble> {
    let read = tokio::time::timeout(BODY_READ_MAX, to_bytes(body, BODY_BYTES_MAX)).await;
    let late = |_| Trouble::BadRequest("the body did not arrive in time".to_owned());
    let bytes = read.map_err(late)?.map_err(|_| Trouble::TooLarge)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(wire::PinOrder::default());
    }
    let wrong = |error: serde_json::Error| {
        Trouble::BadRequest(format!("the body is not an order of a pin: {error}"))
    };
    serde_json::from_slice(&bytes).map_err(wrong)
}
