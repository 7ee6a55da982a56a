//! The OpenAPI document, made from the handlers themselves.

use axum::Json;
use dormouse_wire as wire;
use utoipa::OpenApi;

use super::{acts, events, house, usage, watches, workloads};

pub(super) const NAME: &str = "The workload: its name where that is unique, or its id with the \
    slash as `~` or `%2F`, such as `local~blog`.";
pub(super) const NOT_FOUND: &str =
    "No workload has that name: see `candidates`, or list the workloads.";
pub(super) const AMBIGUOUS: &str =
    "Several environments have a workload of that name: say which of the `candidates`.";
pub(super) const NO_ENVIRONMENT: &str = "No environment has that name: list the environments.";
pub(super) const BAD_REQUEST: &str = "The request cannot be understood: correct it.";

/// The admin API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "dormouse",
        description = "The admin API of dormouse. Errors are problem documents \
            (`application/problem+json`, RFC 9457). Where tokens are set, every request but \
            `/health` on this machine needs one as `Authorization: Bearer`, and is answered with \
            401 without and 403 with one of too small a scope. Requests of pages of other sites, \
            or with a Host that is not this machine's, are answered with 403."
    ),
    paths(
        workloads::list,
        workloads::show,
        workloads::logs,
        acts::wake,
        acts::sleep,
        acts::touch,
        acts::pin,
        acts::unpin,
        events::of_workload,
        events::of_house,
        usage::of_workload,
        usage::of_environment,
        house::environments,
        house::summary,
        watches::watches,
        house::reload,
        house::findings,
        house::health,
        house::metrics,
    ),
    components(schemas(wire::Event, wire::ProgressEvent, wire::Problem))
)]
struct Contract;

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Contract::openapi()
}

/// Serves the document.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(openapi())
}
