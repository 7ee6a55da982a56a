//! The pages of the application: what each path answers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use crate::body::{self, AnswerBody, whole};
use crate::knobs::Knobs;
use crate::{grpc, websocket};

/// One start of the application.
pub(crate) struct App {
    knobs: Knobs,
    /// Drawn anew at each start.
    id: String,
    starts: u64,
    since: Instant,
    listening_at: SystemTime,
}

impl App {
    /// Counts this start and draws its id. It listens from now on.
    pub(crate) fn new(knobs: Knobs) -> Self {
        let starts = knobs.count_file.as_deref().map_or(0, count_start);
        let id = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { knobs, id, starts, since: Instant::now(), listening_at: SystemTime::now() }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<AnswerBody>, hyper::Error> {
        if is_grpc(&request) {
            return grpc::answer(request, self.knobs.grpc_health).await;
        }
        let query = Query::of(&request);
        let path = request.uri().path().to_owned();
        let response = match path.as_str() {
            "/" => self.hello(),
            "/instance" => self.instance(),
            "/health" => self.health(),
            "/headers" => as_json(&received(&request, peer)),
            "/ws" => websocket::answer(request),
            "/echo" => Response::new(body::echo(request.into_body())),
            "/upload" => self.upload(request).await?,
            "/download" => download(&query),
            "/sse" => sse(&query),
            "/slow" => slow(&query).await,
            "/exit" => std::process::exit(query.number("code", 0) as i32),
            path => match path.strip_prefix("/status/") {
                Some(status) => status_page(status),
                None => page(StatusCode::NOT_FOUND, "nothing is here\n"),
            },
        };
        Ok(response)
    }

    fn hello(&self) -> Response<AnswerBody> {
        let text =
            format!("<!doctype html><title>testapp</title><p>hello {}</p>\n", self.knobs.mark);
        with(Response::new(whole(text)), "content-type", "text/html; charset=utf-8")
    }

    fn instance(&self) -> Response<AnswerBody> {
        let listening_at = self.listening_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        as_json(&json!({
            "id": self.id,
            "starts": self.starts,
            "pid": std::process::id(),
            "mark": self.knobs.mark,
            "up_ms": self.since.elapsed().as_millis() as u64,
            "listening_unix_ns": listening_at.as_nanos() as u64,
        }))
    }

    async fn upload(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, hyper::Error> {
        let id = request.headers().get("x-id").and_then(|id| id.to_str().ok());
        let id = id.unwrap_or("-").to_owned();
        self.note(&format!("came {id}\n"));
        let (bytes, hash) = body::digest(request.into_body()).await?;
        self.note(&format!("whole {id} {hash:016x}\n"));
        Ok(as_json(&json!({ "bytes": bytes, "fnv64": format!("{hash:016x}") })))
    }

    /// Adds a line to the ledger in one piece, so that it is there even if this process dies now.
    fn note(&self, line: &str) {
        let Some(path) = &self.knobs.ledger else { return };
        let ledger = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = ledger.and_then(|mut file| file.write_all(line.as_bytes())) {
            println!("testapp cannot write to {path}: {error}");
        }
    }

    fn health(&self) -> Response<AnswerBody> {
        if self.since.elapsed() < self.knobs.unhealthy {
            return page(StatusCode::INTERNAL_SERVER_ERROR, "not yet\n");
        }
        page(StatusCode::OK, "ok\n")
    }
}

/// The parameters after the question mark; no test needs escapes in them.
struct Query(HashMap<String, String>);

impl Query {
    fn of(request: &Request<Incoming>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.0.get(name).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }

    fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.number(name, 0))
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get("content-type");
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn received(request: &Request<Incoming>, peer: SocketAddr) -> serde_json::Value {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "peer": peer.to_string(),
        "headers": headers,
    })
}

fn download(query: &Query) -> Response<AnswerBody> {
    let bytes = query.number("bytes", 0);
    let chunk = query.number("chunk", body::CHUNK as u64) as usize;
    let response = Response::new(body::download(bytes, chunk, query.millis("chunk_ms")));
    let response = with(response, "content-type", "application/octet-stream");
    if query.number("chunked", 0) == 1 {
        return response;
    }
    with(response, "content-length", &bytes.to_string())
}

fn sse(query: &Query) -> Response<AnswerBody> {
    let response = Response::new(body::events(query.number("n", 0), query.millis("every_ms")));
    with(with(response, "content-type", "text/event-stream"), "cache-control", "no-cache")
}

async fn slow(query: &Query) -> Response<AnswerBody> {
    tokio::time::sleep(query.millis("ms")).await;
    page(StatusCode::OK, "slow\n")
}

/// The wanted status as it is, with a mark that only the application sets.
fn status_page(status: &str) -> Response<AnswerBody> {
    let known = status.parse::<u16>().ok().filter(|status| (200..=999).contains(status));
    let Some(status) = known.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return page(StatusCode::BAD_REQUEST, "no such status\n");
    };
    let bodiless = matches!(status.as_u16(), 204 | 205 | 304);
    let text = if bodiless { String::new() } else { format!("status {}\n", status.as_u16()) };
    let response = with(page(status, text), "x-app", "1");
    if status.is_redirection() { with(response, "location", "/elsewhere") } else { response }
}

fn page(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(whole(text));
    *response.status_mut() = status;
    with(response, "content-type", "text/plain; charset=utf-8")
}

fn as_json(value: &serde_json::Value) -> Response<AnswerBody> {
    with(Response::new(whole(format!("{value}\n"))), "content-type", "application/json")
}

fn with(
    mut response: Response<AnswerBody>,
    name: &'static str,
    value: &str,
) -> Response<AnswerBody> {
    let value = HeaderValue::from_str(value).expect("every value here is plain ASCII");
    response.headers_mut().insert(HeaderName::from_static(name), value);
    response
}

/// One more than the file said; the file may be missing.
fn count_start(file: &str) -> u64 {
    let before =
        std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let starts = before.unwrap_or(0) + 1;
    if let Err(error) = std::fs::write(file, starts.to_string()) {
        println!("testapp cannot count its starts in {file}: {error}");
    }
    starts
}
