//! The rows of the table: one kind of trouble each, with its status and what to do about it.

use axum::http::StatusCode;
use dormouse_core::FailureKind;

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

pub(super) const NO_SUCH_WORKLOAD: Row = row(
    StatusCode::NOT_FOUND,
    "no-such-workload",
    "No such workload",
    "list the workloads to see what they are called",
);
pub(super) const NO_SUCH_ENVIRONMENT: Row = row(
    StatusCode::NOT_FOUND,
    "no-such-environment",
    "No such environment",
    "list the environments to see what they are called",
);
pub(super) const AMBIGUOUS: Row = row(
    StatusCode::CONFLICT,
    "ambiguous-name",
    "More than one workload",
    "say which one, as environment/name (in a path: environment~name)",
);
pub(super) const IN_USE: Row = row(
    StatusCode::CONFLICT,
    "in-use",
    "The workload is in use",
    "wait until nothing is open, or force it",
);
pub(super) const STILL_WAKING: Row = row(
    StatusCode::GATEWAY_TIMEOUT,
    "still-waking",
    "The wake goes on",
    "ask again, or wait longer",
);
pub(super) const BAD_REQUEST: Row = row(
    StatusCode::BAD_REQUEST,
    "bad-request",
    "Bad request",
    "see /openapi.json for what this endpoint takes",
);
pub(super) const TOO_LARGE: Row = row(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too-large",
    "Too large",
    "see /openapi.json for what this endpoint takes",
);
pub(super) const TOKEN_MISSING: Row = row(
    StatusCode::UNAUTHORIZED,
    "token-missing",
    "Token missing",
    "send a token of admin_tokens as `Authorization: Bearer`",
);
pub(super) const TOKEN_UNKNOWN: Row = row(
    StatusCode::UNAUTHORIZED,
    "token-unknown",
    "Token unknown",
    "send a token of admin_tokens as `Authorization: Bearer`",
);
pub(super) const SCOPE_TOO_SMALL: Row = row(
    StatusCode::FORBIDDEN,
    "scope-too-small",
    "Not allowed",
    "use a token of a larger scope: operate to act on workloads, admin to reload",
);
pub(super) const FOREIGN_HOST: Row = row(
    StatusCode::FORBIDDEN,
    "foreign-host",
    "Foreign Host",
    "use localhost or the address that admin listens on; a proxy in front has to send that as Host",
);
pub(super) const FOREIGN_ORIGIN: Row = row(
    StatusCode::FORBIDDEN,
    "foreign-origin",
    "Foreign Origin",
    "ask from a page of this address, or without a browser",
);
pub(super) const NO_SUCH_ENDPOINT: Row = row(
    StatusCode::NOT_FOUND,
    "no-such-endpoint",
    "No such endpoint",
    "see /openapi.json for what there is",
);
pub(super) const WRONG_METHOD: Row = row(
    StatusCode::METHOD_NOT_ALLOWED,
    "wrong-method",
    "Wrong method",
    "see /openapi.json for what this endpoint takes",
);
pub(super) const CONFIG_INVALID: Row = row(
    StatusCode::UNPROCESSABLE_ENTITY,
    "config-invalid",
    "The configuration has errors",
    "correct what the findings name, and reload again",
);
pub(super) const NO_LOG: Row = row(
    StatusCode::BAD_GATEWAY,
    "no-log",
    "The log cannot be read",
    "see what the runtime says about it",
);
pub(super) const PIN_NOT_SAVED: Row = row(
    StatusCode::INTERNAL_SERVER_ERROR,
    "pin-not-saved",
    "The pin may not survive a restart",
    "check that gateway.state can be written to, and pin again",
);
pub(super) const TOO_MANY_STREAMS: Row = row(
    StatusCode::SERVICE_UNAVAILABLE,
    "too-many-streams",
    "Too many event streams",
    "close event streams that nobody reads",
);
pub(super) const SHUTTING_DOWN: Row = row(
    StatusCode::SERVICE_UNAVAILABLE,
    "shutting-down",
    "Shutting down",
    "ask again when dormouse has started again",
);
pub(super) const TOO_SLOW: Row = row(
    StatusCode::GATEWAY_TIMEOUT,
    "too-slow",
    "Dormouse is busy",
    "ask again later, and see what the machine is busy with",
);

/// All of them but those of failed wakes.
pub(super) const ALL: [Row; 20] = [
    NO_SUCH_WORKLOAD,
    NO_SUCH_ENVIRONMENT,
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
    TOO_SLOW,
];

/// The row of a failed wake: 502 where it has failed, 503 where it may work later by itself, 504
/// where it took too long, 500 where only its owner can help.
pub(super) fn of_kind(kind: FailureKind) -> Row {
    let status = match kind {
        FailureKind::StartRefused
        | FailureKind::Crashed { .. }
        | FailureKind::Absent
        | FailureKind::NeedFailed => StatusCode::BAD_GATEWAY,
        FailureKind::NeverReady | FailureKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::Unreachable | FailureKind::RestRefused => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
    };
    row(status, kind.slug(), kind.title(), kind.hint())
}
