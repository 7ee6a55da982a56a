//! The one table that turns what went wrong into what the caller is told.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dormouse_core::WorkloadId;
use dormouse_core::failure::Denial;
use dormouse_keeper::Gone;
use dormouse_providers::ProviderError;
use dormouse_wire::{Finding, Leases, Problem};

use super::rows::{self, Row};
use crate::config::report::quote;
use crate::pins::PinError;

/// Why a request to the admin API was not done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing has that name.
    #[error("no workload is called {}", quote(name))]
    NoSuchWorkload {
        /// As the caller wrote it.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// No environment has that name.
    #[error("no environment is called {}", quote(_0))]
    NoSuchEnvironment(String),
    /// Several environments have a workload of that name.
    #[error("several workloads are called {}", quote(name))]
    Ambiguous {
        /// As the caller wrote it.
        name: String,
        /// Their ids.
        candidates: Vec<String>,
    },
    /// A workload that is in use does not sleep unless it is forced to.
    #[error("{why}")]
    InUse {
        /// Which.
        id: WorkloadId,
        /// What keeps it from sleeping.
        why: String,
        /// What is open.
        leases: Leases,
    },
    /// The wake failed, or has failed just now.
    #[error("{}", denial.failure.detail)]
    Denied {
        /// Which.
        id: WorkloadId,
        /// Why, and when to ask again.
        denial: Box<Denial>,
    },
    /// The wake goes on, and the caller does not want to wait any longer.
    #[error("it is still {phase}: {why}")]
    StillWaking {
        /// Which.
        id: WorkloadId,
        /// The phase's word.
        phase: &'static str,
        /// One sentence.
        why: String,
    },
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// The body is too large.
    #[error("the body of the request is too large")]
    TooLarge,
    /// A token is needed, and none was sent.
    #[error("this address needs a token")]
    TokenMissing,
    /// The token that was sent is none of ours.
    #[error("the token is not known")]
    TokenUnknown,
    /// The token does not allow this.
    #[error("the token does not allow this")]
    ScopeTooSmall,
    /// The Host header names something that is not this API.
    #[error("the hostname {} is not one of this API", quote(.0))]
    ForeignHost(String),
    /// A page of another site asks.
    #[error("a page of another site may not ask this")]
    ForeignOrigin,
    /// There is nothing under this path.
    #[error("there is no endpoint at {}", quote(.0))]
    NoSuchEndpoint(String),
    /// The path exists, with other methods.
    #[error("this endpoint does not know {0}")]
    WrongMethod(Method),
    /// The files have errors.
    #[error("the configuration has errors; the last good one stays in force")]
    ReloadRefused(Vec<Finding>),
    /// The log could not be read.
    #[error("its log cannot be read: {0}")]
    NoLog(ProviderError),
    /// The pin is set, and would not survive a restart.
    #[error("the pin is in force, but not written down: {0}")]
    PinNotSaved(PinError),
    /// As many event streams are open as may be.
    #[error("too many event streams are open")]
    TooManyStreams,
    /// Dormouse is ending, or has not begun.
    #[error("dormouse is shutting down")]
    ShuttingDown,
    /// The answer took too long.
    #[error("the answer took too long")]
    TooSlow,
}

impl Trouble {
    /// Every row but those of failed wakes, which [`dormouse_core::FailureKind`] names.
    pub const ROWS: [Row; 20] = rows::ALL;

    fn row(&self) -> Row {
        match self {
            Self::NoSuchWorkload { .. } => rows::NO_SUCH_WORKLOAD,
            Self::NoSuchEnvironment(_) => rows::NO_SUCH_ENVIRONMENT,
            Self::Ambiguous { .. } => rows::AMBIGUOUS,
            Self::InUse { .. } => rows::IN_USE,
            Self::Denied { denial, .. } => rows::of_kind(denial.failure.kind),
            Self::StillWaking { .. } => rows::STILL_WAKING,
            Self::BadRequest(_) => rows::BAD_REQUEST,
            Self::TooLarge => rows::TOO_LARGE,
            Self::TokenMissing => rows::TOKEN_MISSING,
            Self::TokenUnknown => rows::TOKEN_UNKNOWN,
            Self::ScopeTooSmall => rows::SCOPE_TOO_SMALL,
            Self::ForeignHost(_) => rows::FOREIGN_HOST,
            Self::ForeignOrigin => rows::FOREIGN_ORIGIN,
            Self::NoSuchEndpoint(_) => rows::NO_SUCH_ENDPOINT,
            Self::WrongMethod(_) => rows::WRONG_METHOD,
            Self::ReloadRefused(_) => rows::CONFIG_INVALID,
            Self::NoLog(_) => rows::NO_LOG,
            Self::PinNotSaved(_) => rows::PIN_NOT_SAVED,
            Self::TooManyStreams => rows::TOO_MANY_STREAMS,
            Self::ShuttingDown => rows::SHUTTING_DOWN,
            Self::TooSlow => rows::TOO_SLOW,
        }
    }

    /// The document that the caller is sent.
    pub(crate) fn problem(&self) -> Problem {
        let row = self.row();
        let problem = Problem {
            detail: self.to_string(),
            hint: Some(row.hint.to_owned()),
            ..Problem::new(row.status.as_u16(), row.slug, row.title)
        };
        match self {
            Self::NoSuchWorkload { near: Some(near), .. } => Problem {
                hint: Some(format!("did you mean `{near}`?")),
                candidates: vec![near.clone()],
                ..problem
            },
            Self::Ambiguous { candidates, .. } => {
                Problem { candidates: candidates.clone(), ..problem }
            }
            Self::InUse { id, leases, .. } => {
                Problem { workload: Some(id.to_string()), leases: Some(*leases), ..problem }
            }
            Self::Denied { id, denial } => Problem {
                workload: Some(id.to_string()),
                retry_after: Some(whole_seconds(denial.retry_after)),
                log: denial.failure.log.clone(),
                ..problem
            },
            Self::StillWaking { id, .. } => {
                Problem { workload: Some(id.to_string()), retry_after: Some(1), ..problem }
            }
            Self::ReloadRefused(findings) => Problem { findings: findings.clone(), ..problem },
            Self::NoSuchWorkload { near: None, .. }
            | Self::NoSuchEnvironment(_)
            | Self::BadRequest(_)
            | Self::TooLarge
            | Self::TokenMissing
            | Self::TokenUnknown
            | Self::ScopeTooSmall
            | Self::ForeignHost(_)
            | Self::ForeignOrigin
            | Self::NoSuchEndpoint(_)
            | Self::WrongMethod(_)
            | Self::NoLog(_)
            | Self::PinNotSaved(_)
            | Self::TooManyStreams
            | Self::ShuttingDown
            | Self::TooSlow => problem,
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = self.row().status;
        let body = serde_json::to_vec(&problem).expect("a problem has only strings and numbers");
        let kind = HeaderValue::from_static(Problem::MEDIA_TYPE);
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"dormouse\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Self::ShuttingDown
    }
}

impl From<PinError> for Trouble {
    fn from(error: PinError) -> Self {
        match error {
            PinError::Gone => Self::ShuttingDown,
            PinError::NotSaved(_) => Self::PinNotSaved(error),
        }
    }
}

impl From<QueryRejection> for Trouble {
    fn from(rejection: QueryRejection) -> Self {
        Self::BadRequest(rejection.body_text())
    }
}

/// The answer to a path that leads nowhere.
pub(super) async fn no_such_endpoint(uri: Uri) -> Trouble {
    Trouble::NoSuchEndpoint(uri.path().to_owned())
}

/// The answer to a method that the path does not know.
pub(super) async fn wrong_method(method: Method) -> Trouble {
    Trouble::WrongMethod(method)
}

/// At least one: zero would invite the caller to come back at once.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}
