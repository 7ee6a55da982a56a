//! What a probe may be pointed at, as people write it: `http://host/path`, `tcp://host:port`,
//! `unix:///path`, `dns://name`, `grpc://host:port`, or a command.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

/// Where a DNS server listens.
const DNS_PORT: u16 = 53;
/// Bytes of the longest name that DNS knows.
const DNS_NAME_MAX: usize = 253;

/// Something that can be reached or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A page.
    Http(HttpTarget),
    /// A port that accepts.
    Tcp(Peer),
    /// A socket of this machine that accepts.
    Unix(PathBuf),
    /// A name that is known.
    Dns(DnsTarget),
    /// A service that says `SERVING`.
    Grpc(GrpcTarget),
    /// A program that ends well: itself and its arguments.
    Command(Vec<String>),
}

/// A host and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// In the clear.
    Plain,
    /// TLS.
    Tls,
}

/// A page of a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where the server is.
    pub peer: Peer,
    /// How to speak to it.
    pub wire: Wire,
    /// Host and port as they were written, for the Host header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// A name, and who is asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTarget {
    /// The name.
    pub name: String,
    /// The server; whom this machine asks when absent.
    pub server: Option<Peer>,
    /// What is asked about the name.
    pub record: Record,
}

/// A kind of DNS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// A gRPC server and one of its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcTarget {
    /// Where the server is.
    pub peer: Peer,
    /// How to speak to it.
    pub wire: Wire,
    /// The service; the server as a whole when empty.
    pub service: String,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("is not a URL")]
    NotUrl,
    /// It begins with something that no probe speaks.
    #[error("begins with {0}://, which no probe speaks")]
    Scheme(String),
    /// It names no host.
    #[error("names no host")]
    NoHost,
    /// It names no port.
    #[error("names no port")]
    NoPort,
    /// It carries a name or a password, which every listing would show.
    #[error("carries a user, which every listing would show")]
    Credentials,
    /// It has a path where none has a meaning.
    #[error("has more than a host and a port")]
    Surplus,
    /// It is not the path of a socket.
    #[error("does not name a socket by its whole path")]
    NotPath,
    /// It is no name that DNS knows.
    #[error("is not a name that DNS can know")]
    NotDnsName,
    /// It asks for a record that no probe asks for.
    #[error("asks for a record other than A and AAAA")]
    Record,
}

impl Target {
    /// The kind's word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(HttpTarget { wire: Wire::Plain, .. }) => "http",
            Self::Http(HttpTarget { wire: Wire::Tls, .. }) => "https",
            Self::Tcp(_) => "tcp",
            Self::Unix(_) => "unix",
            Self::Dns(_) => "dns",
            Self::Grpc(GrpcTarget { wire: Wire::Plain, .. }) => "grpc",
            Self::Grpc(GrpcTarget { wire: Wire::Tls, .. }) => "grpcs",
            Self::Command(_) => "command",
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = text.split_once("://").ok_or(TargetError::NotUrl)?;
        match scheme {
            "http" => http_target(text, Wire::Plain).map(Self::Http),
            "https" => http_target(text, Wire::Tls).map(Self::Http),
            "tcp" => tcp(text).map(Self::Tcp),
            "unix" => unix(rest).map(Self::Unix),
            "dns" => dns(rest).map(Self::Dns),
            "grpc" => grpc(text, Wire::Plain).map(Self::Grpc),
            "grpcs" => grpc(text, Wire::Tls).map(Self::Grpc),
            other => Err(TargetError::Scheme(other.to_owned())),
        }
    }
}

fn http_target(text: &str, wire: Wire) -> Result<HttpTarget, TargetError> {
    let (uri, host, port) = uri(text)?;
    let port = port.unwrap_or(match wire {
        Wire::Plain => 80,
        Wire::Tls => 443,
    });
    let authority = uri.authority().map(ToString::to_string).ok_or(TargetError::NoHost)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `http://host?query` has no path, and a request line needs one.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(HttpTarget { peer: Peer { host, port }, wire, authority, path })
}

fn tcp(text: &str) -> Result<Peer, TargetError> {
    let (uri, host, port) = uri(text)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(TargetError::Surplus);
    }
    Ok(Peer { host, port: port.ok_or(TargetError::NoPort)? })
}

fn grpc(text: &str, wire: Wire) -> Result<GrpcTarget, TargetError> {
    let (uri, host, port) = uri(text)?;
    let port = port.ok_or(TargetError::NoPort)?;
    let service = uri.path().trim_start_matches('/');
    if service.contains('/') || uri.query().is_some() {
        return Err(TargetError::Surplus);
    }
    Ok(GrpcTarget { peer: Peer { host, port }, wire, service: service.to_owned() })
}

/// A URL with the host and the port that it names.
fn uri(text: &str) -> Result<(Uri, String, Option<u16>), TargetError> {
    let uri: Uri = text.parse().map_err(|_| TargetError::NotUrl)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(TargetError::Credentials);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => bracketed(rest)?,
        None => authority.split_once(':').map_or((authority, None), |(h, port)| (h, Some(port))),
    };
    if host.is_empty() {
        return Err(TargetError::NoHost);
    }
    let read = |port: &str| port.parse().ok().filter(|port| *port != 0).ok_or(TargetError::NoPort);
    let (host, port) = (host.to_owned(), port.map(read).transpose()?);
    Ok((uri, host, port))
}

/// The address before the bracket, and the port, which is all that may stand behind it.
fn bracketed(rest: &str) -> Result<(&str, Option<&str>), TargetError> {
    let (address, behind) = rest.split_once(']').ok_or(TargetError::NotUrl)?;
    let port = behind.strip_prefix(':');
    match address.parse::<Ipv6Addr>().is_ok() && (port.is_some() || behind.is_empty()) {
        true => Ok((address, port)),
        false => Err(TargetError::NotUrl),
    }
}

fn unix(path: &str) -> Result<PathBuf, TargetError> {
    match path.starts_with('/') && path.len() > 1 {
        true => Ok(PathBuf::from(path)),
        false => Err(TargetError::NotPath),
    }
}

/// `NAME`, or `SERVER[:PORT]/NAME`; with `?type=AAAA` behind it.
fn dns(rest: &str) -> Result<DnsTarget, TargetError> {
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, query)| (r, Some(query)));
    let record = match query.map(str::to_ascii_lowercase).as_deref() {
        None | Some("type=a") => Record::A,
        Some("type=aaaa") => Record::Aaaa,
        Some(_) => return Err(TargetError::Record),
    };
    let (server, name) = match rest.split_once('/') {
        None | Some(("", _)) => (None, rest.trim_start_matches('/')),
        Some((server, name)) => (Some(dns_server(server)?), name),
    };
    let label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(legal)
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.len() > DNS_NAME_MAX || !bare.split('.').all(label) {
        return Err(TargetError::NotDnsName);
    }
    Ok(DnsTarget { name: name.to_owned(), server, record })
}

fn dns_server(server: &str) -> Result<Peer, TargetError> {
    let (_, host, port) = uri(&format!("dns://{server}"))?;
    Ok(Peer { host, port: port.unwrap_or(DNS_PORT) })
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Http(page) => write!(f, "{kind}://{}{}", page.authority, page.path),
            Self::Tcp(peer) => write!(f, "{kind}://{peer}"),
            Self::Unix(path) => write!(f, "{kind}://{}", path.display()),
            Self::Dns(DnsTarget { name, server, record }) => {
                write!(f, "{kind}://")?;
                if let Some(server) = server {
                    write!(f, "{server}/")?;
                }
                match record {
                    Record::A => f.write_str(name),
                    Record::Aaaa => write!(f, "{name}?type=AAAA"),
                }
            }
            Self::Grpc(GrpcTarget { peer, service, .. }) if service.is_empty() => {
                write!(f, "{kind}://{peer}")
            }
            Self::Grpc(GrpcTarget { peer, service, .. }) => write!(f, "{kind}://{peer}/{service}"),
            // Arguments may be secret.
            Self::Command(words) => f.write_str(words.first().map_or("", String::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown_again() {
        for (text, shown) in [
            ("http://ha.lan:8123/api", "http://ha.lan:8123/api"),
            ("http://ha.lan", "http://ha.lan/"),
            ("http://ha.lan?a=b", "http://ha.lan/?a=b"),
            ("https://[::1]:8443/x?y", "https://[::1]:8443/x?y"),
            ("tcp://db:5432", "tcp://db:5432"),
            ("tcp://[fe80::1]:22/", "tcp://[fe80::1]:22"),
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("dns://example.com", "dns://example.com"),
            ("dns:///example.com.?type=A", "dns://example.com."),
            ("dns://10.0.0.1/a.lan?type=AAAA", "dns://10.0.0.1:53/a.lan?type=AAAA"),
            ("dns://[::1]:5353/a", "dns://[::1]:5353/a"),
            ("grpc://svc:50051", "grpc://svc:50051"),
            ("grpcs://svc:443/pkg.Service", "grpcs://svc:443/pkg.Service"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_target_says_why() {
        for (text, error) in [
            ("ha.lan:8123", TargetError::NotUrl),
            ("http://", TargetError::NotUrl),
            ("http://a b", TargetError::NotUrl),
            ("tcp://[::1]junk:1", TargetError::NotUrl),
            ("tcp://[nonsense]:1", TargetError::NotUrl),
            ("dns://[::1]junk/a", TargetError::NotUrl),
            ("ftp://x", TargetError::Scheme("ftp".into())),
            ("http://me:secret@x/", TargetError::Credentials),
            ("http://:80/", TargetError::NoHost),
            ("http://x:0/", TargetError::NoPort),
            ("http://x:99999/", TargetError::NoPort),
            ("tcp://db", TargetError::NoPort),
            ("tcp://db:1/x", TargetError::Surplus),
            ("unix://run/x", TargetError::NotPath),
            ("unix:///", TargetError::NotPath),
            ("dns://", TargetError::NotDnsName),
            ("dns://a..b", TargetError::NotDnsName),
            ("dns://1.1.1.1/a b", TargetError::NotDnsName),
            ("dns://a?type=MX", TargetError::Record),
            ("grpc://svc", TargetError::NoPort),
            ("grpc://svc:1/a/b", TargetError::Surplus),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_command_shows_its_program_and_not_its_arguments() {
        let command = Target::Command(vec!["check".into(), "--password=canary".into()]);
        assert_eq!(command.to_string(), "check");
    }
}
