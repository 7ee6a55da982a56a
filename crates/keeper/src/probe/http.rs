//! The HTTP probe: one request on a connection of its own, judged by its answer.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::ProbeError;

/// How probes introduce themselves.
pub(super) const USER_AGENT: &str = concat!("dormouse-probe/", env!("CARGO_PKG_VERSION"));

pub(super) async fn ask(
    stream: TcpStream,
    at: SocketAddr,
    path: &str,
    ready: &RangeInclusive<u16>,
) -> Result<(), ProbeError> {
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Full::default())
        .map_err(|_| ProbeError::Path { path: path.to_owned() })?;
    let broken = |source| ProbeError::Http { at, source };
    let status = exchange(stream, request, 0).await.map_err(broken)?.status;
    if ready.contains(&status) {
        return Ok(());
    }
    Err(ProbeError::Status { at, path: path.to_owned(), status })
}

/// What a server has answered.
pub(super) struct Answer {
    pub(super) status: u16,
    /// As much of the body as was asked for.
    pub(super) body: Bytes,
}

/// One request on a connection of its own, and as many bytes of the answer's body as `keep`.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    keep: usize,
) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, mut rest) = sender.send_request(request).await?.into_parts();
        let mut body = BytesMut::new();
        while body.len() < keep
            && let Some(frame) = rest.frame().await
        {
            if let Ok(data) = frame?.into_data() {
                body.extend_from_slice(&data[..data.len().min(keep - body.len())]);
            }
        }
        Ok(Answer { status: head.status.as_u16(), body: body.freeze() })
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection ends after the answer, or instead of one.
        _ended = &mut connection => answer.await,
    }
}
