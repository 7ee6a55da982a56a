//! Bodies that come in pieces: downloads, event streams, echoes.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};

/// The body of every answer.
pub(crate) type AnswerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

/// Bytes of one piece of a download, where the caller names no other size.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The period of a download's content: byte `i` is `i % 251`, so every reader can check it.
const PERIOD: usize = 251;

/// A body that is there at once.
pub(crate) fn whole(content: impl Into<Bytes>) -> AnswerBody {
    Full::new(content.into()).map_err(never).boxed_unsync()
}

/// `bytes` bytes in pieces of `chunk`, with a pause before each piece but the first.
pub(crate) fn download(bytes: u64, chunk: usize, pause: Duration) -> AnswerBody {
    let chunk = chunk.max(1);
    let pattern: Bytes =
        (0..chunk + PERIOD).map(|at| (at % PERIOD) as u8).collect::<Vec<_>>().into();
    let pieces = stream::unfold(0_u64, move |sent| {
        let pattern = pattern.clone();
        async move {
            let length = usize::try_from(bytes - sent).map_or(chunk, |left| left.min(chunk));
            if length == 0 {
                return None;
            }
            pause_unless_first(sent, pause).await;
            let from = (sent % PERIOD as u64) as usize;
            Some((pattern.slice(from..from + length), sent + length as u64))
        }
    });
    from_pieces(pieces)
}

/// `count` server-sent events, one each `every`; a count of zero never ends.
pub(crate) fn events(count: u64, every: Duration) -> AnswerBody {
    let pieces = stream::unfold(0_u64, move |sent| async move {
        if count != 0 && sent == count {
            return None;
        }
        pause_unless_first(sent, every).await;
        Some((format!("id: {sent}\nevent: tick\ndata: {{\"n\":{sent}}}\n\n").into(), sent + 1))
    });
    from_pieces(pieces)
}

/// Everything that comes in goes out again at once, trailers included.
pub(crate) fn echo(body: Incoming) -> AnswerBody {
    body.boxed_unsync()
}

/// Counts and digests what comes in, keeping none of it.
pub(crate) async fn digest(mut body: Incoming) -> Result<(u64, u64), hyper::Error> {
    let (mut bytes, mut hash) = (0, FNV_START);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len() as u64;
            hash = fnv64(hash, &data);
        }
    }
    Ok((bytes, hash))
}

/// Where an FNV-1a digest starts.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Takes an FNV-1a digest further.
pub(crate) fn fnv64(start: u64, data: &[u8]) -> u64 {
    data.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

async fn pause_unless_first(sent: u64, pause: Duration) {
    if sent > 0 && !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

fn from_pieces(pieces: impl Stream<Item = Bytes> + Send + 'static) -> AnswerBody {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

fn never(error: Infallible) -> hyper::Error {
    match error {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(fnv64(FNV_START, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv64(FNV_START, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[tokio::test]
    async fn a_download_is_as_long_as_asked_and_follows_the_pattern() {
        let body = download(200_000, 1_000, Duration::ZERO).collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), 200_000);
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == (at % PERIOD) as u8));
    }

    #[tokio::test]
    async fn events_are_numbered() {
        let body = events(2, Duration::ZERO).collect().await.unwrap().to_bytes();
        let ticks =
            "id: 0\nevent: tick\ndata: {\"n\":0}\n\nid: 1\nevent: tick\ndata: {\"n\":1}\n\n";
        assert_eq!(body, ticks);
    }
}
