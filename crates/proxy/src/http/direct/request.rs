//! Recognises the requests that go the direct way: heads that can only be read in one way, without
//! a body, and with nothing in them that needs more than passing it on.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use httparse::{Header, Status};

use super::forwarded;
use crate::http::client::Client;
use crate::http::present::is_from_trusted_only;
use crate::http::strict::is_authority;
use crate::settings::ProxySettings;

/// Header lines of a request that goes the direct way; one with more goes the full way.
pub(super) const HEADERS_MAX: usize = 64;

/// Room for the header lines of one head.
pub(super) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// A request that goes the direct way.
#[derive(Debug, PartialEq)]
pub(super) struct Plain<'h, 'b> {
    method: &'b str,
    target: &'b str,
    /// As the client wrote it, with its port.
    pub(super) hostname: &'b str,
    headers: &'h [Header<'b>],
}

/// How a header of a request is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Pass,
    Host,
    Connection,
    ContentType,
    /// About who has sent it: said anew.
    Sender,
    /// Its request goes the full way.
    Intricate,
}

pub(super) fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

impl<'h, 'b> Plain<'h, 'b> {
    /// Reads what has arrived. `None` where it is anything else than exactly one such head.
    pub(super) fn read(
        bytes: &'b [u8],
        room: &'h mut Room<'b>,
        settings: &ProxySettings,
    ) -> Option<Self> {
        let (method, target, headers) = parse(bytes, room)?;
        let is_bounded =
            bytes.len() <= settings.header_bytes_max && headers.len() <= settings.header_count_max;
        if !is_bounded || !is_plain_method(method) || !is_plain_target(target) {
            return None;
        }
        let mut hostname = None;
        let mut connections = 0;
        for header in headers {
            match treatment(header.name) {
                Treatment::Pass => {}
                Treatment::Host if hostname.is_some() => return None,
                Treatment::Host => hostname = Some(std::str::from_utf8(header.value).ok()?),
                Treatment::Connection if connections > 0 => return None,
                Treatment::Connection => {
                    connections += 1;
                    if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                        return None;
                    }
                }
                Treatment::ContentType if header.value.starts_with(b"application/grpc") => {
                    return None;
                }
                Treatment::ContentType | Treatment::Sender => {}
                Treatment::Intricate => return None,
            }
        }
        let hostname = hostname.filter(|hostname| is_authority(hostname))?;
        Some(Self { method, target, hostname, headers })
    }

    pub(super) fn path(&self) -> &'b str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Writes the head that the upstream is sent.
    pub(super) fn write(&self, client: &Client, out: &mut Vec<u8>) {
        write_all(out, &[self.method.as_bytes(), b" ", self.target.as_bytes(), b" HTTP/1.1\r\n"]);
        for header in self.headers {
            match treatment(header.name) {
                Treatment::Pass | Treatment::Host | Treatment::ContentType => {
                    write_all(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
                }
                Treatment::Connection | Treatment::Sender | Treatment::Intricate => {}
            }
        }
        forwarded::write(out, client, self.hostname, self.headers);
        out.extend_from_slice(b"\r\n");
    }

    /// The method and headers as the full way has them.
    pub(super) fn to_parts(&self) -> (Method, HeaderMap) {
        let headers = self.headers.iter().filter_map(|header| {
            let name = HeaderName::try_from(header.name).ok()?;
            Some((name, HeaderValue::from_bytes(header.value).ok()?))
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        (Method::from_bytes(self.method.as_bytes()).unwrap_or_default(), map)
    }
}

/// Method, target and header lines of a head that ends where the bytes do.
fn parse<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Option<(&'b str, &'b str, &'h [Header<'b>])> {
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, room);
    if !matches!(parsed, Ok(Status::Complete(length)) if length == bytes.len())
        || request.version != Some(1)
        || !bytes[0].is_ascii_uppercase()
        || has_bare_line_feed(bytes)
    {
        return None;
    }
    Some((request.method?, request.path?, request.headers))
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    // Looks at all of them: that is quicker than to stop at the first.
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |found, (&first, &second)| found | (second == b'\n' && first != b'\r'))
}

/// Those that have no body, and may reach a workload twice (RFC 9110, section 9.2.2).
fn is_plain_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE")
}

/// A path with an optional query, of characters that nobody reads in two ways.
fn is_plain_target(target: &str) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            plain[byte] = matches!(
                byte as u8,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$'
                    | b'%' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':'
                    | b'@' | b'/' | b'?'
            );
            byte += 1;
        }
        plain
    };
    target.starts_with('/') && target.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// The length decides which names are compared; most headers are compared with none.
fn treatment(name: &str) -> Treatment {
    use Treatment::{Connection, ContentType, Host, Intricate, Pass, Sender};
    let named: &[(&str, Treatment)] = match name.len() {
        2 => &[("te", Intricate)],
        4 => &[("host", Host)],
        6 => &[("expect", Intricate)],
        7 => &[("upgrade", Intricate), ("trailer", Intricate)],
        10 => &[("connection", Connection), ("keep-alive", Intricate)],
        12 => &[("content-type", ContentType)],
        14 => &[("content-length", Intricate)],
        16 => &[("proxy-connection", Intricate)],
        17 => &[("transfer-encoding", Intricate)],
        _ => &[],
    };
    let found = named.iter().find(|(other, _)| name.eq_ignore_ascii_case(other));
    match found {
        Some((_, treatment)) => *treatment,
        None if is_from_trusted_only(name) => Sender,
        None => Pass,
    }
}

pub(super) fn write_all(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, room};
    use crate::http::client::Client;
    use crate::http::framing::Framing;
    use crate::http::strict::check;
    use crate::listener::Ending;
    use crate::settings::ProxySettings;
    use proptest::prelude::{Strategy, prop, proptest};

    fn client(trusted: bool) -> Client {
        let peer = "192.0.2.7:1".parse().unwrap();
        Client::new(peer, trusted, Default::default(), Ending::default())
    }

    /// What the upstream is sent; `None` where the request goes the full way.
    fn sent_by(client: &Client, request: &str) -> Option<String> {
        let mut room = room();
        let settings = ProxySettings::default();
        let plain = Plain::read(request.as_bytes(), &mut room, &settings)?;
        let mut out = Vec::new();
        plain.write(client, &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    fn sent(request: &str) -> Option<String> {
        sent_by(&client(false), request)
    }

    #[test]
    fn a_plain_request_is_passed_on_with_who_has_sent_it() {
        let request = "GET /a/../b%2f?c=d&e HTTP/1.1\r\nHost: A.example:81\r\nAccept: */*\r\n\
                       Connection: Keep-Alive\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=x\r\n\
                       X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Real-Ip: 1.1.1.1\r\n\
                       X-Forwarded-Port: 1\r\nX_Forwarded_For: 1.1.1.1\r\nX-FORWARDED-SSL: on\r\nCookie: a\r\nCookie: b\r\n\r\n";
        assert_eq!(
            sent(request).unwrap(),
            "GET /a/../b%2f?c=d&e HTTP/1.1\r\nHost: A.example:81\r\nAccept: */*\r\nCookie: a\r\n\
             Cookie: b\r\nx-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\n\
             x-forwarded-host: A.example:81\r\n\r\n"
        );
    }

    #[test]
    fn everything_that_is_not_plain_goes_the_full_way() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nG",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\\a HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\n\r\n",
        ] {
            assert_eq!(sent(request), None, "{request:?}");
        }
        let many = "X: y\r\n".repeat(64);
        assert_eq!(sent(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), None);
        let large = "y".repeat(33 << 10);
        assert_eq!(sent(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n")), None);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_added_to() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.1\r\n\
                       X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\nX-Real-Ip: 1.1.1.1\r\n\
                       x-forwarded-for: 10.0.0.2\r\n\r\n";
        assert_eq!(
            sent_by(&client(true), request).unwrap(),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Real-Ip: 1.1.1.1\r\n\
             x-forwarded-for: 1.1.1.1, 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n\
             forwarded: for=1.1.1.1, for=192.0.2.7\r\nx-forwarded-host: a\r\n\r\n"
        );
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b\r\n\r\n";
        assert_eq!(
            sent_by(&client(true), request).unwrap(),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: b\r\nx-forwarded-for: 192.0.2.7\r\n\
             x-forwarded-proto: http\r\n\r\n"
        );
    }

    fn lines() -> impl Strategy<Value = Vec<&'static str>> {
        let line = prop::sample::select(vec![
            "Host: a\r\n",
            "host: b.example:80\r\n",
            "Host : a\r\n",
            "Host:a\r\n",
            "Host: \r\n",
            "X: y\r\n",
            "X: y\n",
            " folded\r\n",
            "\tfolded\r\n",
            "Content-Length: 3\r\n",
            "content-length:0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding:x\r\n",
            "Connection: close\r\n",
            "connection:keep-alive\r\n",
            "Te: trailers\r\n",
            "\r\n",
            "\n",
            "X: a\rb\r\n",
            "X\r\n",
            ": x\r\n",
            "X: \0\r\n",
            "abc",
        ]);
        prop::collection::vec(line, 0..7)
    }

    proptest! {
        /// Whatever goes the direct way, the strict reader of framing and the checks of the full
        /// way would let pass, as exactly one request without a body.
        #[test]
        fn the_direct_way_takes_nothing_that_the_full_way_refuses(
            first in prop::sample::select(vec![
                "GET / HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n", "GET /a?b HTTP/1.1\r\n", "GET /a\n",
                "get / HTTP/1.1\r\n", "HEAD //a HTTP/1.1\r\n", "GET a HTTP/1.1\r\n",
                "GET /\"{|}^` HTTP/1.1\r\n", "DELETE /%zz HTTP/1.1\r\n", "GET / HTTP/1.1 \r\n",
            ]),
            lines in lines(),
            end in prop::sample::select(vec!["\r\n", "\n", "", "\r\n\r\n"]),
        ) {
            let request = format!("{first}Host: a.example\r\n{}{end}", lines.concat());
            let other = format!("{first}{}{end}", lines.concat());
            for request in [request, other] {
                if sent(&request).is_none() {
                    continue;
                }
                let mut framing = Framing::default();
                assert_eq!(framing.read(request.as_bytes()), Ok(()), "{request:?}");
                assert!(framing.is_between_requests(), "{request:?}");
                let mut headers = [httparse::EMPTY_HEADER; 100];
                let mut parsed = httparse::Request::new(&mut headers);
                assert!(parsed.parse(request.as_bytes()).unwrap().is_complete());
                let mut built = http::Request::builder().uri(parsed.path.unwrap());
                for header in parsed.headers.iter() {
                    built = built.header(header.name, header.value);
                }
                let parts = built.body(()).unwrap().into_parts().0;
                assert!(check(&parts).is_ok(), "{request:?}");
            }
        }
    }
}
