//! A plain client of the engine's API on a unix socket, fake or real: one connection a call, no
//! opinion about the answers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a call may take in all.
const CALL_MAX: Duration = Duration::from_secs(60);

/// A client of one engine.
#[derive(Clone, Debug)]
pub struct RawClient {
    socket: PathBuf,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// An answer that comes line by line, such as that of `/events`.
pub struct RawLines {
    response: Response<Incoming>,
    buffer: BytesMut,
    _connection: JoinSet<()>,
}

impl RawClient {
    /// A client of the engine that listens on `socket`.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        Self { socket: socket.as_ref().to_owned() }
    }

    /// The engine's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A GET.
    pub async fn read(&self, path: &str) -> io::Result<RawAnswer> {
        self.call("GET", path, Bytes::new()).await
    }

    /// A POST without a body.
    pub async fn post(&self, path: &str) -> io::Result<RawAnswer> {
        self.call("POST", path, Bytes::new()).await
    }

    /// A POST of JSON.
    pub async fn post_json(&self, path: &str, body: &Value) -> io::Result<RawAnswer> {
        self.call("POST", path, Bytes::from(body.to_string())).await
    }

    /// A DELETE.
    pub async fn delete(&self, path: &str) -> io::Result<RawAnswer> {
        self.call("DELETE", path, Bytes::new()).await
    }

    /// Any call, to the end of its answer.
    pub async fn call(&self, method: &str, path: &str, body: Bytes) -> io::Result<RawAnswer> {
        let exchange = async {
            let (response, _connection) = self.send(method, path, body).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(RawAnswer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        timeout(CALL_MAX, exchange).await?
    }

    /// A GET whose answer does not end by itself.
    pub async fn lines(&self, path: &str) -> io::Result<RawLines> {
        let sent = timeout(CALL_MAX, self.send("GET", path, Bytes::new())).await?;
        let (response, connection) = sent?;
        Ok(RawLines { response, buffer: BytesMut::new(), _connection: connection })
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> io::Result<(Response<Incoming>, JoinSet<()>)> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // How it ended is seen in the answer.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        Ok((response, driver))
    }
}

impl RawAnswer {
    /// The body as JSON; `null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The engine's message of a refusal, or nothing.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl RawLines {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next line without its end; nothing at the end of the answer.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            match self.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(None),
            }
        }
    }
}
