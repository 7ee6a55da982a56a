//! The plain clients: one HTTP/1.1 exchange over a connection of its own, and the real `curl`.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one exchange may take in all.
const EXCHANGE_MAX: Duration = Duration::from_secs(90);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The 1xx that came before, as far as the client shows them.
    pub(crate) before: Vec<u16>,
}

/// An answer that is read piece by piece, as it comes.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    _connection: JoinSet<()>,
}

/// A GET of `path` on the hostname `host`, with neither `Accept` nor anything else.
pub(crate) fn get(host: &str, path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", host).body(Full::default()).unwrap()
}

/// Sends a request to `address` and reads its answer to the end.
///
/// # Panics
/// When there is no whole answer in time.
pub(crate) async fn fetch(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let what = format!("{} {} at {address}", request.method(), request.uri());
    exchange(address, request).await.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Sends a request to `address` and reads its answer to the end, over a connection of its own.
pub(crate) async fn exchange<B>(address: SocketAddr, request: Request<B>) -> io::Result<Answer>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let exchange = async {
        let (response, _connection) = send(address, request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(Answer { status, headers, body, before: Vec::new() })
    };
    timeout(EXCHANGE_MAX, exchange).await?
}

/// Sends a request and waits for the head of its answer; the connection lasts as long as the set.
async fn send<B>(
    address: SocketAddr,
    request: Request<B>,
) -> io::Result<(Response<Incoming>, JoinSet<()>)>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended is seen in the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((response, driver))
}

/// Runs the real `curl` and reads what it received: of several heads, the last one.
///
/// # Panics
/// When curl itself was not content.
pub(crate) async fn curl(arguments: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--no-buffer", "--noproxy", "*"]);
    command.arg("--max-time").arg(EXCHANGE_MAX.as_secs().to_string());
    let command = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {}: {complaint}", output.status);
    Answer::parse(&output.stdout)
}

impl Stream {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Panics
    /// When there is none in time.
    pub(crate) async fn open(address: SocketAddr, request: Request<Full<Bytes>>) -> Self {
        let sent = timeout(EXCHANGE_MAX, send(address, request)).await.unwrap();
        let (response, connection) = sent.unwrap();
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Self { status, headers, body, _connection: connection }
    }

    /// The next piece of the body; nothing at its end.
    ///
    /// # Panics
    /// When the connection breaks.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let frame = self.body.frame().await?;
        let frame = frame.unwrap_or_else(|error| panic!("the answer broke off: {error}"));
        Some(frame.into_data().unwrap_or_default())
    }
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a header; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Reads an answer with a `Content-Length` once all of it is there.
    pub(crate) fn parse_whole(received: &[u8]) -> Option<Self> {
        received.windows(4).any(|bytes| bytes == b"\r\n\r\n").then_some(())?;
        let answer = Self::parse(received);
        let length: usize = answer.header("content-length").parse().ok()?;
        (answer.body.len() == length).then_some(answer)
    }

    /// Reads what `curl --include` prints.
    fn parse(output: &[u8]) -> Self {
        let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(output)));
        let head = String::from_utf8_lossy(&output[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status in {head}"));
        let rest = &output[end + 4..];
        if StatusCode::from_u16(status).unwrap().is_informational() {
            let mut answer = Self::parse(rest);
            answer.before.insert(0, status);
            return answer;
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap()))
            .fold(HeaderMap::new(), |mut headers, (name, value): (http::HeaderName, _)| {
                headers.append(name, value);
                headers
            });
        Self { status, headers, body: Bytes::copy_from_slice(rest), before: Vec::new() }
    }
}
