//! Which call means which deed, and how its outcome is said in HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::container::{Container, Status};
use super::create;
use super::deeds::{self, Force};
use super::events::{Filters, label_matches};
use super::meters;
use super::query::{Query, decoded};
use super::server::{Body, full, json_text};
use super::shapes;
use super::shared::{Deed, Done, Refusal, Shared};
use super::spec::ApiVersion;
use super::stream::{Reader, Window};

/// A call that has been understood.
#[derive(Clone, Debug)]
pub(super) enum Route {
    Ping,
    Version,
    Info,
    Disk,
    Events,
    List,
    Create,
    Inspect(String),
    Logs(String),
    Stats(String),
    Remove(String),
    Act(String, Act),
    Unsupported { message: String, as_json: bool },
    Nowhere,
}

/// What may be POSTed at a container.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Start,
    Stop,
    Restart,
    Kill,
    Pause,
    Unpause,
    Rename,
}

impl Route {
    pub(super) fn find(shared: &Shared, method: &Method, path: &str) -> Self {
        let (version, path) = split_version(path);
        if let Some(refusal) = version.and_then(|version| refuse_version(shared, version)) {
            return refusal;
        }
        let parts: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (get, post) = (method == Method::GET, method == Method::POST);
        match parts.as_slice() {
            ["_ping"] if get || method == Method::HEAD => Self::Ping,
            ["version"] if get => Self::Version,
            ["info"] if get => Self::Info,
            ["system", "df"] if get => Self::Disk,
            ["events"] if get => Self::Events,
            ["containers", "json"] if get => Self::List,
            ["containers", "create"] if post => Self::Create,
            ["containers", reference, "json"] if get => Self::Inspect((*reference).to_owned()),
            ["containers", reference, "logs"] if get => Self::Logs((*reference).to_owned()),
            ["containers", reference, "stats"] if get => Self::Stats((*reference).to_owned()),
            ["containers", reference] if method == Method::DELETE => {
                Self::Remove((*reference).to_owned())
            }
            ["containers", reference, act] if post => {
                Act::parse(act).map_or(Self::Nowhere, |act| Self::Act((*reference).to_owned(), act))
            }
            _ => Self::Nowhere,
        }
    }

    /// The word for this call in the record.
    pub(super) fn op(&self) -> &'static str {
        match self {
            Self::Ping => "_ping",
            Self::Version => "version",
            Self::Info => "info",
            Self::Disk => "df",
            Self::Events => "events",
            Self::List => "list",
            Self::Create => "create",
            Self::Inspect(_) => "inspect",
            Self::Logs(_) => "logs",
            Self::Stats(_) => "stats",
            Self::Remove(_) => "remove",
            Self::Act(_, act) => act.as_str(),
            Self::Unsupported { .. } | Self::Nowhere => "",
        }
    }

    /// The name of the container that is meant, or the words in the path where there is none.
    pub(super) fn container_name(&self, shared: &Shared) -> Option<String> {
        let reference = match self {
            Self::Inspect(reference)
            | Self::Logs(reference)
            | Self::Stats(reference)
            | Self::Remove(reference)
            | Self::Act(reference, _) => reference,
            Self::Ping
            | Self::Version
            | Self::Info
            | Self::Disk
            | Self::Events
            | Self::List
            | Self::Create
            | Self::Unsupported { .. }
            | Self::Nowhere => return None,
        };
        let world = shared.world();
        let known = world.find(reference).map(|container| container.spec.name.clone());
        Some(known.unwrap_or_else(|| reference.clone()))
    }
}

impl Act {
    fn parse(word: &str) -> Option<Self> {
        const ALL: [Act; 7] =
            [Act::Start, Act::Stop, Act::Restart, Act::Kill, Act::Pause, Act::Unpause, Act::Rename];
        ALL.into_iter().find(|act| act.as_str() == word)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Rename => "rename",
        }
    }
}

/// Does what the call asks, and says what came of it.
pub(super) async fn carry_out(
    shared: &Arc<Shared>,
    route: Route,
    query: &str,
    body: &Bytes,
) -> Response<Body> {
    let query = Query::parse(query);
    let outcome = match route {
        Route::Ping => Ok(text(200, "OK".to_owned())),
        Route::Version => Ok(json_answer(200, &shapes::version(shared))),
        Route::Info => Ok(json_answer(200, &shapes::info(shared))),
        Route::Disk => Ok(json_answer(200, &meters::disk(shared))),
        Route::Events => events(shared, &query),
        Route::List => list(shared, &query),
        Route::Create => create::from_request(shared, query.named("name"), body),
        Route::Inspect(reference) => inspect(shared, &reference).await,
        Route::Stats(reference) => meters::stats(shared, &reference).await,
        Route::Logs(reference) => logs(shared, &reference, &query),
        Route::Remove(reference) => {
            let force = if query.is_true("force") { Force::Yes } else { Force::No };
            let deed = deeds::remove(Arc::clone(shared), reference, force);
            done(shared.carry_out(deed).await)
        }
        Route::Act(reference, act) => act_on(shared, reference, act, &query).await,
        Route::Unsupported { message, as_json: true } => Err(Refusal::new(400, message)),
        Route::Unsupported { message, as_json: false } => Ok(text(400, message + "\n")),
        Route::Nowhere => Err(Refusal::new(404, "page not found")),
    };
    outcome.unwrap_or_else(|refusal| refused(shared, &refusal))
}

async fn act_on(
    shared: &Arc<Shared>,
    reference: String,
    act: Act,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let us = Arc::clone(shared);
    let outcome = match act {
        Act::Start => shared.carry_out(deeds::start(us, reference)).await,
        Act::Stop => {
            let (grace, signal) = (query.grace()?, query.signal()?);
            shared.carry_out(deeds::stop(us, reference, grace, signal)).await
        }
        Act::Restart => shared.carry_out(deeds::restart(us, reference, query.grace()?)).await,
        Act::Kill => {
            let signal = query.signal()?.unwrap_or(deeds::KILL);
            shared.carry_out(deeds::kill(us, reference, signal)).await
        }
        Act::Pause => shared.carry_out(deeds::pause(us, reference)).await,
        Act::Unpause => shared.carry_out(deeds::unpause(us, reference)).await,
        Act::Rename => {
            let name = query.named("name").unwrap_or_default().trim_start_matches('/');
            deeds::rename(shared, &reference, name)
        }
    };
    done(outcome)
}

fn events(shared: &Arc<Shared>, query: &Query) -> Result<Response<Body>, Refusal> {
    let filters = query.filters()?;
    let window = Window { since: query.named("since"), until: query.named("until") };
    let reader = Reader::open(shared, &window, filters)?;
    let mut response = Response::new(StreamBody::new(reader.frames()).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn list(shared: &Shared, query: &Query) -> Result<Response<Body>, Refusal> {
    let filters = query.filters()?;
    let all = query.is_true("all") || filters.names("status");
    let mut world = shared.world();
    let now_ns = world.now_ns();
    let entries: Vec<Value> = world
        .containers()
        .iter()
        .rev()
        .filter(|it| all || it.has_process() || it.status == Status::Restarting)
        .filter(|it| is_listed(shared, it, &filters, now_ns))
        .map(|it| shapes::summary(shared, it, now_ns))
        .collect();
    Ok(json_answer(200, &Value::Array(entries)))
}

fn is_listed(shared: &Shared, container: &Container, filters: &Filters, now_ns: u64) -> bool {
    let spec = &container.spec;
    let word = shapes::status_word(shared, container, now_ns);
    filters.admit("status", |status| status == word)
        && filters.admit("id", |id| container.id.starts_with(id))
        && filters.admit("name", |name| name_matches(&spec.name, name))
        && filters.admit_every("label", |label| label_matches(&spec.labels, label))
}

/// The engine takes a regular expression; anchors and plain text are what its clients send.
fn name_matches(name: &str, pattern: &str) -> bool {
    let (pattern, from_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest.trim_start_matches('/'), true),
        None => (pattern.trim_start_matches('/'), false),
    };
    let (pattern, to_end) = match pattern.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (pattern, false),
    };
    match (from_start, to_end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    }
}

/// Waits for its turn, as a look at a container that is being started does in the real engine.
async fn inspect(shared: &Shared, reference: &str) -> Result<Response<Body>, Refusal> {
    let (id, turn) = shared.turn_of(reference)?;
    let _turn = turn.acquire_owned().await;
    let mut world = shared.world();
    let shape = shapes::inspect(shared, &mut world, &id);
    shape.map(|shape| json_answer(200, &shape)).ok_or_else(|| Refusal::absent(reference))
}

/// The lines in frames of eight bytes of header: stream, three zeroes, length.
fn logs(shared: &Shared, reference: &str, query: &Query) -> Result<Response<Body>, Refusal> {
    let (out, err) = (query.is_true("stdout"), query.is_true("stderr"));
    if !out && !err {
        return Err(Refusal::new(400, "Bad parameters: you must choose at least one stream"));
    }
    let world = shared.world();
    let container = world.find(reference).ok_or_else(|| Refusal::absent(reference))?;
    let wanted = |stream: u8| (stream == 1 && out) || (stream == 2 && err);
    let lines: Vec<_> = container.log.iter().filter(|line| wanted(line.stream)).collect();
    let tail = query.named("tail").and_then(|tail| tail.parse().ok()).unwrap_or(lines.len());
    let mut bytes = Vec::new();
    for line in &lines[lines.len().saturating_sub(tail)..] {
        let stamp = if query.is_true("timestamps") {
            format!("{} ", shapes::moment(Some(line.at_ns)))
        } else {
            String::new()
        };
        let text = format!("{stamp}{}\n", line.text);
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend([line.stream, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    Ok(Response::new(full(bytes)))
}

fn done(outcome: Deed) -> Result<Response<Body>, Refusal> {
    let status = match outcome? {
        Done::Now => StatusCode::NO_CONTENT,
        Done::Already => StatusCode::NOT_MODIFIED,
    };
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    Ok(response)
}

fn refused(shared: &Shared, refusal: &Refusal) -> Response<Body> {
    let body = if shared.is_podman() {
        json!({"cause": refusal.message, "message": refusal.message, "response": refusal.status})
    } else {
        json!({"message": refusal.message})
    };
    json_answer(refusal.status, &body)
}

/// A JSON answer, with the line end that the engine puts behind it.
pub(super) fn json_answer(status: u16, value: &Value) -> Response<Body> {
    json_text(status, format!("{value}\n"))
}

fn text(status: u16, text: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(full(text))
        .expect("the statuses of this file are ones that HTTP has")
}

/// Splits `/v1.41/containers/json` into its version and the rest.
fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let split = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        Some((ApiVersion::parse(version)?, &rest[version.len()..]))
    });
    split.map_or((None, path), |(version, rest)| (Some(version), rest))
}

fn refuse_version(shared: &Shared, version: ApiVersion) -> Option<Route> {
    let (newest, oldest) = (shared.config.api_version, shared.config.min_api_version);
    let message = if version > newest {
        format!("client version {version} is too new. Maximum supported API version is {newest}")
    } else if version < oldest {
        format!(
            "client version {version} is too old. Minimum supported API version is {oldest}, \
             please upgrade your client to a newer version"
        )
    } else {
        return None;
    };
    Some(Route::Unsupported { message, as_json: version >= ApiVersion::new(1, 24) })
}
