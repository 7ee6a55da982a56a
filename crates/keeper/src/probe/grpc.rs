//! The gRPC probe: `grpc.health.v1.Health/Check`, with its two messages written by hand.
//!
//! The request has one field (1: the service's name), the answer one (1: the state, where 1 is
//! `SERVING`); see the health checking protocol of gRPC.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::ProbeError;
use super::http::USER_AGENT;

/// The only state that counts as ready.
const SERVING: u8 = 1;
/// Bytes of the answer's body: the frame's head, a tag and a state, with room to spare.
const ANSWER_MAX: usize = 1024;

pub(super) async fn ask(
    stream: TcpStream,
    at: SocketAddr,
    service: &str,
) -> Result<(), ProbeError> {
    let request = Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(question(service)))
        .map_err(|_| ProbeError::Path { path: at.to_string() })?;
    let broken = |source| ProbeError::Http { at, source };
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let refusal = |state: String| ProbeError::Grpc { at, state };
        let answer = Limited::new(body, ANSWER_MAX).collect().await;
        let answer = answer.map_err(|error| refusal(format!("unreadable: {error}")))?;
        let refused = answer.trailers().and_then(refused).or_else(|| refused(&head.headers));
        match refused {
            Some(code) => Err(refusal(format!("refused with status {code}"))),
            None => judge(&answer.to_bytes()).map_err(refusal),
        }
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        _ended = &mut connection => exchange.await,
    }
}

/// The gRPC status, where it is not 0.
fn refused(headers: &HeaderMap) -> Option<String> {
    let code = headers.get("grpc-status")?.to_str().unwrap_or("unreadable");
    (code != "0").then(|| code.to_owned())
}

fn question(service: &str) -> Bytes {
    let name = &service.as_bytes()[..service.len().min(127)];
    let mut message = BytesMut::new();
    if !name.is_empty() {
        message.put_u8(0x0A);
        message.put_u8(u8::try_from(name.len()).expect("at most 127"));
        message.put_slice(name);
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("at most 129"));
    frame.put_slice(&message);
    frame.freeze()
}

/// Reads the state out of the answer's first frame.
fn judge(frame: &[u8]) -> Result<(), String> {
    match frame.get(5..) {
        Some([0x08, SERVING, ..]) => Ok(()),
        Some([0x08, state, ..]) => Err(format!("state {state}, not serving")),
        Some(_) => Err("unknown".to_owned()),
        None => Err("missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_frame_with_the_service_in_field_one() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
    }

    #[test]
    fn only_serving_counts() {
        assert!(judge(&[0, 0, 0, 0, 2, 0x08, 1]).is_ok());
        assert!(judge(&[0, 0, 0, 0, 2, 0x08, 2]).is_err());
        assert!(judge(&[0, 0, 0, 0, 0]).is_err());
        assert!(judge(&[]).is_err());
    }
}
