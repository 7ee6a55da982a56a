//! Rewrites the headers of a request on its way to the upstream, and of an answer on its way back.

use std::net::IpAddr;

use http::header::{
    self, CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName,
    HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Uri, Version};

use super::client::Client;
use super::present::{Present, is_from_trusted_only};
use crate::settings::ProxySettings;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a request is, as far as its treatment depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nature {
    /// It asks to become another protocol.
    pub(crate) upgrade: bool,
    /// It waits for a 100 before it sends its body.
    pub(crate) expects: bool,
    /// It is gRPC.
    pub(crate) grpc: bool,
    /// The address of the client itself, behind trusted proxies.
    pub(crate) client: IpAddr,
}

/// Makes a client's head into the one that an upstream is sent: hop-by-hop headers are gone, the
/// forwarded ones are right. The target stays as it is; see [`aim_http1`] and [`aim_http2`].
pub(crate) fn prepare(parts: &mut Parts, client: &Client, settings: &ProxySettings) -> Nature {
    let present = Present::of(&parts.headers);
    let nature = Nature {
        upgrade: parts.version == Version::HTTP_11
            && present.has(Present::UPGRADE)
            && names_token(&parts.headers, CONNECTION, "upgrade"),
        expects: present.has(Present::EXPECT) && parts.headers.remove(EXPECT).is_some(),
        grpc: present.has(Present::CONTENT_TYPE) && is_grpc(&parts.headers),
        client: client_address(&parts.headers, client, settings),
    };
    let upgrade = if nature.upgrade { parts.headers.remove(UPGRADE) } else { None };
    let trailers = present.has(Present::TE) && names_token(&parts.headers, TE, "trailers");
    remove_hop_by_hop(&mut parts.headers, present);
    if trailers {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
    }
    if !present.has(Present::HOST) {
        name_host(parts);
    }
    forward_addresses(&mut parts.headers, client, present);
    nature
}

/// Gives a prepared request the target and version of HTTP/1.1.
pub(crate) fn aim_http1(parts: &mut Parts) {
    if parts.uri.scheme().is_some() || parts.uri.authority().is_some() {
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        parts.uri = Uri::from(path);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
}

/// Gives a prepared request the target and version of HTTP/2.
pub(crate) fn aim_http2(parts: &mut Parts) {
    let mut target = http::uri::Parts::default();
    target.scheme = Some(http::uri::Scheme::HTTP);
    target.authority = parts
        .headers
        .remove(HOST)
        .and_then(|host| http::uri::Authority::from_maybe_shared(host).ok())
        .or_else(|| Some(http::uri::Authority::from_static("localhost")));
    target.path_and_query = parts.uri.path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(target) {
        parts.uri = uri;
    }
    parts.headers.remove(CONNECTION);
    parts.headers.remove(UPGRADE);
    parts.version = Version::HTTP_2;
}

/// Makes an upstream's head into the one that the client is sent.
pub(crate) fn prepare_answer(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers, Present::of(headers));
}

/// Whether a request is gRPC, which is told of failures in its own way.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    if present.has(Present::CONNECTION) {
        remove_named(headers);
    }
    for (bit, name) in [
        (Present::TE, &TE),
        (Present::TRANSFER_ENCODING, &TRANSFER_ENCODING),
        (Present::UPGRADE, &UPGRADE),
        (Present::OLD_HOP_BY_HOP, &KEEP_ALIVE),
        (Present::OLD_HOP_BY_HOP, &PROXY_CONNECTION),
    ] {
        if present.has(bit) {
            headers.remove(name);
        }
    }
}

/// Removes `Connection` and the headers that it names.
fn remove_named(headers: &mut HeaderMap) {
    let header::Entry::Occupied(entry) = headers.entry(CONNECTION) else {
        return;
    };
    // What nearly every message with this header says. `Keep-Alive` itself is removed elsewhere.
    let single = entry.iter().count() == 1;
    if single && [&b"keep-alive"[..], b"close"].contains(&entry.get().as_bytes()) {
        entry.remove();
        return;
    }
    let (_, values) = entry.remove_entry_mult();
    let values: Vec<HeaderValue> = values.collect();
    for name in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')) {
        let name = name.trim();
        // Framing and routing are not the client's to take away.
        if name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("content-length") {
            continue;
        }
        if let Ok(name) = name.parse::<HeaderName>() {
            headers.remove(name);
        }
    }
}

fn names_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|named| named.trim().eq_ignore_ascii_case(token))
}

/// Upstreams of every version are told the name that the client asked for.
fn name_host(parts: &mut Parts) {
    let authority = parts.uri.authority().map_or("", http::uri::Authority::as_str);
    if let Ok(value) = HeaderValue::from_str(authority) {
        parts.headers.insert(HOST, value);
    }
}

fn forward_addresses(headers: &mut HeaderMap, client: &Client, present: Present) {
    if client.trusted {
        append_forwarded(headers, client);
        headers.entry(&X_FORWARDED_PROTO).or_insert_with(|| HeaderValue::from_static("http"));
        if headers.contains_key(&X_FORWARDED_HOST) {
            return;
        }
    } else {
        if present.has(Present::FROM_TRUSTED_ONLY) {
            let claims = |name: &&HeaderName| is_from_trusted_only(name.as_str());
            let claimed: Vec<HeaderName> = headers.keys().filter(claims).cloned().collect();
            for name in &claimed {
                headers.remove(name);
            }
        }
        headers.insert(&X_FORWARDED_FOR, client.peer_value.clone());
        headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(&X_FORWARDED_HOST, host);
    }
}

fn append_forwarded(headers: &mut HeaderMap, client: &Client) {
    let peer = client.peer_value.to_str().unwrap_or_default();
    append_list(headers, &X_FORWARDED_FOR, peer);
    if headers.contains_key(FORWARDED) {
        let node =
            if peer.contains(':') { format!("for=\"[{peer}]\"") } else { format!("for={peer}") };
        append_list(headers, &FORWARDED, &node);
    }
}

/// Joins all values of a list header with one more.
fn append_list(headers: &mut HeaderMap, name: &HeaderName, item: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(list)) {
        headers.insert(name, value);
    }
}

/// The first address, seen from us, that is not a trusted proxy's.
pub(crate) fn client_address(
    headers: &HeaderMap,
    client: &Client,
    settings: &ProxySettings,
) -> IpAddr {
    let peer = client.peer.ip().to_canonical();
    if !client.trusted {
        return peer;
    }
    let mut found = peer;
    for value in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
        for item in value.to_str().unwrap_or_default().rsplit(',') {
            let Some(address) = parse_address(item.trim()) else {
                return found;
            };
            found = address.to_canonical();
            if !settings.trusts(found) {
                return found;
            }
        }
    }
    found
}

/// Some proxies add the port.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

/// HTTP/2 clients may send each cookie by itself; in HTTP/1.1 there is one header.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = crumbs.join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::{Nature, aim_http1, aim_http2, prepare, prepare_answer};
    use crate::http::client::Client;
    use crate::listener::Ending;
    use crate::settings::ProxySettings;
    use http::{Request, Version};

    fn prepared(
        peer: &str,
        trusted: &str,
        headers: &[(&str, &str)],
    ) -> (http::request::Parts, Nature) {
        let settings = ProxySettings {
            trusted_proxies: vec![trusted.parse().unwrap()],
            ..ProxySettings::default()
        };
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let client =
            Client::new(peer, settings.trusts(peer.ip()), Default::default(), Ending::default());
        let mut request = Request::get("/x").header("host", "a.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let nature = prepare(&mut parts, &client, &settings);
        (parts, nature)
    }

    fn all(parts: &http::request::Parts, name: &str) -> Vec<String> {
        let values = parts.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn forwarded_headers_of_strangers_are_replaced() {
        let (parts, nature) = prepared(
            "192.0.2.7:1",
            "10.0.0.0/8",
            &[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil"),
                ("x-real-ip", "1.1.1.1"),
                ("forwarded", "for=1.1.1.1"),
                ("x-forwarded-ssl", "on"),
                ("x_forwarded_for", "1.1.1.1"),
                ("x-forwarded_proto", "https"),
                ("x_real-ip", "1.1.1.1"),
                ("x-forward", "kept"),
            ],
        );
        for claim in ["x-forwarded-ssl", "x_forwarded_for", "x-forwarded_proto", "x_real-ip"] {
            assert!(all(&parts, claim).is_empty(), "{claim}");
        }
        assert_eq!(all(&parts, "x-forward"), ["kept"]);
        assert_eq!(all(&parts, "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all(&parts, "x-forwarded-proto"), ["http"]);
        assert_eq!(all(&parts, "x-forwarded-host"), ["a.example"]);
        assert!(all(&parts, "x-real-ip").is_empty());
        assert!(all(&parts, "forwarded").is_empty());
        assert_eq!(nature.client.to_string(), "192.0.2.7");
    }

    #[test]
    fn forwarded_headers_of_trusted_proxies_are_appended_to() {
        let (parts, nature) = prepared(
            "[::ffff:10.0.0.9]:1",
            "10.0.0.0/8",
            &[
                ("x-forwarded-for", "1.1.1.1, 192.0.2.7"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "b.example"),
                ("forwarded", "for=192.0.2.7"),
            ],
        );
        assert_eq!(all(&parts, "x-forwarded-for"), ["1.1.1.1, 192.0.2.7, 10.0.0.1, 10.0.0.9"]);
        assert_eq!(all(&parts, "x-forwarded-proto"), ["https"]);
        assert_eq!(all(&parts, "x-forwarded-host"), ["b.example"]);
        assert_eq!(all(&parts, "forwarded"), ["for=192.0.2.7, for=10.0.0.9"]);
        assert_eq!(nature.client.to_string(), "192.0.2.7");
    }

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_go() {
        let (parts, nature) = prepared(
            "192.0.2.7:1",
            "10.0.0.0/8",
            &[
                ("connection", "close, X-Secret, host"),
                ("connection", "content-length"),
                ("x-secret", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "x"),
                ("te", "gzip, trailers"),
                ("upgrade", "h2c"),
                ("expect", "100-continue"),
                ("content-length", "3"),
                ("x-kept", "1"),
            ],
        );
        for gone in
            ["connection", "x-secret", "keep-alive", "proxy-connection", "upgrade", "expect"]
        {
            assert!(all(&parts, gone).is_empty(), "{gone}");
        }
        assert_eq!(all(&parts, "te"), ["trailers"]);
        assert_eq!(all(&parts, "host"), ["a.example"]);
        assert_eq!(all(&parts, "content-length"), ["3"]);
        assert_eq!(all(&parts, "x-kept"), ["1"]);
        assert!(nature.expects && !nature.upgrade);
    }

    #[test]
    fn an_upgrade_keeps_its_protocol() {
        let headers = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        let (parts, nature) = prepared("192.0.2.7:1", "10.0.0.0/8", &headers);
        assert!(nature.upgrade);
        assert_eq!(all(&parts, "connection"), ["upgrade"]);
        assert_eq!(all(&parts, "upgrade"), ["websocket"]);
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let (_, nature) = prepared("192.0.2.7:1", "10.0.0.0/8", &[("content-type", kind)]);
            assert_eq!(nature.grpc, expected, "{kind}");
        }
    }

    #[test]
    fn targets_fit_the_version_of_the_upstream() {
        let request = Request::get("http://a.example/x?y")
            .version(Version::HTTP_2)
            .header("host", "a.example")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let mut parts = request.body(()).unwrap().into_parts().0;
        aim_http1(&mut parts);
        assert_eq!(parts.uri, "/x?y");
        assert_eq!(parts.version, Version::HTTP_11);
        assert_eq!(all(&parts, "cookie"), ["a=1; b=2"]);
        aim_http2(&mut parts);
        assert_eq!(parts.uri, "http://a.example/x?y");
        assert!(all(&parts, "host").is_empty());
    }

    #[test]
    fn an_answer_loses_what_was_for_us() {
        let mut headers = http::HeaderMap::new();
        headers.insert("connection", "close, x-a".parse().unwrap());
        headers.insert("x-a", "1".parse().unwrap());
        headers.insert("transfer-encoding", "chunked".parse().unwrap());
        headers.insert("trailer", "x-b".parse().unwrap());
        prepare_answer(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
