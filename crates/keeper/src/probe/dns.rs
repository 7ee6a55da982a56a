//! The DNS probe: one question to one server over UDP, asked again until it is answered.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::target::Record;

/// How long one datagram is waited for before the question is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Bytes of an answer over UDP that a server may send without having been asked for more.
const ANSWER_MAX: usize = 512;
/// Recursion is wanted.
const RECURSION: u16 = 0x0100;
const IS_ANSWER: u16 = 0x8000;
const IS_TRUNCATED: u16 = 0x0200;
const CODE: u16 = 0x000F;
const CLASS_INTERNET: u16 = 1;

/// What a server said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Known,
    /// The name exists, without a record of that kind.
    NoRecord,
    /// The response code: 3 is a name that does not exist.
    Refused(u16),
}

/// Asks until there is an answer; whoever calls bounds how long.
pub(super) async fn ask(
    server: SocketAddr,
    name: &str,
    record: Record,
) -> std::io::Result<Verdict> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Only what comes from there is an answer, and a port that nobody has says so.
    socket.connect(server).await?;
    let id = random_id();
    let question = question(id, name, record);
    let mut answer = [0; ANSWER_MAX];
    loop {
        socket.send(&question).await?;
        let heard = timeout(ASK_AGAIN_AFTER, async {
            loop {
                let length = socket.recv(&mut answer).await?;
                if let Some(verdict) = judge(id, record, &answer[..length]) {
                    return Ok(verdict);
                }
            }
        });
        if let Ok(outcome) = heard.await {
            return outcome;
        }
    }
}

/// The standard library's own seed of hash maps: hard to guess, and no further dependency.
fn random_id() -> u16 {
    (RandomState::new().build_hasher().finish() & 0xFFFF) as u16
}

fn question(id: u16, name: &str, record: Record) -> BytesMut {
    let mut question = BytesMut::with_capacity(name.len() + 18);
    for field in [id, RECURSION, 1, 0, 0, 0] {
        question.put_u16(field);
    }
    for label in name.trim_end_matches('.').split('.') {
        question
            .put_u8(u8::try_from(label.len()).expect("a target's labels have at most 63 bytes"));
        question.put_slice(label.as_bytes());
    }
    question.put_u8(0);
    question.put_u16(number(record));
    question.put_u16(CLASS_INTERNET);
    question
}

fn number(record: Record) -> u16 {
    match record {
        Record::A => 1,
        Record::Aaaa => 28,
    }
}

/// What the answer to the question `id` says; none for what is no answer to it.
pub(crate) fn judge(id: u16, record: Record, mut answer: &[u8]) -> Option<Verdict> {
    let (of, flags) = (answer.try_get_u16().ok()?, answer.try_get_u16().ok()?);
    let (questions, answers) = (answer.try_get_u16().ok()?, answer.try_get_u16().ok()?);
    let _authorities_and_more = answer.try_get_u32().ok()?;
    if of != id || flags & IS_ANSWER == 0 {
        return None;
    }
    if flags & CODE != 0 {
        return Some(Verdict::Refused(flags & CODE));
    }
    if flags & IS_TRUNCATED != 0 {
        // There is more to know than fits.
        return Some(Verdict::Known);
    }
    for _ in 0..questions {
        skip_name(&mut answer)?;
        skip(&mut answer, 4)?;
    }
    for _ in 0..answers {
        skip_name(&mut answer)?;
        let kind = answer.try_get_u16().ok()?;
        skip(&mut answer, 6)?;
        let length = answer.try_get_u16().ok()?;
        skip(&mut answer, usize::from(length))?;
        if kind == number(record) {
            return Some(Verdict::Known);
        }
    }
    Some(Verdict::NoRecord)
}

/// Steps over a name: labels up to an empty one or a pointer.
fn skip_name(message: &mut &[u8]) -> Option<()> {
    loop {
        match message.try_get_u8().ok()? {
            0 => return Some(()),
            length if length & 0xC0 == 0xC0 => return skip(message, 1),
            length => skip(message, usize::from(length))?,
        }
    }
}

fn skip(message: &mut &[u8], length: usize) -> Option<()> {
    (message.len() >= length).then(|| message.advance(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(flags: u16, counts: [u16; 2], rest: &[u8]) -> Vec<u8> {
        let fields = [7, flags, counts[0], counts[1], 0, 0];
        let mut message: Vec<u8> = fields.into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend(rest);
        message
    }

    #[test]
    fn a_question_is_a_header_and_the_name_in_labels() {
        let asked = question(7, "a.lan.", Record::Aaaa);
        assert_eq!(asked[..12], [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(asked[12..], *b"\x01a\x03lan\x00\x00\x1c\x00\x01");
    }

    #[test]
    fn only_a_record_of_the_kind_that_was_asked_for_counts() {
        let question = b"\x01a\x00\x00\x01\x00\x01";
        let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01";
        let alias = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c";
        let known = answer(0x8180, [1, 2], &[&question[..], alias, address].concat());
        assert_eq!(judge(7, Record::A, &known), Some(Verdict::Known));
        assert_eq!(judge(7, Record::Aaaa, &known), Some(Verdict::NoRecord));
        let empty = answer(0x8180, [1, 0], question);
        assert_eq!(judge(7, Record::A, &empty), Some(Verdict::NoRecord));
    }

    #[test]
    fn refusals_are_told_and_strangers_are_not_heard() {
        assert_eq!(judge(7, Record::A, &answer(0x8183, [0, 0], &[])), Some(Verdict::Refused(3)));
        assert_eq!(judge(8, Record::A, &answer(0x8183, [0, 0], &[])), None);
        assert_eq!(judge(7, Record::A, &answer(0x0100, [0, 0], &[])), None);
    }

    #[test]
    fn a_message_cut_anywhere_is_no_answer_and_no_panic() {
        let question = b"\x01a\x00\x00\x01\x00\x01";
        let address = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01";
        let whole = answer(0x8180, [1, 1], &[&question[..], address].concat());
        for length in 0..whole.len() {
            assert_eq!(judge(7, Record::A, &whole[..length]), None, "{length}");
        }
    }
}
