//! The HTTP probe: one GET, judged by its status.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
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
        .body(Empty::<Bytes>::new())
        .map_err(|_| ProbeError::Path { path: path.to_owned() })?;
    let broken = |source| ProbeError::Http { at, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        tokio::pin!(connection);
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The connection ends after the answer, or instead of one.
            _ended = &mut connection => answer.await,
        }
    };
    let status = answer.await.map_err(broken)?.status().as_u16();
    if ready.contains(&status) {
        return Ok(());
    }
    Err(ProbeError::Status { at, path: path.to_owned(), status })
}
