//! The doors of the fuzzer to the direct way: each takes any bytes, as a client or an upstream could
//! send them, and holds that what is passed on can be read in one way only.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{self, Extra, Head};
use super::body::{Body, BrokenChunk, LAST_CHUNK, Length, ROOM_BEFORE, ROOM_BEHIND};
use super::request::{self, Plain};
use crate::http::framing::Framing;
use crate::http::fuzz::{client, parse, prepared, settings};
use crate::http::headers::prepare_answer;
use crate::http::strict;

/// Places at which an input is cut.
const CUTS_MAX: usize = 256;
/// A header of ours.
const OURS: (&str, &str) = ("x-dormouse", "held");

/// A request.
///
/// # Panics
/// When the direct way takes what the full way refuses, or passes on something else than it would.
pub fn plain_request(bytes: &[u8]) {
    let settings = settings();
    let mut room = request::room();
    let Some(plain) = Plain::read(bytes, &mut room, &settings) else { return };
    let mut framing = Framing::default();
    assert_eq!(framing.read(bytes), Ok(()));
    assert!(framing.heads_begun() == 1 && framing.is_between_requests());
    let (parts, used) = parse(bytes).expect("what one reader takes, the other does");
    assert_eq!(used, bytes.len());
    assert_eq!(strict::check(&parts), Ok(plain.hostname));
    assert_eq!(plain.path(), parts.uri.path());
    assert_eq!(plain.to_parts(), (parts.method.clone(), parts.headers.clone()));
    for peer in ["192.0.2.7:1", "10.0.0.9:1", "[2001:db8::7]:1"] {
        let client = client(peer, &settings);
        let (full, nature) = prepared(&parts, &client, &settings);
        assert!(!nature.upgrade && !nature.expects && !nature.grpc, "{nature:?}");
        let mut out = Vec::new();
        plain.write(&client, &mut out);
        let (sent, used) = parse(&out).expect("what is passed on is a head");
        assert_eq!(used, out.len());
        assert_eq!((sent.method, sent.uri), (full.method, full.uri));
        assert_eq!(sent.headers, full.headers);
    }
}

/// An answer. Of the first byte one bit says whether it answers a `HEAD`, and another whether the
/// connection ends with it.
///
/// # Panics
/// When it matters how the head is cut, or what is passed on is not one answer to each of two
/// readers.
pub fn answer(bytes: &[u8]) {
    let [flags, bytes @ ..] = bytes else { return };
    let (of_head, last) = (flags & 1 == 1, flags & 2 == 2);
    let mut room = answer::room();
    let read = Head::read(bytes, &mut room, of_head);
    let head_bytes = match &read {
        Ok(Some(head)) => head.bytes,
        Ok(None) | Err(_) => bytes.len(),
    };
    for end in cuts(head_bytes).filter(|end| *end < head_bytes) {
        let mut room = answer::room();
        let begun = Head::read(&bytes[..end], &mut room, of_head);
        let is_early = matches!(begun, Ok(Some(_))) || (begun.is_err() && read.is_ok());
        assert!(!is_early, "{end} bytes of a head suffice");
    }
    let Ok(Some(head)) = read else { return };
    if head.is_interim() {
        return;
    }
    let mut out = Vec::new();
    let ours = format!("{}: {}\r\n", OURS.0, OURS.1);
    head.write(&mut out, Extra { last, lines: ours.as_bytes() });
    let told = well_formed(&out);
    assert_eq!(told.status, head.status().as_str());
    assert_eq!(told.headers.get_all(CONNECTION).iter().count(), usize::from(last));
    is_framed_as(&told.headers, head.body);
    is_as_the_full_way_has_it(&bytes[..head.bytes], told.headers);
    if let Some(length) = head.body
        && let Ok(passed) = passed(length, &[&bytes[head.bytes..]])
    {
        out.extend_from_slice(&passed.sent);
        let (whole, between) = strictly(&out);
        assert!(whole, "a strict reader refuses what is passed on");
        assert_eq!(between, passed.complete, "a strict reader finds another end");
    }
}

/// The body of an answer. The first byte says how its end is told: 0 is chunks, 1 the end of the
/// connection, any other one more than so many bytes.
///
/// # Panics
/// When it matters how the bytes are cut, or another reader finds other data.
pub fn answer_body(bytes: &[u8]) {
    let [told, bytes @ ..] = bytes else { return };
    let length = match told {
        0 => Length::Chunked,
        1 => Length::UntilClose,
        more => Length::Exact(u64::from(*more) - 2),
    };
    let read = |parts: &[&[u8]]| passed(length, parts).map(|passed| passed.read(length));
    let whole = read(&[bytes]);
    for at in cuts(bytes.len()) {
        assert_eq!(read(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
    }
    assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    match (length, &whole) {
        (Length::Exact(length), Ok((data, complete, excess))) => {
            let length = usize::try_from(length).expect("it comes from a byte");
            assert_eq!(data, &bytes[..length.min(bytes.len())]);
            assert_eq!((*complete, *excess), (length <= bytes.len(), length < bytes.len()));
        }
        (Length::UntilClose, Ok(read)) => assert_eq!(read, &(bytes.to_vec(), true, false)),
        (Length::Chunked, _) => other_readers_agree(bytes, whole),
        (Length::Exact(_) | Length::UntilClose, Err(_)) => panic!("there is nothing to break"),
    }
}

/// What the client is sent of a body.
struct Passed {
    sent: Vec<u8>,
    complete: bool,
    excess: bool,
}

/// What an answer's head says.
struct Told {
    status: String,
    headers: HeaderMap,
}

impl Passed {
    /// The data in it, whether it is complete, and whether more than it arrived.
    fn read(self, length: Length) -> (Vec<u8>, bool, bool) {
        let data = match length {
            Length::Exact(_) => self.sent,
            Length::Chunked | Length::UntilClose => {
                let (data, end) = data(&self.sent).expect("our chunks can be read");
                assert_eq!(end.is_some(), self.complete);
                assert!(end.is_none_or(|end| end == self.sent.len()));
                data
            }
        };
        (data, self.complete, self.excess)
    }
}

/// Passes a body on that arrives in parts, until the upstream closes.
fn passed(length: Length, parts: &[&[u8]]) -> Result<Passed, BrokenChunk> {
    let mut body = Body::new(length);
    let mut passed = Passed { sent: Vec::new(), complete: false, excess: false };
    for part in parts {
        let mut buffer = [&[b'?'; ROOM_BEFORE], *part, &[b'?'; ROOM_BEHIND]].concat();
        let framed = body.take(&mut buffer, (ROOM_BEFORE, ROOM_BEFORE + part.len()))?;
        passed.sent.extend_from_slice(&buffer[framed.start..framed.end]);
        passed.excess |= framed.excess;
    }
    let was_complete = body.is_complete();
    passed.complete = body.close();
    if passed.complete && !was_complete {
        passed.sent.extend_from_slice(LAST_CHUNK);
    }
    Ok(passed)
}

/// Chunks from an upstream, as two readers have them who are not ours.
fn other_readers_agree(bytes: &[u8], ours: Result<(Vec<u8>, bool, bool), BrokenChunk>) {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let other = data(bytes).and_then(|(data, end)| Some((data, end?)));
    let is_strict = strictly(&[head, bytes].concat()) == (true, true);
    match (ours, other) {
        (Ok((data, true, excess)), Some((other, end))) => {
            assert_eq!(data, other);
            assert_eq!(excess, end < bytes.len());
        }
        (Ok((_, false, _)) | Err(_), Some(_)) => {
            assert!(!is_strict, "what everybody can read is not passed on");
        }
        (Ok(_) | Err(_), None) => {}
    }
}

/// The data of chunks as far as they go, and where they end; `None` where they are broken.
fn data(bytes: &[u8]) -> Option<(Vec<u8>, Option<usize>)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let read = httparse::parse_chunk_size(&bytes[at..]).ok()?;
        let httparse::Status::Complete((used, size)) = read else { return Some((data, None)) };
        at += used;
        if size == 0 {
            break;
        }
        let left = &bytes[at..];
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(left.len());
        data.extend_from_slice(&left[..size]);
        match left[size..] {
            [] | [b'\r'] => return Some((data, None)),
            [b'\r', b'\n', ..] => at += size + 2,
            _ => return None,
        }
    }
    let mut room = [httparse::EMPTY_HEADER; 100];
    match httparse::parse_headers(&bytes[at..], &mut room).ok()? {
        httparse::Status::Complete((used, _)) => Some((data, Some(at + used))),
        httparse::Status::Partial => Some((data, None)),
    }
}

/// Whether the strict reader of requests would let an answer pass if it were one request, and
/// whether it is complete.
fn strictly(answer: &[u8]) -> (bool, bool) {
    let line = answer.iter().position(|&byte| byte == b'\n').expect("it has a first line");
    let mut framing = Framing::default();
    let read = framing.read(&[b"POST / HTTP/1.1\r\n", &answer[line + 1..]].concat());
    (read.is_ok() && framing.heads_begun() == 1, framing.is_between_requests())
}

/// Reads a head by the letter of RFC 9112.
fn well_formed(head: &[u8]) -> Told {
    let head = head.strip_suffix(b"\r\n\r\n").expect("it ends with an empty line");
    let lines = head.split(|&byte| byte == b'\n').collect::<Vec<_>>();
    let (last, before) = lines.split_last().expect("there is a line");
    let mut lines: Vec<&[u8]> =
        before.iter().map(|line| line.strip_suffix(b"\r").expect("CR before LF")).collect();
    lines.push(last);
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    assert!(lines.iter().all(|line| line.iter().all(is_text)), "a line has control characters");
    let status = lines[0].strip_prefix(b"HTTP/1.1 ").expect("a version");
    assert!(status[..3].iter().all(u8::is_ascii_digit) && status[3] == b' ', "{status:?}");
    let mut headers = HeaderMap::new();
    for line in &lines[1..] {
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon");
        let name = HeaderName::from_bytes(&line[..colon]).expect("a name");
        let value = line[colon + 1..].strip_prefix(b" ").expect("a space");
        assert_eq!(value.trim_ascii(), value);
        headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    Told { status: String::from_utf8_lossy(&status[..3]).into_owned(), headers }
}

fn is_framed_as(headers: &HeaderMap, body: Option<Length>) {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let (lengths, codings) = (values(CONTENT_LENGTH), values(TRANSFER_ENCODING));
    match body {
        Some(Length::Exact(length)) => {
            assert_eq!((lengths, codings), (vec![length.to_string().as_bytes()], vec![]));
        }
        Some(Length::Chunked | Length::UntilClose) => {
            assert_eq!((lengths, codings), (vec![], vec![&b"chunked"[..]]));
        }
        None => assert!(lengths.len() <= 1 && codings.is_empty()),
    }
}

/// Of what is not about framing, the full way passes on the same.
fn is_as_the_full_way_has_it(head: &[u8], mut told: HeaderMap) {
    let mut room = [httparse::EMPTY_HEADER; 100];
    let mut read = httparse::Response::new(&mut room);
    read.parse(head).expect("it was read before");
    let mut full = HeaderMap::new();
    for header in read.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).expect("a name");
        full.append(name, HeaderValue::from_bytes(header.value).expect("a value"));
    }
    // A list with other bytes in it is no list to the full way.
    if full.get_all(CONNECTION).iter().any(|value| value.to_str().is_err()) {
        return;
    }
    prepare_answer(&mut full);
    full.append(OURS.0, HeaderValue::from_static(OURS.1));
    for name in [CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING] {
        full.remove(&name);
        told.remove(&name);
    }
    assert_eq!(told, full);
}

/// Every place in so many bytes, as long as they are few.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..=length).step_by(1 + length / CUTS_MAX)
}

#[cfg(test)]
mod tests {
    use crate::http::fuzz::replay::replay;

    #[test]
    fn the_corpus_of_plain_requests_holds() {
        replay("plain_request", super::plain_request);
    }

    #[test]
    fn the_corpus_of_answers_holds() {
        replay("answer", super::answer);
    }

    #[test]
    fn the_corpus_of_answer_bodies_holds() {
        replay("answer_body", super::answer_body);
    }
}
