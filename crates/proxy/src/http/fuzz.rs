//! The doors of the fuzzer: each takes any bytes, as a client could send them, and holds what must
//! be true of them.

use std::net::SocketAddr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Version};

use super::client::Client;
pub use super::direct::fuzz::{answer, answer_body, plain_request};
use super::framing::Framing;
use super::headers::Nature;
use super::{direct, headers, strict};
use crate::listener::Ending;
use crate::navigation;
use crate::settings::ProxySettings;

/// Header lines that the other reader takes.
const HEADERS_MAX: usize = 100;
/// What we tell an application in the place of a stranger.
const TOLD: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
const HOP_BY_HOP: [&str; 4] = ["keep-alive", "proxy-connection", "transfer-encoding", "expect"];

/// A client's side of an HTTP/1 connection.
///
/// # Panics
/// When it matters how the bytes are cut, or what passes could be read as other requests by
/// another reader.
pub fn framing(bytes: &[u8]) {
    let mut whole = Framing::default();
    let verdict = whole.read(bytes);
    for piece_bytes in [1, 5] {
        let mut cut = Framing::default();
        let verdict_cut = bytes.chunks(piece_bytes).try_for_each(|piece| cut.read(piece));
        assert_eq!(verdict_cut, verdict);
    }
    if verdict.is_ok() {
        let heads = heads(bytes);
        let begun = whole.heads_begun();
        assert!(heads <= begun, "{begun} requests hide {heads}");
    }
    if direct::takes(bytes) {
        let whole = verdict.is_ok() && whole.heads_begun() == 1 && whole.is_between_requests();
        assert!(whole, "the direct way takes what is not one request");
    }
}

/// The head of one request: whether it may go on, and what an upstream is sent in its place.
///
/// # Panics
/// When a stranger's headers about itself or about the connection reach the upstream, or a host
/// passes that could be read as something else.
pub fn head(bytes: &[u8]) {
    let Some((parts, _)) = parse(bytes) else { return };
    if navigation::is_navigation(&parts.method, &parts.headers) {
        assert_eq!(parts.method, Method::GET);
    }
    let Ok(host) = strict::check(&parts) else {
        assert!(!direct::takes(bytes), "the direct way takes what the full way refuses");
        return;
    };
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && !b"-._:[]".contains(&byte);
    assert!(!host.bytes().any(odd), "{host:?} is a host");
    for peer in ["192.0.2.7:1", "10.0.0.9:1"] {
        send(&parts, peer);
    }
}

/// Prepares a request of `peer` and looks at what came of it.
fn send(parts: &Parts, peer: &str) {
    let settings = settings();
    let client = client(peer, &settings);
    let (sent, nature) = prepared(parts, &client, &settings);
    let peer = client.peer;
    for name in HOP_BY_HOP {
        assert!(!sent.headers.contains_key(name), "{name} is passed on");
    }
    let forwarded: Vec<_> = sent.headers.get_all("x-forwarded-for").iter().collect();
    let (&[told], false) = (&forwarded[..], sent.headers.get_all(HOST).iter().count() > 1) else {
        panic!("{forwarded:?}")
    };
    if client.trusted {
        assert!(told.as_bytes().ends_with(peer.ip().to_string().as_bytes()));
    } else {
        assert_eq!(told.as_bytes(), peer.ip().to_string().as_bytes());
        assert_eq!(nature.client, peer.ip());
        for name in sent.headers.keys().map(HeaderName::as_str).filter(|it| !TOLD.contains(it)) {
            let spelled = name.replace('_', "-");
            let is_claim = spelled.starts_with("x-forwarded-");
            assert!(!is_claim, "{name} of a stranger is passed on");
            assert!(!["forwarded", "x-real-ip"].contains(&&*spelled), "{name} is passed on");
        }
        assert_eq!(sent.headers.get("x-forwarded-host"), sent.headers.get(HOST));
    }
    assert!(sent.uri.authority().is_none() && sent.uri.scheme().is_none());
}

/// Settings that trust one network.
pub(super) fn settings() -> ProxySettings {
    let trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    ProxySettings { trusted_proxies, ..ProxySettings::default() }
}

pub(super) fn client(peer: &str, settings: &ProxySettings) -> Client {
    let peer: SocketAddr = peer.parse().expect("an address");
    Client::new(peer, settings.trusts(peer.ip()), Default::default(), Ending::default())
}

/// A request as the full way passes it on, and what it takes it for.
pub(super) fn prepared(
    parts: &Parts,
    client: &Client,
    settings: &ProxySettings,
) -> (Parts, Nature) {
    let mut sent = parts.clone();
    let nature = headers::prepare(&mut sent, client, settings);
    headers::aim_http1(&mut sent);
    (sent, nature)
}

/// How many whole heads another reader finds before it finds fault or too little; panics where one
/// of them says two things about its body.
fn heads(mut bytes: &[u8]) -> u64 {
    let mut heads = 0;
    while let Some((parts, used)) = parse(bytes) {
        heads += 1;
        let values = |name| parts.headers.get_all(name).iter().collect::<Vec<_>>();
        let body = match (&values(CONTENT_LENGTH)[..], &values(TRANSFER_ENCODING)[..]) {
            ([], []) => Some(0),
            ([length], []) => {
                let length = length.to_str().ok().and_then(|text| text.parse::<usize>().ok());
                Some(length.expect("a length is a number"))
            }
            ([], [coding]) => {
                assert!(coding.as_bytes().eq_ignore_ascii_case(b"chunked"), "{coding:?} passes");
                chunked_bytes(&bytes[used..])
            }
            (lengths, codings) => panic!("{lengths:?} beside {codings:?} passes"),
        };
        let next = body.and_then(|body| bytes.get(used.saturating_add(body)..));
        let Some(next) = next else { break };
        bytes = next;
    }
    heads
}

/// The bytes of a chunked body, where it is whole.
fn chunked_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let httparse::Status::Complete((used, size)) =
            httparse::parse_chunk_size(&bytes[at..]).ok()?
        else {
            return None;
        };
        at += used;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        let end = bytes.get(at..at.checked_add(2)?)?;
        if end != b"\r\n" {
            // The strict reader judges whole lines.
            assert!(!bytes[at..].contains(&b'\n'), "a chunk that does not end passes");
            return None;
        }
        at += 2;
    }
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(&bytes[at..], &mut room).ok()? {
        httparse::Status::Complete((used, _)) => Some(at + used),
        httparse::Status::Partial => None,
    }
}

/// The first request as hyper would hand it over, and the bytes of its head.
pub(super) fn parse(bytes: &[u8]) -> Option<(Parts, usize)> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut read = httparse::Request::new(&mut room);
    let used = match read.parse(bytes).ok()? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial => return None,
    };
    let mut request = Request::new(());
    *request.method_mut() = read.method?.parse().ok()?;
    *request.uri_mut() = read.path?.parse().ok()?;
    *request.version_mut() = if read.version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    for header in read.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some((request.into_parts().0, used))
}

#[cfg(test)]
#[path = "../../../../fuzz/replay.rs"]
pub(super) mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_framings_holds() {
        replay("framing", super::framing);
    }

    #[test]
    fn the_corpus_of_heads_holds() {
        replay("head", super::head);
    }
}
