//! The way in: a thread that reads standard input line by line, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use dormouse_core::limits;
use dormouse_wire::{BadLine, CollectCommand};
use tokio::sync::mpsc;

/// Lines that have been read and not yet obeyed.
const QUEUE: usize = 16;
/// A buffer larger than this is given back after a long line.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// What was read.
#[derive(Debug)]
pub(crate) enum Input {
    /// A line that makes sense.
    Command(CollectCommand),
    /// A line that makes none.
    Bad(BadLine),
    /// A line of so many bytes, which was passed over.
    TooLong(u64),
    /// Nothing more comes.
    Ended,
    /// Nothing more can be read.
    Broken(io::Error),
}

/// Begins to read `source`; the channel ends with it. The thread may wait for input until the
/// process ends.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn open(source: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    thread::Builder::new().name("collect-reader".into()).spawn(move || {
        let mut lines = Lines::of(BufReader::new(source));
        loop {
            let input = lines.next().unwrap_or_else(Input::Broken);
            let is_last = matches!(input, Input::Ended | Input::Broken(_));
            if sender.blocking_send(input).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Everything that is read of a source, to its end.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn read_to_end(source: impl BufRead) -> Vec<Input> {
    let mut lines = Lines::of(source);
    let read = std::iter::from_fn(|| lines.next().ok());
    read.take_while(|input| !matches!(input, Input::Ended)).collect()
}

/// Cuts a source into lines, and passes over those that are too long to be kept.
struct Lines<R> {
    source: R,
    line: Vec<u8>,
}

/// What the next end of a line closed.
enum Cut {
    Line,
    TooLong(u64),
    End,
}

impl<R: BufRead> Lines<R> {
    fn of(source: R) -> Self {
        Self { source, line: Vec::new() }
    }

    fn next(&mut self) -> io::Result<Input> {
        loop {
            let input = match self.cut()? {
                Cut::End => Some(Input::Ended),
                Cut::TooLong(bytes) => Some(Input::TooLong(bytes)),
                Cut::Line if self.line.trim_ascii().is_empty() => None,
                Cut::Line => {
                    let command = CollectCommand::read(&self.line);
                    Some(command.map_or_else(Input::Bad, Input::Command))
                }
            };
            if self.line.capacity() > BUFFER_KEPT_BYTES {
                self.line = Vec::new();
            }
            if let Some(input) = input {
                return Ok(input);
            }
        }
    }

    fn cut(&mut self) -> io::Result<Cut> {
        self.line.clear();
        let mut bytes: u64 = 0;
        loop {
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece?,
            };
            if piece.is_empty() {
                return Ok(if bytes == 0 { Cut::End } else { self.closed(bytes) });
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(piece.len());
            bytes += taken as u64;
            if bytes <= limits::COLLECT_LINE_BYTES_MAX as u64 {
                self.line.extend_from_slice(&piece[..taken]);
            }
            self.source.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(self.closed(bytes));
            }
        }
    }

    fn closed(&self, bytes: u64) -> Cut {
        match bytes <= limits::COLLECT_LINE_BYTES_MAX as u64 {
            true => Cut::Line,
            false => Cut::TooLong(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: impl Into<Vec<u8>>) -> Vec<String> {
        let mut inputs = open(io::Cursor::new(text.into())).unwrap();
        let mut seen = Vec::new();
        while let Some(input) = inputs.recv().await {
            seen.push(format!("{input:?}"));
        }
        seen
    }

    #[tokio::test]
    async fn lines_are_read_one_by_one_and_empty_ones_passed_over() {
        let text = "\n{\"type\":\"shutdown\"}\r\n  \n\n{\"type\":\"remove\",\"envId\":2}";
        let expected = ["Command(Shutdown)", "Command(Remove(EnvId(2)))", "Ended"];
        assert_eq!(read(text).await, expected, "the last line needs no end");
        assert_eq!(read("").await, ["Ended"]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over_and_is_not_the_end() {
        let max = limits::COLLECT_LINE_BYTES_MAX;
        let shutdown = b"{\"type\":\"shutdown\"}";
        let mut just_short_enough = shutdown.to_vec();
        just_short_enough.resize(max, b' ');
        let mut text = vec![b'x'; 2 * max];
        text.push(b'\n');
        text.extend_from_slice(&just_short_enough);
        text.extend_from_slice(b" \n{\n");
        text.extend_from_slice(&just_short_enough);
        let seen = read(text).await;
        let too_long = [format!("TooLong({})", 2 * max), format!("TooLong({})", max + 1)];
        assert_eq!(seen[..2], too_long);
        assert!(seen[2].starts_with("Bad("), "{seen:?}");
        assert_eq!(seen[3..], ["Command(Shutdown)", "Ended"]);
    }

    #[test]
    fn a_long_line_leaves_no_large_buffer_behind() {
        let mut text = vec![b'x'; limits::COLLECT_LINE_BYTES_MAX * 2];
        text.extend_from_slice(b"\n{}\n");
        let mut lines = Lines::of(io::Cursor::new(text));
        assert!(matches!(lines.next(), Ok(Input::TooLong(_))));
        assert!(lines.line.capacity() <= BUFFER_KEPT_BYTES);
    }
}
