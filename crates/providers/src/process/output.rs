//! The last lines that a process wrote, kept within a bound.

use std::collections::VecDeque;
use std::io;

/// Memory for the lines of one target, over all its starts.
const TAIL_BYTES_MAX: usize = 64 * 1024;
/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Bytes taken from a pipe at one go, so that a chatterbox keeps nobody else waiting.
const DRAIN_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 8 * 1024;

/// The tail of what one target wrote, standard output and error in the order written.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    /// Memory of all kept lines.
    bytes: usize,
    /// The beginning of a line whose end was not written yet.
    open: Vec<u8>,
}

/// Whether more may come out of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Open,
    Closed,
}

impl Tail {
    /// The last `count` lines, oldest first; a line without an end counts.
    pub(super) fn last(&self, count: usize) -> Vec<String> {
        let open = (!self.open.is_empty()).then(|| text(&self.open));
        let all = self.lines.iter().cloned().chain(open);
        all.skip((self.lines.len() + usize::from(!self.open.is_empty())).saturating_sub(count))
            .collect()
    }

    /// Takes what `read` has to give without waiting, and shows each whole line to `heard`.
    pub(super) fn drain(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
        mut heard: impl FnMut(&str),
    ) -> Source {
        let mut buffer = [0; READ_BYTES];
        let mut taken = 0;
        while taken < DRAIN_BYTES_MAX {
            match read(&mut buffer) {
                Ok(0) => return Source::Closed,
                Ok(length) => {
                    taken += length;
                    self.take(&buffer[..length], &mut heard);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Source::Open,
                Err(_) => return Source::Closed,
            }
        }
        Source::Open
    }

    /// A new start begins on a new line.
    pub(super) fn close_line(&mut self) {
        if !self.open.is_empty() {
            self.end_line(&mut |_| {});
        }
    }

    fn take(&mut self, bytes: &[u8], heard: &mut impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            for part in line.chunks(LINE_BYTES_MAX) {
                if self.open.len() + part.len() > LINE_BYTES_MAX {
                    self.end_line(heard);
                }
                self.open.extend_from_slice(part);
            }
            if line.len() < piece.len() {
                self.end_line(heard);
            }
        }
    }

    fn end_line(&mut self, heard: &mut impl FnMut(&str)) {
        let line = text(&self.open);
        self.open.clear();
        heard(&line);
        self.bytes += cost(&line);
        self.lines.push_back(line);
        while self.bytes > TAIL_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= cost(&oldest);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches('\r').to_owned()
}

/// What a kept line takes, so that empty lines have a bound as well.
fn cost(line: &String) -> usize {
    size_of_val(line) + line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(pieces: &[&str]) -> Tail {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.take(piece.as_bytes(), &mut |_| {});
        }
        tail
    }

    #[test]
    fn lines_come_back_in_order_however_they_were_cut() {
        let tail = tail_of(&["on", "e\r\ntw", "o\nthree"]);
        assert_eq!(tail.last(9), ["one", "two", "three"]);
        assert_eq!(tail.last(2), ["two", "three"]);
        assert!(tail.last(0).is_empty());
    }

    #[test]
    fn a_flood_keeps_its_newest_part_within_the_bound() {
        let line = format!("{}\n", "x".repeat(99));
        let mut tail = tail_of(&[]);
        for _ in 0..10_000 {
            tail.take(line.as_bytes(), &mut |_| {});
        }
        assert!(tail.bytes <= TAIL_BYTES_MAX);
        assert_eq!(tail.lines.len(), TAIL_BYTES_MAX / cost(&"x".repeat(99)));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let tail = tail_of(&[&"y".repeat(LINE_BYTES_MAX * 3)]);
        assert_eq!(tail.last(9).len(), 3);
        assert!(tail.open.len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn a_flood_of_empty_lines_is_bounded_too() {
        let mut tail = tail_of(&[]);
        for _ in 0..TAIL_BYTES_MAX * 2 {
            tail.take(b"\n", &mut |_| {});
        }
        assert!(tail.lines.len() * cost(&String::new()) <= TAIL_BYTES_MAX);
    }
}
