//! A thin HTTP client for one engine: versioned calls over pooled connections, each bounded in time
//! and in bytes.

mod call;
mod connection;
mod error;
mod pool;
mod ssh;
pub(in crate::docker) mod tls;
mod transport;
mod version;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dormouse_core::limits;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub(super) use self::call::{Call, Lane};
pub(super) use self::connection::BodyStream;
use self::connection::Connection;
pub(super) use self::error::{CallError, chain};
use self::pool::Pool;
use self::transport::Transport;
#[cfg(any(test, feature = "fuzz"))]
pub(super) use self::version::http_date;
pub(super) use self::version::{ApiVersion, Product};
use super::endpoint::{DockerEndpoint, Secret};
use super::json::{RefusalJson, VersionJson};
use crate::ProviderError;

/// What an agent in front of an engine asks for.
const TOKEN: HeaderName = HeaderName::from_static("x-hawser-token");
/// How much of a refusal is read; it is a sentence.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Speaks to one engine.
pub(super) struct Client {
    transport: Transport,
    host: HeaderValue,
    token: Option<HeaderValue>,
    pool: Pool,
    /// What both sides speak; unknown until asked, and after each sign of another engine.
    version: Mutex<Option<Negotiated>>,
    calls: Semaphore,
    stops: Semaphore,
    samples: Semaphore,
    /// Goes up whenever it may be another engine from here on.
    generation: AtomicU64,
    counters: Counters,
}

/// What the engine said when it was asked what it speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Negotiated {
    pub(super) version: ApiVersion,
    /// The engine's own clock at that moment, in seconds since 1970.
    pub(super) engine_time: Option<u64>,
    pub(super) product: Product,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    calls: AtomicU64,
    retries: AtomicU64,
}

/// What the client has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientStats {
    pub(super) connections: u64,
    pub(super) calls: u64,
    pub(super) retries: u64,
}

/// An answer with a status that is no refusal.
struct Answer {
    status: StatusCode,
    time: Option<u64>,
    body: Bytes,
}

impl Client {
    pub(super) fn new(
        endpoint: &DockerEndpoint,
        token: Option<&Secret>,
    ) -> Result<Self, ProviderError> {
        Self::with_pool(endpoint, token, Pool::new(limits::ENGINE_IDLE_CONNECTIONS_MAX))
    }

    /// One that keeps a single connection between calls, for a process that speaks to hundreds of
    /// engines now and then.
    pub(super) fn frugal(
        endpoint: &DockerEndpoint,
        token: Option<&Secret>,
    ) -> Result<Self, ProviderError> {
        Self::with_pool(endpoint, token, Pool::new(1))
    }

    fn with_pool(
        endpoint: &DockerEndpoint,
        token: Option<&Secret>,
        pool: Pool,
    ) -> Result<Self, ProviderError> {
        Ok(Self {
            host: host_header(endpoint)?,
            token: token.map(token_header).transpose()?,
            transport: Transport::new(endpoint)?,
            pool,
            version: Mutex::new(None),
            calls: Semaphore::new(limits::ENGINE_CALLS_MAX),
            stops: Semaphore::new(limits::ENGINE_STOPS_MAX),
            samples: Semaphore::new(limits::METER_CALLS_WAITING_MAX),
            generation: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// Asks for something and reads the answer as JSON.
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let answer = self.ask(call, deadline).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|cause| CallError::Nonsense { call: call.name, cause })
    }

    /// Asks for something and hands the answer back as it is.
    pub(super) async fn read(&self, call: &Call, deadline: Instant) -> Result<Bytes, CallError> {
        self.ask(call, deadline).await.map(|answer| answer.body)
    }

    /// Asks for something for the sake of the engine's own clock, in seconds since 1970.
    pub(super) async fn time(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<Option<u64>, CallError> {
        self.ask(call, deadline).await.map(|answer| answer.time)
    }

    /// Asks the engine to do something. A status of 304 is no error: it was so already.
    pub(super) async fn command(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<StatusCode, CallError> {
        self.ask(call, deadline).await.map(|answer| answer.status)
    }

    /// Asks for an answer that is read as it comes. The deadline is that of its head. The connection
    /// is always a fresh one, because it is not given back.
    pub(super) async fn stream(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<BodyStream, CallError> {
        self.timed(call, deadline, async {
            let version = self.negotiated(deadline).await?.version;
            let mut connection = self.connect().await?;
            let request = self.request(call, Some(version));
            let response = connection.send(call.name, request).await?;
            let (head, body) = response.into_parts();
            if is_refusal(head.status) {
                let body = connection.read(call.name, body, REFUSAL_BYTES_MAX).await?;
                return Err(refusal(head.status, &body));
            }
            Ok(BodyStream::new(call.name, connection, body))
        })
        .await
    }

    /// What both sides speak, asked for where it is not known.
    pub(super) async fn negotiated(&self, deadline: Instant) -> Result<Negotiated, CallError> {
        let known = *self.version_slot();
        if let Some(known) = known {
            return Ok(known);
        }
        let call = Call::get("version", "/version".to_owned());
        let answer = self.timed(&call, deadline, self.exchange_twice(&call, None)).await?;
        let json: VersionJson = serde_json::from_slice(&answer.body)
            .map_err(|cause| CallError::Nonsense { call: call.name, cause })?;
        let version = ApiVersion::negotiate(&json.oldest, &json.newest)?;
        let product = Product::of(&json);
        let negotiated = Negotiated { version, engine_time: answer.time, product };
        tracing::debug!(endpoint = %self.transport, %version, "Negotiated the engine's version");
        *self.version_slot() = Some(negotiated);
        Ok(negotiated)
    }

    /// Forgets what was known of the engine: it may be another one now.
    pub(super) fn forget(&self) {
        *self.version_slot() = None;
        self.pool.clear();
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Another number whenever it may be another engine.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed) + self.pool.deaths()
    }

    pub(super) fn stats(&self) -> ClientStats {
        ClientStats {
            connections: self.counters.connections.load(Ordering::Relaxed),
            calls: self.counters.calls.load(Ordering::Relaxed),
            retries: self.counters.retries.load(Ordering::Relaxed),
        }
    }

    async fn ask(&self, call: &Call, deadline: Instant) -> Result<Answer, CallError> {
        self.timed(call, deadline, async {
            let lane = match call.lane {
                Lane::Quick => &self.calls,
                Lane::Stop => &self.stops,
                Lane::Sample => &self.samples,
            };
            let _turn = lane.acquire().await.expect("the semaphores are never closed");
            let version = self.negotiated(deadline).await?.version;
            match self.exchange_twice(call, Some(version)).await {
                // Another engine has taken the place of the one that was asked; nothing was done.
                Err(error) if error.is_version_refusal() => {
                    self.forget();
                    let version = self.negotiated(deadline).await?.version;
                    self.exchange_twice(call, Some(version)).await
                }
                outcome => outcome,
            }
        })
        .await
    }

    async fn timed<T>(
        &self,
        call: &Call,
        deadline: Instant,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let outcome = timeout_at(deadline, work).await;
        let outcome = outcome.unwrap_or(Err(CallError::Timeout { call: call.name }));
        if let Err(error) = &outcome {
            tracing::debug!(
                call = call.name,
                path = call.path,
                error = chain(error),
                "Got no use out of the engine"
            );
            if error.is_broken() {
                self.forget();
            }
        }
        outcome
    }

    /// Over a pooled connection, and once more over a fresh one when the pooled one turns out to be
    /// stale and nothing can have happened twice.
    async fn exchange_twice(
        &self,
        call: &Call,
        version: Option<ApiVersion>,
    ) -> Result<Answer, CallError> {
        if let Some(connection) = self.pool.take().await {
            match self.exchange(connection, call, version).await {
                Err(error) if error.is_unsent() || (error.is_broken() && call.is_repeatable()) => {
                    self.counters.retries.fetch_add(1, Ordering::Relaxed);
                    self.pool.clear();
                }
                outcome => return outcome,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, call, version).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        call: &Call,
        version: Option<ApiVersion>,
    ) -> Result<Answer, CallError> {
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        let response = connection.send(call.name, self.request(call, version)).await?;
        let (head, body) = response.into_parts();
        let refused = is_refusal(head.status);
        let bytes_max = if refused { REFUSAL_BYTES_MAX } else { call.bytes_max };
        let body = connection.read(call.name, body, bytes_max).await?;
        self.pool.put(connection);
        if refused {
            return Err(refusal(head.status, &body));
        }
        let time = head.headers.get(http::header::DATE).and_then(version::http_date);
        Ok(Answer { status: head.status, time, body })
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let io = self
            .transport
            .connect()
            .await
            .map_err(|cause| CallError::Connect { endpoint: self.transport.to_string(), cause })?;
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        Connection::open(io).await
    }

    fn request(&self, call: &Call, version: Option<ApiVersion>) -> Request<Full<Bytes>> {
        let path = match version {
            Some(version) => format!("/v{version}{}", call.path),
            None => call.path.clone(),
        };
        let mut request = Request::new(Full::default());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = path.parse().expect("paths are made of encoded names and numbers");
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("dormouse"));
        if let Some(token) = &self.token {
            headers.insert(TOKEN, token.clone());
        }
        request
    }

    fn version_slot(&self) -> std::sync::MutexGuard<'_, Option<Negotiated>> {
        self.version.lock().expect("nobody panics while it is held")
    }
}

fn is_refusal(status: StatusCode) -> bool {
    !status.is_success() && status != StatusCode::NOT_MODIFIED
}

fn refusal(status: StatusCode, body: &[u8]) -> CallError {
    let said = serde_json::from_slice::<RefusalJson>(body).unwrap_or_default().message;
    let message = if said.is_empty() { format!("it answered {status}") } else { said };
    CallError::Refused { status, message }
}

fn host_header(endpoint: &DockerEndpoint) -> Result<HeaderValue, ProviderError> {
    use super::endpoint::bracketed;
    let host = match endpoint {
        DockerEndpoint::Unix(_) | DockerEndpoint::Ssh(_) => "docker".to_owned(),
        DockerEndpoint::Http { host, port } | DockerEndpoint::Https { host, port, .. } => {
            format!("{}:{port}", bracketed(host))
        }
    };
    host.parse().map_err(|_| ProviderError::Misconfigured(format!("{host:?} is no host")))
}

fn token_header(token: &Secret) -> Result<HeaderValue, ProviderError> {
    let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
        ProviderError::Misconfigured("the token has characters that no header may carry".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
