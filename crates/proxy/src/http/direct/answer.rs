//! The head of an upstream's answer: what it says about its body and its connection, and how the
//! client is told.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use http::StatusCode;
use httparse::{Header, ParserConfig, Status};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::body::Length;
use super::request::write_all;

/// As many header lines as the full way takes.
const HEADERS_MAX: usize = 100;
/// Bytes of a head; as many as the full way takes.
pub(super) const HEAD_BYTES_MAX: usize = 128 << 10;

/// The head of an answer.
pub(super) struct Head<'h, 'b> {
    status: StatusCode,
    reason: &'b str,
    headers: &'h [Header<'b>],
    /// Absent where there is none, and where nobody has said it.
    length: Option<u64>,
    /// `Connection` names other headers, which end here.
    names_others: bool,
    /// How the end of its body is told; absent where it has none.
    pub(super) body: Option<Length>,
    /// Whether the upstream takes another request on the connection.
    pub(super) reusable: bool,
    /// Bytes that the head takes.
    pub(super) bytes: usize,
}

/// Why an answer cannot be passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Odd {
    #[error("the head of the answer cannot be read")]
    Head,
    #[error("the head of the answer is too large")]
    TooLarge,
    #[error("the length of the answer is ambiguous")]
    Length,
    #[error("the answer switches to another protocol")]
    Switch,
}

/// What else the client is told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extra<'a> {
    /// The connection ends with this answer.
    pub(super) last: bool,
    /// Whole header lines.
    pub(super) lines: &'a [u8],
}

pub(super) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

pub(super) fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

impl<'h, 'b> Head<'h, 'b> {
    /// Reads a head. `None` where its end has not arrived.
    pub(super) fn read(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        of_head: bool,
    ) -> Result<Option<Self>, Odd> {
        let mut response = httparse::Response::new(&mut []);
        let config = ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, room);
        let length = match parsed {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) if bytes.len() > HEAD_BYTES_MAX => return Err(Odd::TooLarge),
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Odd::Head),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let mut head = Self {
            status: status.ok_or(Odd::Head)?,
            reason: response.reason.unwrap_or_default(),
            headers: response.headers,
            length: None,
            names_others: false,
            body: None,
            reusable: response.version == Some(1),
            bytes: length,
        };
        head.frame(of_head)?;
        Ok(Some(head))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// It announces another answer to the same request.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational()
    }

    /// Finds out where its body ends (RFC 9112, section 6.3).
    fn frame(&mut self, of_head: bool) -> Result<(), Odd> {
        if self.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Odd::Switch);
        }
        let is_http_1_1 = self.reusable;
        let mut chunked = false;
        for header in self.headers {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                let is_known = header.value.eq_ignore_ascii_case(b"chunked");
                if chunked || !is_known || !is_http_1_1 {
                    return Err(Odd::Length);
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("content-length") {
                let length = parse_length(header.value).ok_or(Odd::Length)?;
                if self.length.is_some_and(|other| other != length) {
                    return Err(Odd::Length);
                }
                self.length = Some(length);
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.reusable &= !names(header.value, "close");
                self.names_others |= ![&b"keep-alive"[..], b"close"].contains(&header.value);
            }
        }
        if chunked {
            self.length = None;
        }
        let bare = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        if !of_head && !bare && !self.is_interim() {
            self.body = Some(match self.length {
                Some(length) => Length::Exact(length),
                None if chunked => Length::Chunked,
                None => Length::UntilClose,
            });
        }
        if self.body == Some(Length::UntilClose) {
            self.reusable = false;
        }
        Ok(())
    }

    /// Writes the head that the client is sent.
    pub(super) fn write(&self, out: &mut Vec<u8>, extra: Extra<'_>) {
        write_status(out, self.status, self.reason);
        let mut dated = false;
        for header in self.headers {
            if is_hop_by_hop(header.name) || self.is_for_us(header.name) {
                continue;
            }
            dated |= header.name.eq_ignore_ascii_case("date");
            write_all(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
        }
        match (self.body, self.length) {
            (Some(Length::Chunked | Length::UntilClose), _) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
            (_, Some(length)) if self.status != StatusCode::NO_CONTENT => {
                write_length(out, length);
            }
            (Some(Length::Exact(_)) | None, _) => {}
        }
        if !dated {
            write_date(out);
        }
        write_end(out, extra);
    }

    /// Whether `Connection` says that a header is meant for us alone.
    fn is_for_us(&self, name: &str) -> bool {
        self.names_others
            && self.headers.iter().any(|header| {
                header.name.eq_ignore_ascii_case("connection") && names(header.value, name)
            })
    }
}

/// The first line of an answer.
pub(super) fn write_status(out: &mut Vec<u8>, status: StatusCode, reason: &str) {
    let reason =
        if reason.is_empty() { status.canonical_reason().unwrap_or_default() } else { reason };
    write_all(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
}

pub(super) fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    write_all(out, &[&digits[at..], b"\r\n"]);
}

/// The end of a head.
pub(super) fn write_end(out: &mut Vec<u8>, extra: Extra<'_>) {
    if extra.last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    write_all(out, &[extra.lines, b"\r\n"]);
}

/// A clock reading costs less than its text, which is the same for a second.
pub(super) fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let now = Timestamp::now();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now.as_second() {
            let printed = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
            *text = printed.unwrap_or_default();
            *second = now.as_second();
        }
        if !text.is_empty() {
            write_all(out, &[b"date: ", text.as_bytes(), b"\r\n"]);
        }
    });
}

/// Said anew by us, or not to be passed on.
fn is_hop_by_hop(name: &str) -> bool {
    let named: &[&str] = match name.len() {
        2 => &["te"],
        7 => &["upgrade"],
        10 => &["connection", "keep-alive"],
        14 => &["content-length"],
        16 => &["proxy-connection"],
        17 => &["transfer-encoding"],
        _ => return false,
    };
    named.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn names(list: &[u8], token: &str) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Extra, Head, Odd, room};
    use crate::http::direct::body::Length;

    fn read(text: &str, of_head: bool) -> Result<Option<(Option<Length>, bool, String)>, Odd> {
        let mut room = room();
        let head = Head::read(text.as_bytes(), &mut room, of_head)?;
        Ok(head.map(|head| {
            let mut out = Vec::new();
            head.write(&mut out, Extra::default());
            (head.body, head.reusable, String::from_utf8(out).unwrap())
        }))
    }

    fn framed(text: &str) -> Result<(Option<Length>, bool), Odd> {
        read(text, false).map(|head| head.map(|(body, reusable, _)| (body, reusable)).unwrap())
    }

    #[test]
    fn the_end_of_a_body_is_told_by_the_head() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some(Length::Exact(5)), true),
            ("HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", Some(Length::Exact(0)), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Some(Length::Chunked), true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                Some(Length::Chunked),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Some(Length::UntilClose), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Some(Length::Exact(5)), false),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\n",
                Some(Length::Exact(5)),
                false,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", None, true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", None, true),
        ];
        for (text, body, reusable) in cases {
            assert_eq!(framed(text), Ok((body, reusable)), "{text:?}");
        }
        let head = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true).unwrap().unwrap();
        assert_eq!((head.0, head.1), (None, true));
        assert!(head.2.contains("content-length: 5\r\n"));
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Le", false), Ok(None));
    }

    #[test]
    fn an_answer_that_cannot_be_read_in_one_way_is_not_passed_on() {
        for (text, odd) in [
            ("SSH-2.0-x\r\n\r\n", Odd::Head),
            ("HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", Odd::Head),
            ("HTTP/1.1 099 OK\r\n\r\n", Odd::Head),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Odd::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Odd::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", Odd::Length),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Odd::Length),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Odd::Length),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Odd::Switch),
        ] {
            assert_eq!(framed(text), Err(odd), "{text:?}");
        }
    }

    #[test]
    fn what_was_for_us_is_not_passed_on() {
        let text = "HTTP/1.1 299 Own Words\r\nConnection: X-A, close\r\nX-A: 1\r\nX-B: 2\r\n\
                    Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nDate: then\r\nSet-Cookie: a\r\n\
                    Set-Cookie: b\r\nContent-Length: 007\r\nContent-Length: 7\r\n\r\n";
        let (_, _, written) = read(text, false).unwrap().unwrap();
        assert_eq!(
            written,
            "HTTP/1.1 299 Own Words\r\nX-B: 2\r\nDate: then\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
             content-length: 7\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_without_a_date_gets_one() {
        let (_, _, written) = read("HTTP/1.1 204 No Content\r\n\r\n", false).unwrap().unwrap();
        let date = written.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        assert!(jiff::fmt::rfc2822::parse(date).is_ok() && date.ends_with(" GMT"), "{date}");
    }

    #[test]
    fn the_last_answer_and_one_that_was_held_say_so() {
        let mut room = room();
        let text = b"HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = Head::read(text, &mut room, false).unwrap().unwrap();
        let mut out = Vec::new();
        head.write(&mut out, Extra { last: true, lines: b"x-a: b\r\n" });
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nDate: then\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\
             x-a: b\r\n\r\n"
        );
    }
}
