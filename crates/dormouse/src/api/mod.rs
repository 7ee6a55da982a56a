//! The admin API: what people and programs see of the house and ask of it, over HTTP.
//!
//! Everything is below `/api/v1`, but for `/health`, `/metrics` and `/openapi.json`. Who may ask is
//! decided by [`guard`]; every error is a problem document, made by one table in [`trouble`].

mod acts;
mod contract;
mod door;
mod events;
pub mod guard;
mod house;
pub(crate) mod moment;
mod naming;
mod patience;
mod report;
mod rows;
mod serve;
mod trouble;
mod usage;
mod watches;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use dormouse_keeper::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::conductor::Score;
use crate::config::AdminToken;
use crate::metering::Board;
use crate::metrics::Metrics;
use crate::pins::Pins;
use crate::registry::Registry;

pub use contract::openapi;
pub use door::{AdminListener, Door};
pub(crate) use moment::{duration_text, parse_duration, parse_status, rfc3339};
pub use rows::Row;
pub use serve::serve_admin;
pub use trouble::Trouble;

/// Event streams that are open at once.
const STREAMS_MAX: usize = 256;
/// How long any answer may take to begin, beyond what a caller asked to wait for a wake.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 16 << 10;

/// What the admin API needs of the rest of the house.
pub struct AdminState {
    /// Answers about workloads, and acts on them.
    pub keeper: Handle,
    /// What is configured, and where to ask for a reload.
    pub score: Score,
    /// Sets and removes pins.
    pub pins: Arc<Pins>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is measured.
    pub board: Arc<Board>,
    /// Who may use the API over TCP; anybody who can reach it when empty.
    pub tokens: Vec<AdminToken>,
}

/// The state of every handler. Cheap to clone.
#[derive(Clone)]
struct App(Arc<Inner>);

struct Inner {
    state: AdminState,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl App {
    /// The registry that holds now.
    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.score.registry.borrow())
    }
}

impl std::ops::Deref for App {
    type Target = AdminState;

    fn deref(&self) -> &AdminState {
        &self.0.state
    }
}

/// The routes of the API behind its guard. Event streams end with `shutdown`.
pub fn router(state: AdminState, shutdown: CancellationToken) -> Router {
    let app =
        App(Arc::new(Inner { state, streams: Arc::new(Semaphore::new(STREAMS_MAX)), shutdown }));
    let v1 = Router::new()
        .route("/workloads", get(workloads::list))
        .route("/workloads/{name}", get(workloads::show))
        .route("/workloads/{name}/wake", post(acts::wake))
        .route("/workloads/{name}/sleep", post(acts::sleep))
        .route("/workloads/{name}/touch", post(acts::touch))
        .route("/workloads/{name}/pin", put(acts::pin).delete(acts::unpin))
        .route("/workloads/{name}/events", get(events::of_workload))
        .route("/workloads/{name}/logs", get(workloads::logs))
        .route("/workloads/{name}/metrics", get(usage::of_workload))
        .route("/events", get(events::of_house))
        .route("/environments", get(house::environments))
        .route("/watches", get(watches::watches))
        .route("/environments/{name}/metrics", get(usage::of_environment))
        .route("/summary", get(house::summary))
        .route("/reload", post(house::reload))
        .route("/config/findings", get(house::findings));
    Router::new()
        .nest("/api/v1", v1)
        .route("/health", get(house::health))
        .route("/metrics", get(house::metrics))
        .route("/openapi.json", get(contract::document))
        .fallback(trouble::no_such_endpoint)
        .method_not_allowed_fallback(trouble::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .with_state(app)
}

/// The last resort against an answer that never comes: every wait of a handler has a bound of its
/// own below this one.
async fn in_time(request: Request, next: Next) -> Result<Response, Trouble> {
    let answer = next.run(request);
    let answer = tokio::time::timeout(acts::WAIT_MAX + ANSWER_MAX, answer).await;
    answer.map_err(|_| Trouble::TooSlow)
}
