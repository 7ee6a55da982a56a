//! The one table that turns what went wrong into what the client is told.

use std::time::Duration;

use bytes::Bytes;
use dormouse_core::FailureKind;
use dormouse_core::failure::Denial;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::http::headers::is_grpc;
use crate::http::strict::Wrong;
use crate::loading::Pages;
use crate::navigation::{is_html_wanted, prefers_html};
use crate::waiting::Full;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What an upstream's connection ended with.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request has no answer of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request is not one that may go on")]
    Wrong(#[from] Wrong),
    #[error("nothing is served under this hostname and path")]
    NoRoute,
    #[error("dormouse has no such page")]
    NoSuchPage,
    #[error("too many requests wait for this workload")]
    RoomFull(Full),
    #[error("the workload could not be woken")]
    Denied(Denial),
    #[error("the workload has no address for the port of this route")]
    NoAddress,
    #[error("the workload cannot be reached")]
    Unreachable(#[source] std::io::Error),
    #[error("the workload closed the connection before its answer was complete")]
    Closed(#[source] Cause),
    #[error("the workload's answer is not HTTP")]
    Garbled(#[source] Cause),
    #[error("the workload did not answer in time")]
    AnswerTimeout,
    #[error("the workload switched to another protocol, which nobody asked for")]
    UnaskedUpgrade,
    #[error("the rest of the request's body did not arrive, or is not framed correctly")]
    BodyBroken,
}

/// How whoever asked wants to be told.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    grpc: bool,
    accept: Option<HeaderValue>,
    navigates: bool,
}

/// A problem as its document says it (RFC 9457, with members of our own).
#[derive(Debug, Serialize)]
pub(crate) struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    slug: &'static str,
    detail: String,
    hint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'a str>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    log: &'a [String],
}

/// A row of the table.
struct Row {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    hint: &'static str,
    retry_after: Option<Duration>,
}

/// When a full waiting room may be tried again.
const ROOM_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Refusal {
    /// What the client is told.
    pub(crate) fn response(
        &self,
        asker: &Asker,
        workload: Option<&str>,
        pages: &Pages,
    ) -> Response<Bytes> {
        let row = self.row();
        let problem = self.problem(&row, workload);
        let mut response = if asker.grpc {
            grpc(&row, &problem.detail)
        } else if asker.wants_html() {
            pages.problem(row.status, &problem)
        } else {
            document(row.status, &problem)
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn row(&self) -> Row {
        let row = |status, slug, title, hint| Row { status, slug, title, hint, retry_after: None };
        match self {
            Self::Wrong(_) => row(
                StatusCode::BAD_REQUEST,
                "bad-request",
                "Bad request",
                "send a request that can only be read in one way",
            ),
            Self::NoRoute => row(
                StatusCode::NOT_FOUND,
                "no-route",
                "Nothing here",
                "check the address, or add the hostname to a workload's hosts",
            ),
            Self::NoSuchPage => row(
                StatusCode::NOT_FOUND,
                "no-such-page",
                "Nothing here",
                "below /.dormouse/ there are events, status and health",
            ),
            Self::RoomFull(_) => Row {
                retry_after: Some(ROOM_RETRY_AFTER),
                ..row(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "waiting-room-full",
                    "Too many are waiting",
                    "try again soon, or raise the workload's held limits",
                )
            },
            Self::Denied(denial) => {
                let kind = denial.failure.kind;
                Row {
                    retry_after: Some(denial.retry_after),
                    ..row(of_kind(kind), kind.slug(), kind.title(), kind.hint())
                }
            }
            Self::NoAddress => row(
                StatusCode::BAD_GATEWAY,
                "no-such-port",
                "The workload has no such port",
                "check the port of the route",
            ),
            Self::Unreachable(_) => row(
                StatusCode::BAD_GATEWAY,
                "upstream-unreachable",
                "The workload cannot be reached",
                "see whether it still runs, and listens on its port",
            ),
            Self::Closed(_) => row(
                StatusCode::BAD_GATEWAY,
                "upstream-closed",
                "The workload closed the connection",
                "read the last lines of its log",
            ),
            Self::Garbled(_) => row(
                StatusCode::BAD_GATEWAY,
                "upstream-garbled",
                "The workload answered wrongly",
                "check that the route's port speaks HTTP, and that the scheme is right",
            ),
            Self::AnswerTimeout => row(
                StatusCode::GATEWAY_TIMEOUT,
                "answer-timeout",
                "The workload did not answer",
                "see what the workload is busy with",
            ),
            Self::UnaskedUpgrade => row(
                StatusCode::BAD_GATEWAY,
                "unasked-upgrade",
                "The workload answered wrongly",
                "check that the route's port speaks HTTP",
            ),
            Self::BodyBroken => row(
                StatusCode::BAD_REQUEST,
                "body-broken",
                "The request is incomplete",
                "send the whole body, in well-formed chunks",
            ),
        }
    }

    fn problem<'a>(&'a self, row: &Row, workload: Option<&'a str>) -> Problem<'a> {
        let (detail, log) = match self {
            Self::Denied(denial) => (denial.failure.detail.clone(), &denial.failure.log[..]),
            Self::Wrong(wrong) => (wrong.to_string(), &[][..]),
            Self::RoomFull(Full::PerClient) => {
                ("too many requests of this client wait for this workload".into(), &[][..])
            }
            Self::NoRoute
            | Self::NoSuchPage
            | Self::RoomFull(Full::Requests)
            | Self::NoAddress
            | Self::Unreachable(_)
            | Self::Closed(_)
            | Self::Garbled(_)
            | Self::AnswerTimeout
            | Self::UnaskedUpgrade
            | Self::BodyBroken => (self.to_string(), &[][..]),
        };
        Problem {
            r#type: format!("urn:dormouse:problem:{}", row.slug),
            title: row.title,
            status: row.status.as_u16(),
            slug: row.slug,
            detail,
            hint: row.hint,
            workload,
            retry_after: row.retry_after.map(whole_seconds),
            log,
        }
    }

    /// Whether what follows on the connection cannot be trusted to be a request.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::Wrong(_) | Self::BodyBroken)
    }
}

/// The status of a failed wake: 502 where it has failed, 504 where it took too long, 500 where only
/// the owner can help, 503 where it may work later by itself.
fn of_kind(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::StartRefused
        | FailureKind::Crashed { .. }
        | FailureKind::Absent
        | FailureKind::Unreachable
        | FailureKind::NeedFailed => StatusCode::BAD_GATEWAY,
        FailureKind::NeverReady | FailureKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        FailureKind::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        FailureKind::RestRefused => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Asker {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            grpc: is_grpc(headers),
            accept: headers.get(http::header::ACCEPT).cloned(),
            navigates: is_html_wanted(headers),
        }
    }

    fn wants_html(&self) -> bool {
        self.navigates
            || self.accept.as_ref().is_some_and(|accept| {
                let headers = HeaderMap::from_iter([(http::header::ACCEPT, accept.clone())]);
                prefers_html(&headers)
            })
    }
}

fn document(status: StatusCode, problem: &Problem<'_>) -> Response<Bytes> {
    let body = serde_json::to_vec(problem).expect("a problem has only strings and numbers");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A trailers-only answer.
fn grpc(row: &Row, detail: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(&GRPC_STATUS, HeaderValue::from(grpc_code(row.status)));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(detail)) {
        headers.insert(&GRPC_MESSAGE, message);
    }
    response
}

/// INTERNAL, UNIMPLEMENTED, DEADLINE_EXCEEDED or UNAVAILABLE.
fn grpc_code(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST => 13,
        StatusCode::NOT_FOUND => 12,
        StatusCode::GATEWAY_TIMEOUT => 4,
        _ => 14,
    }
}

/// As gRPC wants it: visible ASCII but `%` as it is, the rest as bytes in hexadecimal.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// At least one: zero would invite the client to come back at once.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Asker, Refusal, percent_encoded};
    use crate::loading::Pages;
    use crate::waiting::Full;
    use dormouse_core::failure::{Denial, Failure, FailureKind};
    use http::{HeaderMap, HeaderName};
    use std::time::Duration;

    fn asker(headers: &[(&'static str, &'static str)]) -> Asker {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Asker::of(&headers)
    }

    fn crashed() -> Refusal {
        let mut failure = Failure::new(FailureKind::Crashed { exit_code: Some(3) }, "it ended <3>");
        failure.log = vec!["<script>".into()];
        Refusal::Denied(Denial { failure, retry_after: Duration::from_millis(1500) })
    }

    #[test]
    fn a_program_gets_a_problem_document() {
        let response = crashed().response(&asker(&[]), Some("local/blog"), &Pages::new());
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["slug"], "crashed");
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["detail"], "it ended <3>");
        assert_eq!(problem["workload"], "local/blog");
        assert_eq!(problem["retry_after"], 2);
        assert_eq!(problem["log"][0], "<script>");
        assert!(problem["hint"].is_string() && problem["title"].is_string());
    }

    #[test]
    fn a_person_gets_a_page_in_which_everything_is_escaped() {
        for headers in [&[("accept", "text/html")][..], &[("sec-fetch-mode", "navigate")]] {
            let response = crashed().response(&asker(headers), Some("<b>"), &Pages::new());
            assert_eq!(response.status(), 502);
            assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
            let page = std::str::from_utf8(response.body()).unwrap();
            assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
            assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
        }
    }

    #[test]
    fn grpc_gets_a_status_of_its_own() {
        let asker = asker(&[("content-type", "application/grpc+proto")]);
        let cases = [
            (FailureKind::NeverReady, "4"),
            (FailureKind::TimedOut, "4"),
            (FailureKind::StartRefused, "14"),
            (FailureKind::Misconfigured, "14"),
        ];
        for (kind, code) in cases {
            let failure = Failure::new(kind, "80 % é");
            let denial = Denial { failure, retry_after: Duration::ZERO };
            let response = Refusal::Denied(denial).response(&asker, None, &Pages::new());
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], code);
            assert_eq!(response.headers()["grpc-message"], "80 %25 %C3%A9");
            assert!(response.body().is_empty());
        }
    }

    #[test]
    fn a_full_room_says_when_to_come_back() {
        for full in [Full::Requests, Full::PerClient] {
            let response = Refusal::RoomFull(full).response(&asker(&[]), None, &Pages::new());
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "5");
        }
    }

    #[test]
    fn messages_survive_every_character() {
        assert_eq!(percent_encoded("a\r\nb"), "a%0D%0Ab");
    }
}
