//! What dormouse itself answers on a workload's hostname: `/.dormouse/` and nothing else.

use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::gatekeeper::{Gatekeeper, Story};
use crate::http::body::Kind;
use crate::settings::PING_EVERY;
use crate::site::Site;

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The story of a wake as server-sent events.
#[derive(Debug)]
pub(crate) struct StoryBody {
    workload: String,
    story: Receiver<Story>,
    ping: Interval,
    /// Resolves when the data plane begins to end.
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
}

#[derive(Serialize)]
struct Status<'a> {
    workload: &'a str,
    phase: &'a str,
    why: &'a str,
    healthy: bool,
}

#[derive(Serialize)]
struct Progress<'a> {
    workload: &'a str,
    seq: u64,
    at: String,
    r#type: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency: Option<String>,
}

/// The page that is asked for, where a path is reserved: what follows the route's prefix and
/// `/.dormouse/`.
pub(crate) fn page<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.get(prefix.len()..)?.strip_prefix("/.dormouse")?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

/// Answers for a reserved page. `None` where there is no such page. Nothing here wakes or counts.
pub(crate) fn answer<G: Gatekeeper>(
    gatekeeper: &G,
    site: &Site<G::Key>,
    page: &str,
    (parts, draining): (&Parts, &CancellationToken),
) -> Option<Response<Kind>> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return matches!(page, "events" | "status" | "health").then(method_not_allowed);
    }
    match page {
        "events" => Some(events(gatekeeper, site, &parts.headers, draining)),
        "status" => Some(status(gatekeeper, site)),
        "health" => Some(health(gatekeeper, site)),
        _ => None,
    }
}

impl StoryBody {
    /// Ends when the data plane does, or when the publisher drops a reader that is too slow.
    pub(crate) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.draining.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        match self.story.poll_recv(context) {
            Poll::Ready(Some(story)) => Poll::Ready(Some(self.event(&story))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.ping.poll_tick(context));
                Poll::Ready(Some(Bytes::from_static(b"event: ping\ndata: {}\n\n")))
            }
        }
    }

    fn event(&self, story: &Story) -> Bytes {
        let progress = Progress {
            workload: &self.workload,
            seq: story.seq,
            at: rfc3339(story.at_ms),
            r#type: story.step.kind.as_str(),
            message: &story.step.message,
            error: story.error.as_deref(),
            dependency: story.step.dependency.as_ref().map(ToString::to_string),
        };
        let data = serde_json::to_string(&progress).expect("progress has only strings and numbers");
        let mut event = String::with_capacity(data.len() + 48);
        write!(event, "id: {}\nevent: progress\ndata: {data}\n\n", story.seq)
            .expect("a string takes everything");
        Bytes::from(event)
    }
}

fn events<G: Gatekeeper>(
    gatekeeper: &G,
    site: &Site<G::Key>,
    headers: &HeaderMap,
    draining: &CancellationToken,
) -> Response<Kind> {
    let after = headers.get(&LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let story = gatekeeper.story(&site.key, after);
    let body = StoryBody {
        workload: site.workload.clone(),
        story,
        ping,
        draining: Box::pin(draining.clone().cancelled_owned()),
    };
    let mut response = response(StatusCode::OK, "text/event-stream", Kind::Story(Box::new(body)));
    // Proxies in front of us would otherwise collect the events.
    response.headers_mut().insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn status<G: Gatekeeper>(gatekeeper: &G, site: &Site<G::Key>) -> Response<Kind> {
    let moment = gatekeeper.moment(&site.key);
    let status = Status {
        workload: &site.workload,
        phase: moment.phase,
        why: &moment.why,
        healthy: moment.healthy,
    };
    let body = serde_json::to_vec(&status).expect("a status has only strings");
    response(StatusCode::OK, "application/json", Kind::Whole(body.into()))
}

fn health<G: Gatekeeper>(gatekeeper: &G, site: &Site<G::Key>) -> Response<Kind> {
    let moment = gatekeeper.moment(&site.key);
    let status = if moment.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response(status, "text/plain; charset=utf-8", Kind::Whole(format!("{}\n", moment.phase).into()))
}

fn method_not_allowed() -> Response<Kind> {
    let mut response = response(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain; charset=utf-8",
        Kind::Whole(Bytes::from_static(b"only GET and HEAD\n")),
    );
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn response(status: StatusCode, kind: &'static str, body: Kind) -> Response<Kind> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::{page, rfc3339};

    #[test]
    fn only_the_reserved_prefix_is_taken() {
        let cases = [
            ("/.dormouse/events", "", Some("events")),
            ("/.dormouse", "", Some("")),
            ("/.dormouse/", "", Some("")),
            ("/.dormouse/a/b", "", Some("a/b")),
            ("/.dormouses", "", None),
            ("/favicon.ico", "", None),
            ("/blog/.dormouse/health", "/blog", Some("health")),
            ("/blog/x/.dormouse/health", "/blog", None),
            ("*", "", None),
        ];
        for (path, prefix, expected) in cases {
            assert_eq!(page(path, prefix), expected, "{path}");
        }
    }

    #[test]
    fn times_are_written_as_people_and_programs_read_them() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
