//! The body of an upstream's answer, block by block as it arrives: where it ends, and how it is
//! framed for the client.

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Exact(u64),
    Chunked,
    /// The upstream closes.
    UntilClose,
}

/// What is left of a body.
#[derive(Debug)]
pub(super) enum Body {
    Exact(u64),
    Chunked(Chunks),
    UntilClose,
    Complete,
}

/// The answer's framing is broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the answer are not framed correctly")]
pub(super) struct BrokenChunk;

/// A block of a body, framed for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framed {
    /// What the client is sent, within the buffer.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes followed that do not belong to the body.
    pub(super) excess: bool,
}

/// Room that framing needs before a block: a chunk's size line.
pub(super) const ROOM_BEFORE: usize = 18;
/// Room that framing needs behind a block: a chunk's end, and that of all chunks.
pub(super) const ROOM_BEHIND: usize = 7;
/// What ends a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes of all size lines and trailers between two blocks of data; a server that needs more
/// sends something else than an answer.
const LINES_BYTES_MAX: u32 = 16 << 10;

/// A lenient reader of chunks, as far as there is only one way to read them.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    line_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Digits so far, and what they say.
    Size(u8, u64),
    /// Until the end of the size line.
    Extension(u64),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// At the beginning of a trailer's line.
    Trailer,
    TrailerRest,
    EndLineFeed,
    End,
}

impl Default for State {
    fn default() -> Self {
        Self::Size(0, 0)
    }
}

impl Body {
    pub(super) fn new(length: Length) -> Self {
        match length {
            Length::Exact(0) => Self::Complete,
            Length::Exact(bytes) => Self::Exact(bytes),
            Length::Chunked => Self::Chunked(Chunks::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// Whether the client is sent chunks.
    pub(super) fn is_chunked(&self) -> bool {
        matches!(self, Self::Chunked(_) | Self::UntilClose)
    }

    /// Takes what has arrived of a body that passes as it is: how much of it that is.
    pub(super) fn take_plain(&mut self, available: usize) -> usize {
        let Self::Exact(left) = self else { return 0 };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
        *left -= length as u64;
        if *left == 0 {
            *self = Self::Complete;
        }
        length
    }

    /// Takes the block between `start` and `end`, and frames it in place. There must be
    /// [`ROOM_BEFORE`] it and [`ROOM_BEHIND`] it.
    pub(super) fn take(
        &mut self,
        buffer: &mut [u8],
        (start, end): (usize, usize),
    ) -> Result<Framed, BrokenChunk> {
        let (used, length) = match self {
            Self::Chunked(chunks) => {
                let taken = chunks.take(&mut buffer[start..end])?;
                if chunks.state == State::End {
                    *self = Self::Complete;
                }
                taken
            }
            Self::UntilClose => (end - start, end - start),
            Self::Exact(_) | Self::Complete => {
                let length = self.take_plain(end - start);
                let excess = length < end - start;
                return Ok(Framed { start, end: start + length, excess });
            }
        };
        let excess = used < end - start;
        let (start, end) = frame(buffer, (start, start + length), self.is_complete());
        Ok(Framed { start, end, excess })
    }

    /// The upstream has closed; whether the body may end here.
    pub(super) fn close(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Complete;
        }
        self.is_complete()
    }
}

/// Makes a block of data a chunk.
fn frame(buffer: &mut [u8], (start, end): (usize, usize), last: bool) -> (usize, usize) {
    let (mut start, mut end) = (start, end);
    if start < end {
        buffer[end..end + 2].copy_from_slice(b"\r\n");
        let mut left = end - start;
        end += 2;
        start -= 2;
        buffer[start..start + 2].copy_from_slice(b"\r\n");
        while left > 0 {
            start -= 1;
            buffer[start] = b"0123456789abcdef"[left & 0xf];
            left >>= 4;
        }
    }
    if last {
        buffer[end..end + LAST_CHUNK.len()].copy_from_slice(LAST_CHUNK);
        end += LAST_CHUNK.len();
    }
    (start, end)
}

impl Chunks {
    /// Reads a block and moves its data to its beginning: how much was read, and how much of it
    /// is data.
    fn take(&mut self, block: &mut [u8]) -> Result<(usize, usize), BrokenChunk> {
        let (mut at, mut kept) = (0, 0);
        while at < block.len() && self.state != State::End {
            if let State::Data(left) = self.state {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len() - at);
                block.copy_within(at..at + length, kept);
                (at, kept) = (at + length, kept + length);
                let left = left - length as u64;
                self.state = if left == 0 { State::DataReturn } else { State::Data(left) };
                self.line_bytes = 0;
            } else {
                self.state = self.step(block[at])?;
                self.line_bytes += 1;
                if self.line_bytes > LINES_BYTES_MAX {
                    return Err(BrokenChunk);
                }
                at += 1;
            }
        }
        Ok((at, kept))
    }

    fn step(&self, byte: u8) -> Result<State, BrokenChunk> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Ok(match (self.state, byte) {
            (State::Size(digits, size), _) if digit.is_some() && digits < 15 => {
                State::Size(digits + 1, size << 4 | digit.unwrap_or_default())
            }
            (State::Size(1.., size), b'\r') => State::SizeLineFeed(size),
            (State::Size(1.., size), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Extension(size), b'\r') => State::SizeLineFeed(size),
            (State::Extension(_), b'\n') => return Err(BrokenChunk),
            (State::Extension(size), _) => State::Extension(size),
            (State::SizeLineFeed(0), b'\n') => State::Trailer,
            (State::SizeLineFeed(size), b'\n') => State::Data(size),
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size(0, 0),
            (State::Trailer, b'\r') => State::EndLineFeed,
            (State::Trailer, b'\n') => return Err(BrokenChunk),
            (State::Trailer, _) => State::TrailerRest,
            (State::TrailerRest, b'\n') => State::Trailer,
            (State::TrailerRest, _) => State::TrailerRest,
            (State::EndLineFeed, b'\n') => State::End,
            (
                State::Size(..)
                | State::SizeLineFeed(_)
                | State::Data(_)
                | State::DataReturn
                | State::DataLineFeed
                | State::EndLineFeed
                | State::End,
                _,
            ) => return Err(BrokenChunk),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, BrokenChunk, Length, ROOM_BEFORE, ROOM_BEHIND};
    use proptest::prelude::{any, prop, proptest};

    /// What the client is sent of a body that arrives in parts, whether the body is complete, and
    /// whether more than it arrived.
    fn passed(length: Length, parts: &[&[u8]]) -> Result<(Vec<u8>, bool, bool), BrokenChunk> {
        let mut body = Body::new(length);
        let (mut sent, mut excess) = (Vec::new(), false);
        for part in parts {
            let mut buffer = vec![b'?'; ROOM_BEFORE];
            buffer.extend_from_slice(part);
            buffer.resize(buffer.len() + ROOM_BEHIND, b'?');
            let framed = body.take(&mut buffer, (ROOM_BEFORE, ROOM_BEFORE + part.len()))?;
            sent.extend_from_slice(&buffer[framed.start..framed.end]);
            excess |= framed.excess;
        }
        Ok((sent, body.is_complete(), excess))
    }

    #[test]
    fn a_body_of_known_length_passes_as_it_is() {
        let sent = |bytes: &[u8], complete, excess| Ok((bytes.to_vec(), complete, excess));
        assert_eq!(passed(Length::Exact(5), &[b"ab", b"cde"]), sent(b"abcde", true, false));
        assert_eq!(passed(Length::Exact(5), &[b"ab"]), sent(b"ab", false, false));
        assert_eq!(passed(Length::Exact(2), &[b"abc"]), sent(b"ab", true, true));
        assert_eq!(passed(Length::Exact(0), &[b"x"]), sent(b"", true, true));
    }

    #[test]
    fn chunks_are_made_anew_one_for_each_block() {
        let parts: &[&[u8]] = &[b"3\r\nabc\r\n2;x=y\r\nde\r\n", b"1 \r\nf\r\n0\r\nX: y\r\n\r\n"];
        let sent = b"5\r\nabcde\r\n1\r\nf\r\n0\r\n\r\n".to_vec();
        assert_eq!(passed(Length::Chunked, parts), Ok((sent, true, false)));
        let sent = b"0\r\n\r\n".to_vec();
        assert_eq!(passed(Length::Chunked, &[b"0\r\n\r\nHTTP"]), Ok((sent, true, true)));
    }

    #[test]
    fn a_body_that_ends_with_its_connection_becomes_chunks() {
        let block = vec![b'x'; 0x1234];
        let (sent, complete, _) = passed(Length::UntilClose, &[&block]).unwrap();
        assert!(sent.starts_with(b"1234\r\nx") && sent.ends_with(b"x\r\n") && !complete);
        assert!(Body::new(Length::UntilClose).close());
        assert!(!Body::new(Length::Chunked).close());
        assert!(!Body::new(Length::Exact(1)).close());
    }

    #[test]
    fn chunks_that_can_be_read_in_two_ways_are_refused() {
        let long = [b"1;".to_vec(), vec![b'x'; 20_000]].concat();
        let many: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"1\n",
            b"1;a\nb\r\n",
            b"1\r\nab",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"1\rx",
            b"0\r\n\n",
            b"0\r\n\rx",
            b"1111111111111111\r\n",
            &long,
        ];
        for bytes in many {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(passed(Length::Chunked, &[bytes]), Err(BrokenChunk), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_chunks_arrive(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:X}\r\n", chunk.len()).into_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            let (sent, complete, excess) = passed(Length::Chunked, &parts).unwrap();
            assert!(complete && !excess);
            // Read by themselves, our chunks say the same.
            let mut again = sent.clone();
            let mut reader = super::Chunks::default();
            let (used, kept) = reader.take(&mut again).unwrap();
            assert_eq!(used, sent.len());
            assert_eq!(again[..kept], chunks.concat());
        }
    }
}
