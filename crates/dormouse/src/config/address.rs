//! The readers of addresses: what to listen on, where an engine is, which networks are trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::report::{Flaw, quote};
use super::tree::Node;
use super::values;

/// An address to bind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A port of every address of this machine, whichever families it has.
    Everywhere(u16),
    /// One address.
    At(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where a Docker-compatible engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// Cleartext HTTP.
    Http(Authority),
    /// HTTP over TLS.
    Https(Authority),
    /// `docker system dial-stdio` over ssh.
    Ssh {
        /// The login name; ssh's own default when absent.
        user: Option<String>,
        /// A name or an address, as ssh takes it.
        host: String,
        /// The port; ssh's own default when absent.
        port: Option<u16>,
    },
}

/// The host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Listen {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Everywhere(_) => false,
            Self::At(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::At(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
            Self::Ssh { user, host, port } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// `:8080` or `127.0.0.1:9900`.
pub(crate) fn listen(node: &Node) -> Result<Listen, Flaw> {
    let text = values::filled(node)?;
    let not_one = || {
        let flaw = Flaw::new(format!("is not an address: {}", quote(&text)));
        flaw.hint("say \":8080\" for every address, or one such as \"127.0.0.1:8080\"")
    };
    match text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        Some(port) => parse_port(port).map(Listen::Everywhere).ok_or_else(not_one),
        None => text.parse().map(Listen::At).map_err(|_| not_one()),
    }
}

/// What [`listen`] takes, or the path of a unix socket.
pub(crate) fn listen_or_unix(node: &Node) -> Result<Listen, Flaw> {
    let text = values::filled(node)?;
    let path = text.strip_prefix("unix://").unwrap_or(&text);
    if path.starts_with('/') {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    listen(node).map_err(|flaw| {
        flaw.hint(
            "say \"127.0.0.1:9900\", or the path of a unix socket, such as \"/run/dormouse.sock\"",
        )
    })
}

/// `10.0.0.0/8`, or one address.
pub(crate) fn network(node: &Node) -> Result<IpNet, Flaw> {
    let text = values::filled(node)?;
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| address())
        .map_err(|_| {
            Flaw::new(format!("is not a network: {}", quote(&text)))
                .hint("say \"10.0.0.0/8\", \"fd00::/8\" or one address")
        })
}

/// `unix:///var/run/docker.sock`, `http://host:2375`, `https://host:2376`, `ssh://user@host`.
pub(crate) fn docker(node: &Node) -> Result<DockerAddress, Flaw> {
    let text = values::filled(node)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        if text.starts_with('/') {
            return Ok(DockerAddress::Unix(PathBuf::from(text)));
        }
        return Err(not_docker(&text));
    };
    match scheme {
        "unix" if Path::new(rest).is_absolute() => Ok(DockerAddress::Unix(PathBuf::from(rest))),
        "unix" => Err(Flaw::new("needs the absolute path of a socket")
            .hint("say \"unix:///var/run/docker.sock\", with three slashes")),
        "http" | "tcp" => authority(&text, rest).map(DockerAddress::Http),
        "https" => authority(&text, rest).map(DockerAddress::Https),
        "ssh" => ssh(&text, rest),
        _ => Err(not_docker(&text)),
    }
}

fn authority(text: &str, rest: &str) -> Result<Authority, Flaw> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err(Flaw::new(format!(
            "must be only a host and a port: {}",
            quote(text)
        )));
    }
    let (host, port) = split_port(rest);
    if !is_host(host) {
        return Err(Flaw::new(format!("has no legal host: {}", quote(text))));
    }
    let port = port
        .and_then(parse_port)
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            Flaw::new(format!("has no port: {}", quote(text)))
                .hint("add it; engines usually listen on 2375, and on 2376 with TLS")
        })?;
    Ok(Authority {
        host: host.to_owned(),
        port,
    })
}

fn ssh(text: &str, rest: &str) -> Result<DockerAddress, Flaw> {
    let not_one = || {
        let flaw = Flaw::new(format!("is not an ssh address: {}", quote(text)));
        flaw.hint("say \"ssh://host\" or \"ssh://user@host:22\"")
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, rest) = rest
        .split_once('@')
        .map_or((None, rest), |(user, rest)| (Some(user), rest));
    let (host, port) = split_port(rest);
    let port = port
        .map(|port| parse_port(port).ok_or_else(not_one))
        .transpose()?;
    // A host or user that begins with a hyphen would be an option to ssh.
    let legal_user = user.is_none_or(|user| is_host(user) && !user.starts_with('-'));
    if !is_host(host) || host.starts_with('-') || !legal_user {
        return Err(not_one());
    }
    Ok(DockerAddress::Ssh {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    })
}

fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    text.split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn is_host(text: &str) -> bool {
    let legal = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | ':');
    !text.is_empty() && text.len() <= 255 && text.chars().all(legal)
}

fn not_docker(text: &str) -> Flaw {
    Flaw::new(format!("is not the address of an engine: {}", quote(text))).hint(
        "say \"unix:///var/run/docker.sock\", \"http://host:2375\", \"https://host:2376\" or \
         \"ssh://user@host\"",
    )
}
