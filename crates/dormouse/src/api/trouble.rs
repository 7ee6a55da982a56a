//! The one table that turns what went wrong into what the caller is told.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use dormouse_core::failure::Denial;
use dormouse_core::{FailureKind, WorkloadId};
use dormouse_keeper::Gone;
use dormouse_providers::ProviderError;
use dormouse_wire::{Finding, Leases, Problem};

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
}

/// A row of the table: one kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable name.
    pub slug: &'static str,
    /// The kind of trouble, for a person.
    pub title: &'static str,
    /// What the reader can do about it.
    pub hint: &'static str,
}

const fn row(
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    hint: &'static str,
) -> Row {
    Row { status, slug, title, hint }
}

const NO_SUCH_WORKLOAD: Row = row(
    StatusCode::NOT_FOUND,
    "no-such-workload",
    "No such workload",
    "list the workloads to see what they are called",
);
const AMBIGUOUS: Row = row(
    StatusCode::CONFLICT,
    "ambiguous-name",
    "More than one workload",
    "say which one, as environment/name (in a path: environment~name)",
);
const IN_USE: Row = row(
    StatusCode::CONFLICT,
    "in-use",
    "The workload is in use",
    "wait until nothing is open, or force it",
);
const STILL_WAKING: Row = row(
    StatusCode::GATEWAY_TIMEOUT,
    "still-waking",
    "The wake goes on",
    "ask again, or wait longer",
);
const BAD_REQUEST: Row = row(
    StatusCode::BAD_REQUEST,
    "bad-request",
    "Bad request",
    "see /openapi.json for what this endpoint takes",
);
const TOO_LARGE: Row = row(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too-large",
    "Too large",
    "see /openapi.json for what this endpoint takes",
);
const TOKEN_MISSING: Row = row(
    StatusCode::UNAUTHORIZED,
    "token-missing",
    "Token missing",
    "send a token of admin_tokens as `Authorization: Bearer`",
);
const TOKEN_UNKNOWN: Row = row(
    StatusCode::UNAUTHORIZED,
    "token-unknown",
    "Token unknown",
    "send a token of admin_tokens as `Authorization: Bearer`",
);
const SCOPE_TOO_SMALL: Row = row(
    StatusCode::FORBIDDEN,
    "scope-too-small",
    "Not allowed",
    "use a token of a larger scope: operate to act on workloads, admin to reload",
);
const FOREIGN_HOST: Row = row(
    StatusCode::FORBIDDEN,
    "foreign-host",
    "Foreign Host",
    "use localhost or the address that admin listens on; a proxy in front has to send that as Host",
);
const FOREIGN_ORIGIN: Row = row(
    StatusCode::FORBIDDEN,
    "foreign-origin",
    "Foreign Origin",
    "ask from a page of this address, or without a browser",
);
const NO_SUCH_ENDPOINT: Row = row(
    StatusCode::NOT_FOUND,
    "no-such-endpoint",
    "No such endpoint",
    "see /openapi.json for what there is",
);
const WRONG_METHOD: Row = row(
    StatusCode::METHOD_NOT_ALLOWED,
    "wrong-method",
    "Wrong method",
    "see /openapi.json for what this endpoint takes",
);
const CONFIG_INVALID: Row = row(
    StatusCode::UNPROCESSABLE_ENTITY,
    "config-invalid",
    "The configuration has errors",
    "correct what the findings name, and reload again",
);
const NO_LOG: Row = row(
    StatusCode::BAD_GATEWAY,
    "no-log",
    "The log cannot be read",
    "see what the runtime says about it",
);
const PIN_NOT_SAVED: Row = row(
    StatusCode::INTERNAL_SERVER_ERROR,
    "pin-not-saved",
    "The pin may not survive a restart",
    "check that gateway.state can be written to, and pin again",
);
const TOO_MANY_STREAMS: Row = row(
    StatusCode::SERVICE_UNAVAILABLE,
    "too-many-streams",
    "Too many event streams",
    "close event streams that nobody reads",
);
const SHUTTING_DOWN: Row = row(
    StatusCode::SERVICE_UNAVAILABLE,
    "shutting-down",
    "Shutting down",
    "ask again when dormouse has started again",
);

impl Trouble {
    /// Every row but those of failed wakes, which [`FailureKind`] names.
    pub const ROWS: [Row; 18] = [
        NO_SUCH_WORKLOAD,
        AMBIGUOUS,
        IN_USE,
        STILL_WAKING,
        BAD_REQUEST,
        TOO_LARGE,
        TOKEN_MISSING,
        TOKEN_UNKNOWN,
        SCOPE_TOO_SMALL,
        FOREIGN_HOST,
        FOREIGN_ORIGIN,
        NO_SUCH_ENDPOINT,
        WRONG_METHOD,
        CONFIG_INVALID,
        NO_LOG,
        PIN_NOT_SAVED,
        TOO_MANY_STREAMS,
        SHUTTING_DOWN,
    ];

    fn row(&self) -> Row {
        match self {
            Self::NoSuchWorkload { .. } => NO_SUCH_WORKLOAD,
            Self::Ambiguous { .. } => AMBIGUOUS,
            Self::InUse { .. } => IN_USE,
            Self::Denied { denial, .. } => of_kind(denial.failure.kind),
            Self::StillWaking { .. } => STILL_WAKING,
            Self::BadRequest(_) => BAD_REQUEST,
            Self::TooLarge => TOO_LARGE,
            Self::TokenMissing => TOKEN_MISSING,
            Self::TokenUnknown => TOKEN_UNKNOWN,
            Self::ScopeTooSmall => SCOPE_TOO_SMALL,
            Self::ForeignHost(_) => FOREIGN_HOST,
            Self::ForeignOrigin => FOREIGN_ORIGIN,
            Self::NoSuchEndpoint(_) => NO_SUCH_ENDPOINT,
            Self::WrongMethod(_) => WRONG_METHOD,
            Self::ReloadRefused(_) => CONFIG_INVALID,
            Self::NoLog(_) => NO_LOG,
            Self::PinNotSaved(_) => PIN_NOT_SAVED,
            Self::TooManyStreams => TOO_MANY_STREAMS,
            Self::ShuttingDown => SHUTTING_DOWN,
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
            | Self::ShuttingDown => problem,
        }
    }
}

/// The row of a failed wake: 502 where it has failed, 503 where it may work later by itself, 504
/// where it took too long.
fn of_kind(kind: FailureKind) -> Row {
    let (status, title) = match kind {
        FailureKind::StartRefused => (StatusCode::BAD_GATEWAY, "The workload could not be started"),
        FailureKind::Crashed { .. } => (StatusCode::BAD_GATEWAY, "The workload crashed"),
        FailureKind::NeverReady => (StatusCode::GATEWAY_TIMEOUT, "The workload did not get ready"),
        FailureKind::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "The workload did not wake in time"),
        FailureKind::Absent => (StatusCode::BAD_GATEWAY, "The workload does not exist"),
        FailureKind::Unreachable => {
            (StatusCode::SERVICE_UNAVAILABLE, "The workload's environment does not answer")
        }
        FailureKind::NeedFailed => (StatusCode::BAD_GATEWAY, "Something the workload needs failed"),
        FailureKind::Misconfigured => (StatusCode::BAD_GATEWAY, "The workload is misconfigured"),
        FailureKind::RestRefused => (StatusCode::SERVICE_UNAVAILABLE, "The workload is stuck"),
    };
    row(status, kind.slug(), title, kind.hint())
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
