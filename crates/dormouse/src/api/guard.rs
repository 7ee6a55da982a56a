//! Who may use the admin API: a token where one is set, and no page of another site ever.
//!
//! A browser sends what any page asks to any address. Two things keep such a page out: its requests
//! carry its own Origin, and a name of its own that it points here (DNS rebinding) stands in Host.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::door::Door;
use super::trouble::Trouble;
use crate::config::{AdminToken, Listen, Scope};

/// Why an admin address is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the admin address {0} can be reached from elsewhere, and there is no token")]
pub struct StartRefusal(pub String);

impl StartRefusal {
    /// What the reader can do about it.
    pub fn hint(&self) -> &'static str {
        "listen on 127.0.0.1 or a unix socket, or set gateway.admin_tokens"
    }
}

/// Whether an address may be served at all: what others can reach needs a token.
///
/// # Errors
/// When it may not.
pub fn admit(listen: &Listen, tokens: &[AdminToken]) -> Result<(), StartRefusal> {
    if listen.is_local() || !tokens.is_empty() {
        return Ok(());
    }
    Err(StartRefusal(listen.to_string()))
}

/// Lets a request through, or answers it.
pub(super) async fn check(
    State(app): State<App>,
    Extension(door): Extension<Door>,
    request: Request,
    next: Next,
) -> Result<Response, Trouble> {
    check_host(door, &request)?;
    check_site(request.method(), request.headers())?;
    check_token(&app.tokens, door, &request)?;
    Ok(next.run(request).await)
}

/// On loopback the Host has to be a name or an address of this machine's own: a page that reached
/// us by rebinding its own name says that name. Elsewhere nobody gets far without a token, which
/// such a page does not have.
fn check_host(door: Door, request: &Request) -> Result<(), Trouble> {
    let Door::Tcp(local) = door else { return Ok(()) };
    let host = host_of(request)?;
    if !local.ip().to_canonical().is_loopback() || is_ours(&host, local) {
        return Ok(());
    }
    Err(Trouble::ForeignHost(host))
}

fn host_of(request: &Request) -> Result<String, Trouble> {
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str().to_owned());
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    };
    let host = host.map(str::to_owned);
    host.ok_or_else(|| Trouble::BadRequest("the request needs exactly one Host".to_owned()))
}

pub(crate) fn is_ours(host: &str, local: SocketAddr) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        return ip.is_loopback() || ip == local.ip().to_canonical();
    }
    let name = name.strip_suffix('.').unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost")
}

/// The brackets of an IPv6 address stay.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        Some(_) | None => host,
    }
}

/// A page of another site may lead a person here, and nothing else.
fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Trouble> {
    let says = |name: &str, value: &str| {
        headers.get(name).is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    let looks = matches!(*method, Method::GET | Method::HEAD);
    if says("sec-fetch-site", "cross-site") && !(looks && says("sec-fetch-mode", "navigate")) {
        return Err(Trouble::ForeignOrigin);
    }
    match headers.get(ORIGIN) {
        Some(origin) if !looks && !is_same_origin(origin.as_bytes(), headers) => {
            Err(Trouble::ForeignOrigin)
        }
        Some(_) | None => Ok(()),
    }
}

fn is_same_origin(origin: &[u8], headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).map(|host| host.as_bytes()) else { return false };
    let authority = [&b"http://"[..], &b"https://"[..]]
        .into_iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Where tokens are set, every TCP connection needs one; only a liveness check on this machine
/// does not.
fn check_token(tokens: &[AdminToken], door: Door, request: &Request) -> Result<(), Trouble> {
    let local = match door {
        Door::Unix => return Ok(()),
        Door::Tcp(local) => local,
    };
    let is_liveness = request.uri().path() == "/health";
    if tokens.is_empty() || (is_liveness && local.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    let sent = request.headers().get(AUTHORIZATION).ok_or(Trouble::TokenMissing)?;
    let sent = bearer(sent.as_bytes()).ok_or(Trouble::TokenMissing)?;
    // Every token is compared, so that the time taken does not tell which one was nearly right.
    let matches = |token: &&AdminToken| is_equal(token.token.reveal().as_bytes(), sent);
    let scope = tokens.iter().filter(matches).map(|token| token.scope).max();
    match scope {
        None => Err(Trouble::TokenUnknown),
        Some(scope) if scope < needed(request.method(), request.uri().path()) => {
            Err(Trouble::ScopeTooSmall)
        }
        Some(_) => Ok(()),
    }
}

fn needed(method: &Method, path: &str) -> Scope {
    match *method {
        Method::GET | Method::HEAD => Scope::Read,
        _ if path.starts_with("/api/v1/workloads/") => Scope::Operate,
        _ => Scope::Admin,
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares without ending at the first difference. That the lengths differ may be seen.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::{HeaderMap, Method};

    use super::{admit, check_site, is_equal, is_ours};
    use crate::config::{AdminToken, Listen, Scope, Secret};

    fn local() -> SocketAddr {
        "127.0.0.1:9900".parse().unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (
                axum::http::HeaderName::try_from(*name).unwrap(),
                axum::http::HeaderValue::try_from(*value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_token() {
        let token = AdminToken { token: Secret::new("t"), scope: Scope::Admin };
        let open = ["0.0.0.0:9900", "192.0.2.1:9900", "[::]:9900"];
        for address in open.map(|text| Listen::At(text.parse().unwrap())) {
            assert!(admit(&address, &[]).is_err(), "{address}");
            assert!(admit(&address, std::slice::from_ref(&token)).is_ok());
        }
        assert!(admit(&Listen::Everywhere(9900), &[]).is_err());
        assert!(admit(&Listen::At(local()), &[]).is_ok());
        assert!(admit(&Listen::At("[::1]:9900".parse().unwrap()), &[]).is_ok());
        assert!(admit(&Listen::Unix("/run/dormouse.sock".into()), &[]).is_ok());
    }

    #[test]
    fn only_names_of_this_machine_are_hosts_on_loopback() {
        let ours = [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:9900",
            "a.localhost:1",
        ];
        for host in ours {
            assert!(is_ours(host, local()), "{host}");
        }
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1:9900",
            "[2001:db8::1]",
            "",
            ":80",
            "127.0.0.1.evil.example",
            "[::1]evil.example",
            "[[::1]]",
        ];
        for host in foreign {
            assert!(!is_ours(host, local()), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_only_navigate() {
        let post = Method::POST;
        let get = Method::GET;
        let own = [("host", "localhost:9900"), ("origin", "http://localhost:9900")];
        assert!(check_site(&post, &headers(&own)).is_ok());
        assert!(check_site(&post, &headers(&[("host", "localhost:9900")])).is_ok());
        for origin in ["http://evil.example", "null", "http://localhost:3000", "localhost:9900"] {
            let foreign = [("host", "localhost:9900"), ("origin", origin)];
            assert!(check_site(&post, &headers(&foreign)).is_err(), "{origin}");
            assert!(check_site(&Method::DELETE, &headers(&foreign)).is_err(), "{origin}");
        }
        let image = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(check_site(&get, &headers(&image)).is_err());
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(check_site(&get, &headers(&link)).is_ok());
        assert!(check_site(&post, &headers(&link)).is_err());
    }

    #[test]
    fn tokens_are_equal_only_as_a_whole() {
        assert!(is_equal(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secretx", b"Secret", b""] {
            assert!(!is_equal(b"secret", other));
        }
    }
}
