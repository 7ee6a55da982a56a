//! The last lines of a container's log, out of the engine's frames.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use dormouse_core::limits;
use tokio::time::{Instant, timeout_at};

use super::client::{Call, CallError};
use super::engine::Engine;
use crate::{ProviderError, Target};

const DURING: &str = "logs";
/// Stream (0 to 2), three zeros, length as a big-endian u32.
const FRAME_HEAD_BYTES: usize = 8;

/// The last `lines` lines that the target wrote, oldest first.
pub(super) async fn tail(
    engine: &Engine,
    target: &Target,
    lines: usize,
    deadline: Instant,
) -> Result<Vec<String>, ProviderError> {
    let look = engine.look(target, deadline).await;
    let look = look.map_err(|error| error.into_provider(None, DURING))?;
    let look = look.ok_or_else(|| ProviderError::Absent(target.clone()))?;
    let call = Call::get(DURING, look.path(&format!("logs?stdout=1&stderr=1&tail={lines}")));
    let framing = if look.container.config.tty { Framing::Raw } else { Framing::Framed };
    let mut tail = Tail::new(lines, framing);
    let read = timeout_at(deadline, read(engine, &call, &mut tail, deadline)).await;
    match read.unwrap_or(Err(CallError::Timeout { call: DURING })) {
        Ok(()) => Ok(tail.finish()),
        Err(error) => Err(error.into_provider(Some(target), DURING)),
    }
}

async fn read(
    engine: &Engine,
    call: &Call,
    tail: &mut Tail,
    deadline: Instant,
) -> Result<(), CallError> {
    let mut body = engine.client.stream(call, deadline).await?;
    while let Some(piece) = body.next().await? {
        tail.push(piece);
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A terminal: the bytes as they were written.
    Raw,
    /// Two streams, taken apart by frames.
    Framed,
}

/// Keeps the last lines of a log of any length.
pub(super) struct Tail {
    framing: Framing,
    lines_max: usize,
    lines: VecDeque<String>,
    /// The unfinished line of each stream.
    partial: [Vec<u8>; 3],
    /// The beginning of a frame's head.
    head: BytesMut,
    /// The stream of the frame at hand, and what is still missing of it.
    stream: usize,
    missing: usize,
}

impl Tail {
    pub(super) fn new(lines_max: usize, framing: Framing) -> Self {
        Self {
            framing,
            lines_max,
            lines: VecDeque::new(),
            partial: Default::default(),
            head: BytesMut::new(),
            stream: 0,
            missing: 0,
        }
    }

    pub(super) fn push(&mut self, mut piece: Bytes) {
        if self.framing == Framing::Raw {
            return self.write(&piece);
        }
        while !piece.is_empty() {
            if self.missing == 0 {
                self.read_head(&mut piece);
            } else {
                let part = piece.split_to(self.missing.min(piece.len()));
                self.missing -= part.len();
                self.write(&part);
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        for stream in 0..self.partial.len() {
            self.stream = stream;
            if !self.partial[stream].is_empty() {
                self.end_line();
            }
        }
        self.lines.into()
    }

    fn read_head(&mut self, piece: &mut Bytes) {
        let wanted = FRAME_HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&piece.split_to(wanted.min(piece.len())));
        if self.head.len() == FRAME_HEAD_BYTES {
            self.stream = usize::from(self.head[0]).min(self.partial.len() - 1);
            self.head.advance(4);
            self.missing = usize::try_from(self.head.get_u32()).unwrap_or(usize::MAX);
            self.head.clear();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = part.strip_suffix(b"\n").unwrap_or(part);
            let partial = &mut self.partial[self.stream];
            let room = limits::LOG_LINE_BYTES_MAX.saturating_sub(partial.len());
            partial.extend_from_slice(&line[..line.len().min(room)]);
            if line.len() < part.len() {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial[self.stream]);
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        text.retain(|c| !c.is_control());
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        if self.lines_max > 0 {
            self.lines.push_back(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend(text.bytes());
        frame
    }

    fn lines(framing: Framing, lines_max: usize, bytes: &[u8], piece_bytes: usize) -> Vec<String> {
        let mut tail = Tail::new(lines_max, framing);
        for piece in bytes.chunks(piece_bytes) {
            tail.push(Bytes::copy_from_slice(piece));
        }
        tail.finish()
    }

    #[test]
    fn frames_of_both_streams_become_lines_however_they_are_cut() {
        let mut log = frame(1, "one\ntw");
        log.extend(frame(2, "complaint\r\n"));
        log.extend(frame(1, "o\n\u{1b}[1mthree"));
        for piece_bytes in [1, 2, 7, 8, 9, 1000] {
            let read = lines(Framing::Framed, 10, &log, piece_bytes);
            assert_eq!(read, ["one", "complaint", "two", "[1mthree"], "{piece_bytes}");
        }
    }

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_are_cut() {
        let long = "x".repeat(limits::LOG_LINE_BYTES_MAX * 2);
        let log = format!("a\nb\n{long}\nd\n");
        let read = lines(Framing::Raw, 2, log.as_bytes(), 100);
        assert_eq!(read[0].len(), limits::LOG_LINE_BYTES_MAX);
        assert_eq!(read[1], "d");
        assert!(lines(Framing::Raw, 0, log.as_bytes(), 100).is_empty());
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(lines(Framing::Raw, 5, b"a\xffb\n", 10), ["a\u{fffd}b"]);
    }
}
