//! The watches of the file.

use axum::Json;
use axum::extract::State;
use dormouse_keeper::watch::Status;
use dormouse_wire as wire;

use super::App;
use super::moment::rfc3339;
use crate::watch::word;

/// The watches of the file, by name.
#[utoipa::path(
    get, path = "/api/v1/watches", tag = "house",
    responses((status = 200, description = "All watches: show them.", body = Vec<wire::Watch>)),
)]
pub(super) async fn watches(State(app): State<App>) -> Json<Vec<wire::Watch>> {
    let watches = app.score.watches.status().into_iter();
    Json(watches.map(|(status, probe)| watch(&status, probe)).collect())
}

/// A watch as `/health` lists it.
pub(super) fn service(status: &Status) -> wire::ServiceHealth {
    wire::ServiceHealth {
        name: status.name.to_string(),
        ready: word(status.state) == wire::WatchState::Up,
        last_check: status.last_check_unix_ms.map(rfc3339),
        last_error: status.last_error.as_deref().map(str::to_owned),
    }
}

fn watch(status: &Status, probe: String) -> wire::Watch {
    let wire::ServiceHealth { name, ready, last_check, last_error } = service(status);
    wire::Watch {
        name,
        ready,
        state: word(status.state),
        since: rfc3339(status.since_unix_ms),
        probe,
        failures: status.failures,
        last_check,
        next_check: status.next_check_unix_ms.map(rfc3339),
        last_error,
    }
}
