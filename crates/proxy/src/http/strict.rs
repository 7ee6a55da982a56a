//! What a request must be before anything is asked about it; hyper leaves these checks to us.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Version};

/// Why a request is refused, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("the framing of the request is ambiguous")]
    Framing,
    #[error("the transfer encoding is not exactly `chunked`")]
    TransferEncoding,
    #[error("there is not exactly one Host header")]
    HostCount,
    #[error("the Host header is not a hostname with an optional port")]
    Host,
    #[error("the Host header and the request's target name different hosts")]
    HostMismatch,
    #[error("the request's target is not a path")]
    Target,
    #[error("this is not a forward proxy")]
    Connect,
}

/// The hostname that a request is for, as the client wrote it, with its port.
///
/// # Errors
/// When the request is not one that may go on.
pub(crate) fn check(parts: &Parts) -> Result<&str, Wrong> {
    check_target(parts)?;
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        check_transfer_encoding(&parts.headers)?;
    }
    let named = host_header(&parts.headers)?;
    let targeted = parts.uri.authority().map(Authority::as_str);
    match (named, targeted) {
        (Some(named), Some(targeted)) if !named.eq_ignore_ascii_case(targeted) => {
            Err(Wrong::HostMismatch)
        }
        (None, None) if parts.version == Version::HTTP_10 => Ok(""),
        (None, Some(_)) if parts.version == Version::HTTP_11 => Err(Wrong::HostCount),
        (None, None) => Err(Wrong::HostCount),
        (_, Some(authority)) | (Some(authority), None) if is_authority(authority) => Ok(authority),
        (_, Some(_)) | (Some(_), None) => Err(Wrong::Host),
    }
}

fn check_target(parts: &Parts) -> Result<(), Wrong> {
    if parts.method == Method::CONNECT {
        return Err(Wrong::Connect);
    }
    let path = parts.uri.path();
    if path.starts_with('/') || (path == "*" && parts.method == Method::OPTIONS) {
        Ok(())
    } else {
        Err(Wrong::Target)
    }
}

fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Wrong> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Wrong::TransferEncoding),
    }
}

fn host_header(headers: &HeaderMap) -> Result<Option<&str>, Wrong> {
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Wrong::Host),
        (Some(_), Some(_)) => Err(Wrong::HostCount),
    }
}

/// `HOSTNAME[:PORT]` or `[IPV6][:PORT]`, and nothing that could be read as anything else.
pub(crate) fn is_authority(text: &str) -> bool {
    let (hostname, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                ("ipv6", rest)
            }
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    !hostname.is_empty()
        && hostname
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && match port.strip_prefix(':') {
            Some(port) => is_port(port) && !port.starts_with('+'),
            None => port.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::{Wrong, check};
    use http::{Request, Version};

    fn parts(target: &str, hosts: &[&str]) -> http::request::Parts {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn one_valid_host_passes() {
        for host in ["a", "a.example:80", "A_b.example.", "[::1]", "[::1]:8080", "10.0.0.1:1", "a:"]
        {
            assert_eq!(check(&parts("/", &[host])), Ok(host));
        }
        assert_eq!(check(&parts("http://a.example/x", &["A.example"])), Ok("a.example"));
    }

    #[test]
    fn every_other_host_is_refused() {
        let bad = [
            "", "a b", "a/b", "user@a", "a:b", "a:80:80", "a,b", "a:+80", "[::1", "[a]", "a?b",
            "a#b", ":80", "a:99999", "[::1]x", "a\\b", "a%2eb",
        ];
        for host in bad {
            assert_eq!(check(&parts("/", &[host])), Err(Wrong::Host), "{host}");
        }
        assert_eq!(check(&parts("/", &[])), Err(Wrong::HostCount));
        assert_eq!(check(&parts("/", &["a", "a"])), Err(Wrong::HostCount));
        assert_eq!(check(&parts("http://a/", &["b"])), Err(Wrong::HostMismatch));
        assert_eq!(check(&parts("http://a/", &[])), Err(Wrong::HostCount));
        assert_eq!(check(&parts("http://u@a/", &["u@a"])), Err(Wrong::Host));
    }

    #[test]
    fn http_1_0_may_go_without_a_host_and_http_2_names_it_in_the_target() {
        let mut old = parts("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(check(&old), Ok(""));
        let mut new = parts("http://a.example/", &[]);
        new.version = Version::HTTP_2;
        assert_eq!(check(&new), Ok("a.example"));
        let mut new = parts("http://a.example/", &["b.example"]);
        new.version = Version::HTTP_2;
        assert_eq!(check(&new), Err(Wrong::HostMismatch));
    }

    #[test]
    fn only_chunked_is_a_transfer_encoding() {
        for (value, passes) in [("chunked", true), ("Chunked", true), ("gzip, chunked", false)] {
            let mut parts = parts("/", &["a"]);
            parts.headers.insert("transfer-encoding", value.parse().unwrap());
            assert_eq!(check(&parts).is_ok(), passes, "{value}");
        }
    }
}
