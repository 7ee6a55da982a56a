//! Where a dormouse is: `http://host:port` or `unix:///path`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of the admin side when nobody says which.
const PORT: u16 = 9900;

/// The address of an admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Over the network.
    Tcp {
        /// A name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// Through the file system.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; say http://127.0.0.1:9900 or unix:///run/dormouse.sock")]
pub struct UrlError(&'static str);

impl Address {
    /// What stands in Host.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(UrlError("the path of a unix socket begins with a slash")),
            };
        }
        if text.starts_with("https://") {
            return Err(UrlError("the admin API does not speak TLS"));
        }
        let authority = text.strip_prefix("http://").ok_or(UrlError("it has no scheme"))?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let legal = |char: char| char.is_ascii_alphanumeric() || "-._:[]".contains(char);
        if authority.is_empty() || !authority.chars().all(legal) {
            return Err(UrlError("it needs a host, and has neither user nor path"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                let port = rest.strip_prefix(':');
                (host, Some(port.ok_or(UrlError("only a port may follow the bracket"))?))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| UrlError("the port is none"))?;
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        if host.is_empty() || (!is_v6 && host.contains(['[', ']', ':'])) {
            return Err(UrlError("it needs a host"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// A name as one segment of a path.
pub fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Address, escape};

    #[test]
    fn addresses_are_read_and_told() {
        for (text, told) in [
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://localhost/", "http://localhost:9900"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("unix:///run/dormouse.sock", "unix:///run/dormouse.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), told);
        }
        let wrong = [
            "",
            "localhost:9900",
            "https://x",
            "http://",
            "http://:1",
            "http://a/b",
            "http://a:x",
            "unix://run/x",
            "http://u@h",
            "http://[::1]junk:1",
            "http://[a]b",
            "http://]",
        ];
        for text in wrong {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(escape("local/a b"), "local%2Fa%20b");
    }
}
