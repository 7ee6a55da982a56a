//! Speaks to the admin API of a running dormouse, over TCP or a unix socket, with a deadline on
//! every step.

pub(crate) mod stream;
mod url;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dormouse_wire::Problem;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

pub use stream::{EventStream, ServerEvent};
pub use url::{Address, UrlError, escape};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take when nothing is waited for.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A running dormouse.
#[derive(Clone)]
pub struct Client {
    address: Address,
    token: Option<HeaderValue>,
}

/// A request of the API.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to do.
    pub method: Method,
    /// What to do it to, from `/`, with its query.
    pub path: String,
    /// JSON to send.
    pub body: Option<String>,
    /// How long the answer may take.
    pub deadline: Duration,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token cannot be sent.
    #[error("the token has characters that cannot be sent")]
    Token,
    /// Nobody answers there.
    #[error("no dormouse answers at {0}")]
    Unreachable(Address, #[source] io::Error),
    /// Somebody answers, but not to the end.
    #[error("the answer of {0} broke off")]
    Broken(Address, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("{0} did not answer in time")]
    Late(Address),
    /// Dormouse says why not.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// What answers is not a dormouse of this version.
    #[error("{0} answered {1}, which no dormouse of this version does")]
    Odd(Address, StatusCode),
}

impl Call {
    /// Looks at something.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Acts on something.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, deadline: ANSWER_MAX }
    }
}

impl Client {
    /// A client of the dormouse at `address`.
    ///
    /// # Errors
    /// When the token cannot be a header's value.
    pub fn new(address: Address, token: Option<&str>) -> Result<Self, ClientError> {
        let header = |token: &str| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let token = token.map(|token| header(token).ok_or(ClientError::Token)).transpose()?;
        Ok(Self { address, token })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Does a call, and reads its JSON with its status.
    ///
    /// # Errors
    /// When there is no answer, or a problem.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<(StatusCode, T), ClientError> {
        let (status, bytes) = self.fetch(call).await?;
        let value = serde_json::from_slice(&bytes);
        value
            .map(|value| (status, value))
            .map_err(|_| ClientError::Odd(self.address.clone(), status))
    }

    /// Does a call, and hands back the bytes of its answer.
    ///
    /// # Errors
    /// When there is no answer, or a problem.
    pub async fn fetch(&self, call: Call) -> Result<(StatusCode, Bytes), ClientError> {
        let deadline = call.deadline;
        let fetched = tokio::time::timeout(deadline, self.fetch_all(call)).await;
        fetched.unwrap_or_else(|_| Err(ClientError::Late(self.address.clone())))
    }

    /// Opens an event stream. `after` is the id of the last event that was read.
    ///
    /// # Errors
    /// When there is no answer, or a problem.
    pub async fn events(
        &self,
        path: &str,
        after: Option<&str>,
    ) -> Result<EventStream, ClientError> {
        let (mut request, connection) = {
            let (request, connection) = self.connect().await?;
            (request, connection)
        };
        let mut head = self.head(Method::GET, path);
        if let Some(id) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            head.headers_mut().insert("last-event-id", id);
        }
        let answer = request.send_request(head);
        let answer = tokio::time::timeout(ANSWER_MAX, answer).await;
        let answer = answer.map_err(|_| ClientError::Late(self.address.clone()))?;
        let answer = answer.map_err(|error| self.broken(error))?;
        if answer.status() == StatusCode::OK {
            return Ok(EventStream::new(answer.into_body(), connection));
        }
        let (status, bytes) = self.read(answer).await?;
        Err(self.problem(status, &bytes))
    }

    async fn fetch_all(&self, call: Call) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut request, _connection) = self.connect().await?;
        let mut head = self.head(call.method, &call.path);
        if let Some(body) = call.body {
            let kind = HeaderValue::from_static("application/json");
            head.headers_mut().insert(header::CONTENT_TYPE, kind);
            *head.body_mut() = Full::new(Bytes::from(body));
        }
        let answer = request.send_request(head).await.map_err(|error| self.broken(error))?;
        let (status, bytes) = self.read(answer).await?;
        if status.is_success() { Ok((status, bytes)) } else { Err(self.problem(status, &bytes)) }
    }

    async fn read(
        &self,
        answer: http::Response<Incoming>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| ClientError::Broken(self.address.clone(), error))?;
        Ok((status, body.to_bytes()))
    }

    fn head(&self, method: Method, path: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        // Paths are made of literals and escaped names.
        *request.uri_mut() = path.parse().expect("a path of ours is a URI");
        let host = HeaderValue::try_from(self.address.authority()).expect("an authority is ASCII");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host);
        if let Some(token) = &self.token {
            headers.insert(header::AUTHORIZATION, token.clone());
        }
        *request.headers_mut() = headers;
        request
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, Connection), ClientError> {
        let connected = tokio::time::timeout(CONNECT_MAX, self.dial()).await;
        let late = io::Error::new(io::ErrorKind::TimedOut, "connecting took too long");
        connected
            .unwrap_or(Err(late))
            .map_err(|source| ClientError::Unreachable(self.address.clone(), source))
    }

    async fn dial(&self) -> io::Result<(SendRequest<Full<Bytes>>, Connection)> {
        match &self.address {
            Address::Tcp { host, port } => {
                shake(TcpStream::connect((host.as_str(), *port)).await?).await
            }
            Address::Unix(path) => shake(UnixStream::connect(path).await?).await,
        }
    }

    fn problem(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice::<Problem>(bytes) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => ClientError::Odd(self.address.clone(), status),
        }
    }

    fn broken(&self, error: hyper::Error) -> ClientError {
        ClientError::Broken(self.address.clone(), error.into())
    }
}

/// Drives a connection until it is dropped.
type Connection = AbortOnDropHandle<()>;

async fn shake<S>(stream: S) -> io::Result<(SendRequest<Full<Bytes>>, Connection)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (request, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let drive = async move {
        // Whoever waits for the answer sees the error too.
        let _ = connection.await;
    };
    Ok((request, AbortOnDropHandle::new(tokio::spawn(drive))))
}
