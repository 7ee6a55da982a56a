//! The event streams: a bounded history first, then live. A reader that falls behind is dropped
//! and may come back with `Last-Event-ID`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use dormouse_core::{Timestamp, WorkloadId};
use dormouse_keeper::{Clock, JournalEntry, StoryLine};
use dormouse_wire as wire;
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::App;
use super::naming::Named;
use super::report;
use super::trouble::Trouble;

/// How often a silent stream says that it is alive.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How soon a client should come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much of the story is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// `false` ends the stream after what has happened so far.
    #[serde(default = "default_follow")]
    follow: bool,
}

fn default_follow() -> bool {
    true
}

/// What happened to all workloads and environments, and what happens.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events",
    params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the \
        last event that was read: what came after it is sent.")),
    responses(
        (status = 200, description = "Server-sent events named by their type, each with an \
            `Event` as data; `ping` every 15 s of silence. When the stream ends, come back with \
            Last-Event-ID.", body = wire::Event, content_type = "text/event-stream"),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 503, description = "Too many streams are open: close some.",
            body = wire::Problem),
    ),
)]
pub(super) async fn of_house(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Response, Trouble> {
    let follow = query?.0.follow;
    let cursor = Cursor::resume(&headers, app.keeper.clock());
    let (history, journal) = app.keeper.journal().listen(cursor.journal_seq);
    let history = history.into_iter().map(Happening::Journal).collect();
    respond(&app, Follower::new(&app, cursor, history, journal)?, follow)
}

/// What happened to one workload, with the story of its wakes, and what happens.
#[utoipa::path(
    get, path = "/api/v1/workloads/{name}/events", tag = "events",
    params(
        ("name" = String, Path, description = super::contract::NAME),
        EventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that \
            was read: what came after it is sent."),
    ),
    responses(
        (status = 200, description = "Server-sent events named by their type, each with an \
            `Event` as data, and events named `progress` with a `ProgressEvent`; `ping` every \
            15 s of silence. When the stream ends, come back with Last-Event-ID.",
            body = wire::ProgressEvent, content_type = "text/event-stream"),
        (status = 400, description = super::contract::BAD_REQUEST, body = wire::Problem),
        (status = 404, description = super::contract::NOT_FOUND, body = wire::Problem),
        (status = 409, description = super::contract::AMBIGUOUS, body = wire::Problem),
        (status = 503, description = "Too many streams are open: close some.",
            body = wire::Problem),
    ),
)]
pub(super) async fn of_workload(
    State(app): State<App>,
    Named(id): Named,
    headers: HeaderMap,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Response, Trouble> {
    let follow = query?.0.follow;
    let gate = app.keeper.gate(&id).await?;
    let gate = gate.ok_or_else(|| Trouble::NoSuchWorkload { name: id.to_string(), near: None })?;
    let cursor = Cursor::resume(&headers, app.keeper.clock());
    let (entries, journal) = app.keeper.journal().listen(cursor.journal_seq);
    let (lines, story) = gate.story().listen(cursor.story_seq);
    let own = entries.into_iter().filter(|entry| entry.workload.as_ref() == Some(&id));
    let mut history: VecDeque<Happening> =
        own.map(Happening::Journal).chain(lines.into_iter().map(Happening::Story)).collect();
    history.make_contiguous().sort_by_key(Happening::at_ms);
    let mut follower = Follower::new(&app, cursor, history, journal)?;
    follower.subject = Some(Subject { id, story });
    respond(&app, follower, follow)
}

fn respond(app: &App, follower: Follower, follow: bool) -> Result<Response, Trouble> {
    let until = if follow { Until::Ended(app.0.shutdown.clone()) } else { Until::ToldSoFar };
    let ping = KeepAlive::new().interval(PING_EVERY);
    let ping = ping.event(sse::Event::default().event("ping").data("{}"));
    let mut response = Sse::new(events(follower, until)).keep_alive(ping).into_response();
    // Proxies that buffer would hold every event back.
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn events(follower: Follower, until: Until) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((follower, until), |(mut follower, until)| async move {
        let happening = follower.next(&until).await?;
        let event = follower.tell(&happening);
        Some((Ok(event), (follower, until)))
    })
}

/// When a stream ends.
enum Until {
    /// After what has happened so far.
    ToldSoFar,
    /// With dormouse.
    Ended(CancellationToken),
}

/// Something to tell.
enum Happening {
    Journal(JournalEntry),
    Story(StoryLine),
}

/// One reader of the story.
struct Follower {
    cursor: Cursor,
    history: VecDeque<Happening>,
    journal: broadcast::Receiver<JournalEntry>,
    /// The workload whose story is told; everybody's journal when absent.
    subject: Option<Subject>,
    _permit: OwnedSemaphorePermit,
}

struct Subject {
    id: WorkloadId,
    story: broadcast::Receiver<StoryLine>,
}

/// How far a reader has come, as an event's id says it: `PROCESS-JOURNAL[-STORY]`. An id of an
/// earlier process says nothing, for its numbers began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    process: u64,
    journal_seq: u64,
    story_seq: Option<u64>,
}

impl Follower {
    fn new(
        app: &App,
        cursor: Cursor,
        history: VecDeque<Happening>,
        journal: broadcast::Receiver<JournalEntry>,
    ) -> Result<Self, Trouble> {
        let permit = app.0.streams.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Trouble::TooManyStreams)?;
        Ok(Self { cursor, history, journal, subject: None, _permit: permit })
    }

    /// The next thing to tell; `None` ends the stream.
    async fn next(&mut self, until: &Until) -> Option<Happening> {
        if let Some(told) = self.history.pop_front() {
            return Some(told);
        }
        let Until::Ended(ended) = until else { return None };
        tokio::select! {
            () = ended.cancelled() => None,
            happening = self.live() => happening,
        }
    }

    /// A reader that has fallen behind is dropped, and so is one whose workload was forgotten.
    async fn live(&mut self) -> Option<Happening> {
        let Some(subject) = &mut self.subject else {
            return self.journal.recv().await.ok().map(Happening::Journal);
        };
        loop {
            tokio::select! {
                line = subject.story.recv() => return line.ok().map(Happening::Story),
                entry = self.journal.recv() => {
                    let entry = entry.ok()?;
                    if entry.workload.as_ref() == Some(&subject.id) {
                        return Some(Happening::Journal(entry));
                    }
                }
            }
        }
    }

    fn tell(&mut self, happening: &Happening) -> sse::Event {
        let event = sse::Event::default().retry(RETRY_AFTER);
        let event = match happening {
            Happening::Journal(entry) => {
                self.cursor.journal_seq = entry.seq;
                let event_data = report::event(entry);
                let name = event_data.kind.as_str();
                event.event(name).json_data(event_data)
            }
            Happening::Story(line) => {
                self.cursor.story_seq = Some(line.seq);
                let id = self.subject.as_ref().map(|subject| &subject.id);
                let id = id.expect("only a workload's own stream tells its story");
                event.event("progress").json_data(report::progress(id, line))
            }
        };
        let event = event.expect("events are JSON on one line");
        event.id(self.cursor.to_string())
    }
}

impl Happening {
    fn at_ms(&self) -> u64 {
        match self {
            Self::Journal(entry) => entry.at_ms,
            Self::Story(line) => line.at_ms,
        }
    }
}

impl Cursor {
    fn resume(headers: &HeaderMap, clock: Clock) -> Self {
        let process = clock.unix_ms(Timestamp::ZERO);
        let start = Self { process, journal_seq: 0, story_seq: None };
        let said = headers.get("last-event-id").and_then(|id| Self::parse(id.to_str().ok()?));
        said.filter(|cursor| cursor.process == process).unwrap_or(start)
    }

    fn parse(id: &str) -> Option<Self> {
        let mut parts = id.trim().split('-');
        Some(Self {
            process: u64::from_str_radix(parts.next()?, 36).ok()?,
            journal_seq: parts.next()?.parse().ok()?,
            story_seq: parts.next().map(str::parse).transpose().ok()?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", base36(self.process), self.journal_seq)?;
        self.story_seq.map_or(Ok(()), |seq| write!(f, "-{seq}"))
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).expect("a remainder of 36 is small");
        digits.push(char::from_digit(digit, 36).expect("a digit of base 36"));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn an_id_is_read_back() {
        for story_seq in [None, Some(7)] {
            let cursor = Cursor { process: 1_700_000_000_123, journal_seq: 42, story_seq };
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        for id in ["", "x", "-1", "zz-", "zz-1-x", "é-1"] {
            assert_eq!(Cursor::parse(id), None, "{id}");
        }
    }
}
