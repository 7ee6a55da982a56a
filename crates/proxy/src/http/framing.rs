//! A second, strict reader of a client's HTTP/1 framing, beside hyper's lenient one: what two
//! parsers could read differently is refused, so that no request can hide in another.
//!
//! It reads the bytes before hyper does and changes none. It refuses: a line that ends in a bare
//! LF, a folded line, `Content-Length` beside `Transfer-Encoding` or twice, one that is not digits
//! alone, a `Transfer-Encoding` that is not exactly `chunked`, and chunks whose framing is not
//! exactly `HEX[;EXTENSION] CRLF DATA CRLF`.

/// Bytes of one line that are kept while its end has not arrived; hyper refuses longer heads.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a chunk's size line; what else it says is nobody's business.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;
/// Hexadecimal digits of a chunk's size.
const CHUNK_DIGITS_MAX: usize = 15;

/// Follows one connection's bytes.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The part of a line that arrived without its end.
    line: Vec<u8>,
    head: Head,
    heads_begun: u64,
}

/// The request with this number is wrong, in its head or in its chunks; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) u64);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    RequestLine,
    HeaderLine,
    Fixed(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    /// After a violation, and after an upgrade: nothing is read any more.
    Passive,
}

/// What the head that is being read says about its body.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
    seen: bool,
}

struct Wrong;

impl Framing {
    /// Begins where so many requests have been read by somebody else.
    pub(crate) fn after(requests: u64) -> Self {
        Self { heads_begun: requests, ..Self::default() }
    }

    /// Whether the next byte begins a request.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::RequestLine) && self.line.is_empty()
    }

    /// Reads what has arrived.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Violation> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Passive => return Ok(()),
                State::Fixed(left) => {
                    self.skip(left, bytes.len(), State::Fixed, State::RequestLine)
                }
                State::ChunkData(left) => {
                    self.skip(left, bytes.len(), State::ChunkData, State::ChunkEnd)
                }
                State::RequestLine
                | State::HeaderLine
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailer => self.read_line(bytes)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// How many requests have begun so far.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn heads_begun(&self) -> u64 {
        self.heads_begun
    }

    /// Stops reading: what follows is not HTTP/1 any more.
    pub(crate) fn stop(&mut self) {
        self.state = State::Passive;
        self.line = Vec::new();
    }

    fn skip(
        &mut self,
        left: u64,
        available: usize,
        during: fn(u64) -> State,
        after: State,
    ) -> usize {
        if left > available as u64 {
            self.state = during(left - available as u64);
            return available;
        }
        self.state = after;
        left as usize
    }

    fn read_line(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            if self.line.len() + bytes.len() > LINE_BYTES_MAX {
                return Err(self.violation());
            }
            self.line.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let read = if self.line.is_empty() {
            self.end_line(&bytes[..end])
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            let read = self.end_line(&line);
            line.clear();
            self.line = line;
            read
        };
        read.map_err(|Wrong| self.violation())?;
        Ok(end + 1)
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let Some(line) = line.strip_suffix(b"\r") else {
            // Bytes before a request that are not CRLF begin its head.
            self.begin_head();
            return Err(Wrong);
        };
        match self.state {
            State::RequestLine if line.is_empty() => {}
            State::RequestLine => {
                self.begin_head();
                self.state = State::HeaderLine;
            }
            State::HeaderLine if line.is_empty() => self.state = self.body()?,
            State::HeaderLine => self.head.read_header(line)?,
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailer,
                    size => State::ChunkData(size),
                };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Wrong),
            State::Trailer if line.is_empty() => self.state = State::RequestLine,
            State::Trailer => no_fold(line)?,
            State::Fixed(_) | State::ChunkData(_) | State::Passive => {}
        }
        Ok(())
    }

    fn begin_head(&mut self) {
        if matches!(self.state, State::RequestLine) {
            self.heads_begun += 1;
            self.head = Head::default();
        }
    }

    fn body(&mut self) -> Result<State, Wrong> {
        match (self.head.chunked, self.head.length) {
            (true, Some(_)) => Err(Wrong),
            (true, None) => Ok(State::ChunkSize),
            (false, Some(length)) if length > 0 => Ok(State::Fixed(length)),
            (false, _) => Ok(State::RequestLine),
        }
    }

    fn violation(&mut self) -> Violation {
        self.stop();
        Violation(self.heads_begun.max(1))
    }
}

impl Head {
    fn read_header(&mut self, line: &[u8]) -> Result<(), Wrong> {
        no_fold(line)?;
        // Only the two headers that decide about framing are read further.
        if !matches!(line[0], b'c' | b'C' | b't' | b'T') {
            return Ok(());
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Err(Wrong);
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.seen_length() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Wrong);
            }
            let text = std::str::from_utf8(value).map_err(|_| Wrong)?;
            self.length = Some(text.parse().map_err(|_| Wrong)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Wrong);
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn seen_length(&mut self) -> bool {
        std::mem::replace(&mut self.seen, true)
    }
}

/// A line that begins with a space continues the one before it, to those who still know that.
fn no_fold(line: &[u8]) -> Result<(), Wrong> {
    if line.starts_with(b" ") || line.starts_with(b"\t") { Err(Wrong) } else { Ok(()) }
}

fn chunk_size(line: &[u8]) -> Result<u64, Wrong> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = &line[digits..];
    let plain = extension.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if !(1..=CHUNK_DIGITS_MAX).contains(&digits)
        || line.len() > CHUNK_LINE_BYTES_MAX
        || !(extension.is_empty() || extension.starts_with(b";"))
        || !plain
    {
        return Err(Wrong);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| Wrong)?;
    u64::from_str_radix(text, 16).map_err(|_| Wrong)
}

#[cfg(test)]
mod tests {
    use super::{Framing, Violation};
    use proptest::prelude::{any, prop, proptest};

    fn read(input: &[u8]) -> Result<(), Violation> {
        Framing::default().read(input)
    }

    #[test]
    fn ordinary_requests_pass() {
        let inputs = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\ncdGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab\ncd\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n\
             0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nTE: trailers\r\n\r\n",
        ];
        for input in inputs {
            assert_eq!(read(input.as_bytes()), Ok(()), "{input:?}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused_in_its_own_request() {
        let cases = [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", 1),
            ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 1),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 1),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\nHost: a\r\n", 2),
            ("P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nContent-Length:\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;\x01\r\na\r\n", 1),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\na\r\n", 1),
        ];
        for (input, request) in cases {
            assert_eq!(read(input.as_bytes()), Err(Violation(request)), "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            input in prop::collection::vec(
                prop::sample::select(vec![
                    "\r\n", "\n", "\r", "POST / HTTP/1.1\r\n", "Content-Length: 3\r\n", "0\r\n",
                    "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "\r\n", "abc", "X: y\r\n",
                ]),
                0..12,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let input = input.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let mut framing = Framing::default();
            let parts = cuts.windows(2).try_for_each(|ends| {
                framing.read(&input.as_bytes()[ends[0]..ends[1]])
            });
            assert_eq!(parts, read(input.as_bytes()));
        }
    }
}
