//! The gRPC probe: `grpc.health.v1.Health/Check`, with its two messages written by hand.
//!
//! `HealthCheckRequest` has one field (1: the service's name), `HealthCheckResponse` one (1: the
//! state, where 1 is `SERVING`); both are documented with gRPC's health checking protocol.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::http::USER_AGENT;

/// Bytes of the answer's body: the frame's head, a tag and a state, with room to spare.
const ANSWER_MAX: usize = 1024;
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Field 1 of the request, as bytes with a length.
const SERVICE: u8 = 1 << 3 | 2;
/// Field 1 of the answer, as a number.
const STATE: u64 = 1 << 3;

/// Why a server is not serving.
pub(super) enum Refusal {
    /// It does not speak HTTP/2 to the end.
    Broken(hyper::Error),
    /// What it says of itself.
    State(String),
}

pub(super) async fn ask<S>(
    stream: S,
    authority: &impl Display,
    service: &str,
) -> Result<(), Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(question(service)))
        .expect("an address is a legal authority");
    let broken = Refusal::Broken;
    let handshake = http2::handshake(Owned::default(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let refusal = Refusal::State;
        if !head.status.is_success() {
            return Err(refusal(format!("not offered: HTTP status {}", head.status.as_u16())));
        }
        let answer = Limited::new(body, ANSWER_MAX).collect().await;
        let answer = answer.map_err(|error| refusal(format!("unreadable: {error}")))?;
        match answer.trailers().and_then(refused).or_else(|| refused(&head.headers)) {
            Some(why) => Err(refusal(why)),
            None => judge(answer.to_bytes()).map_err(refusal),
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

/// Runs what a connection needs, and ends it with the connection.
#[derive(Clone, Default)]
struct Owned(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async {
            future.await;
        });
    }
}

/// What a gRPC status other than 0 means.
fn refused(headers: &HeaderMap) -> Option<String> {
    match headers.get("grpc-status")?.to_str().unwrap_or("unreadable") {
        "0" => None,
        "5" => Some("not known: it serves no service of that name".to_owned()),
        "12" => Some("not offered: it has no health service".to_owned()),
        code => Some(format!("refused with status {code}")),
    }
}

fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a name from a file is short"));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(message: &mut BytesMut, mut number: usize) {
    while number > 0x7f {
        message.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    message.put_u8(number as u8);
}

/// Reads the state out of the answer's first frame.
pub(crate) fn judge(mut frame: Bytes) -> Result<(), String> {
    if frame.len() < PREFIX {
        return Err("missing".to_owned());
    }
    if frame.get_u8() != 0 {
        return Err("compressed, which was not asked for".to_owned());
    }
    let length = frame.get_u32() as usize;
    frame.truncate(length);
    match state(frame) {
        Some(1) => Ok(()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
        // A field that is not sent is zero.
        Some(0) => Err("UNKNOWN".to_owned()),
        Some(other) => Err(format!("state {other}")),
        None => Err("unreadable".to_owned()),
    }
}

/// The number of field 1, past fields that we do not know; the last one counts.
fn state(mut message: Bytes) -> Option<u64> {
    let mut state = 0;
    while message.has_remaining() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 if tag == STATE => state = varint(&mut message)?,
            0 => drop(varint(&mut message)?),
            1 => skip(&mut message, 8)?,
            2 => {
                let length = varint(&mut message)?;
                skip(&mut message, length)?;
            }
            5 => skip(&mut message, 4)?,
            _ => return None,
        }
    }
    Some(state)
}

fn varint(message: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = message.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn skip(message: &mut Bytes, length: u64) -> Option<()> {
    let length = usize::try_from(length).ok().filter(|length| *length <= message.len())?;
    message.advance(length);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(frame: &'static [u8]) -> Result<(), String> {
        judge(Bytes::from_static(frame))
    }

    #[test]
    fn the_question_is_a_frame_with_the_service_in_field_one() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0A, 0xAC, 0x02]);
        assert_eq!(long.len(), PREFIX + 303);
    }

    #[test]
    fn only_serving_counts() {
        assert_eq!(verdict(&[0, 0, 0, 0, 2, 0x08, 1]), Ok(()));
        assert_eq!(verdict(&[0, 0, 0, 0, 2, 0x08, 2]), Err("NOT_SERVING".into()));
        assert_eq!(verdict(&[0, 0, 0, 0, 0]), Err("UNKNOWN".into()));
        assert_eq!(verdict(&[]), Err("missing".into()));
    }

    #[test]
    fn unknown_fields_are_stepped_over() {
        let frame = &[0, 0, 0, 0, 9, 0x12, 3, 8, 8, 8, 0x18, 0x05, 0x08, 1];
        assert_eq!(verdict(frame), Ok(()));
    }

    #[test]
    fn nonsense_is_unreadable_and_nothing_worse() {
        for frame in [
            &[0, 0, 0, 0, 1, 0x08][..],
            &[0, 0, 0, 0, 2, 0x12, 0x7f],
            &[0, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0, 0, 0, 0, 3, 0x08, 0xff, 0xff],
        ] {
            assert_eq!(verdict(frame), Err("unreadable".into()), "{frame:?}");
        }
    }
}
