//! Two echo calls and the standard health check, in gRPC's own framing, without generated code.
//!
//! A message on the wire is one byte (compressed or not), its length in four bytes, then the
//! message; the outcome travels in the trailers.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};

use crate::body::{AnswerBody, whole};
use crate::knobs::GrpcHealth;

/// Bytes before each message.
const PREFIX: usize = 5;
const OK: u8 = 0;
const UNIMPLEMENTED: u8 = 12;
/// `HealthCheckResponse { status: SERVING }`: field 1, a varint of 1.
const SERVING: [u8; 2] = [0x08, 0x01];
/// `HealthCheckResponse { status: NOT_SERVING }`.
const NOT_SERVING: [u8; 2] = [0x08, 0x02];

/// Answers a request whose content type is gRPC's.
pub(crate) async fn answer(
    request: Request<Incoming>,
    health: GrpcHealth,
) -> Result<Response<AnswerBody>, hyper::Error> {
    let (head, body) = request.into_parts();
    Ok(match head.uri.path() {
        "/test.Echo/Unary" | "/test.Echo/Stream" => respond(echo(body)),
        "/grpc.health.v1.Health/Check" => {
            // Like any server of a unary call: the question comes before the answer.
            body.collect().await?;
            check(health)
        }
        _ => refuse(),
    })
}

fn check(health: GrpcHealth) -> Response<AnswerBody> {
    match health {
        GrpcHealth::Serving => respond(one_message(&SERVING)),
        GrpcHealth::NotServing => respond(one_message(&NOT_SERVING)),
        GrpcHealth::Unimplemented => refuse(),
    }
}

fn respond(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

/// The outcome without any message: it stands in the head.
fn refuse() -> Response<AnswerBody> {
    let mut response = respond(whole(""));
    response.headers_mut().extend(outcome(UNIMPLEMENTED));
    response
}

fn one_message(message: &[u8]) -> AnswerBody {
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let frames = [Frame::data(Bytes::from(framed)), Frame::trailers(outcome(OK))];
    StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)))
        .map_err(|error| match error {})
        .boxed_unsync()
}

/// Sends each message back as soon as it is whole, then the outcome.
fn echo(body: Incoming) -> AnswerBody {
    let start = (Some(body), BytesMut::new());
    let frames = stream::unfold(start, |(body, mut buffer)| async move {
        let mut body = body?;
        loop {
            if let Some(message) = take_message(&mut buffer) {
                return Some((Ok(Frame::data(message)), (Some(body), buffer)));
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Some((Err(error), (None, buffer))),
                None => return Some((Ok(Frame::trailers(outcome(OK))), (None, buffer))),
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Takes one whole message with its prefix off the front.
fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let prefix = buffer.get(..PREFIX)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (buffer.len() >= PREFIX + length).then(|| buffer.split_to(PREFIX + length).freeze())
}

fn outcome(status: u8) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from(u16::from(status)));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_only_when_whole() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 0, 2, b'h'][..]);
        assert_eq!(take_message(&mut buffer), None);
        buffer.extend_from_slice(b"i\0\0");
        assert_eq!(take_message(&mut buffer).unwrap(), &[0, 0, 0, 0, 2, b'h', b'i'][..]);
        assert_eq!(buffer.len(), 2);
    }
}
