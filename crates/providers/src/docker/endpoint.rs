//! Where an engine is and how to prove oneself to it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::ProviderError;

/// The port of an engine that speaks plain HTTP.
const HTTP_PORT: u16 = 2375;
/// The port of an engine that speaks TLS.
const HTTPS_PORT: u16 = 2376;

/// How an engine is reached.
#[derive(Clone)]
pub enum DockerEndpoint {
    /// A socket of this machine; its path is opened afresh for each connection.
    Unix(PathBuf),
    /// HTTP in the clear.
    Http {
        /// Name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// HTTP over TLS.
    Https {
        /// Name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Whom to trust and who we are.
        tls: TlsOptions,
    },
    /// `docker system dial-stdio` on another machine.
    Ssh(SshTarget),
}

/// Whom to trust and who we are, over TLS.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Certificates to trust beside the system's roots.
    pub ca: Option<Pem>,
    /// Our certificate, with its chain; goes with `key`.
    pub cert: Option<Pem>,
    /// The key of `cert`.
    pub key: Option<Pem>,
    /// The name that the engine's certificate must carry; the host when absent.
    pub server_name: Option<String>,
    /// Takes any certificate. Whoever stands in between can do what we can.
    pub insecure: bool,
}

impl TlsOptions {
    /// What these options mean to a client.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn client_config(&self) -> Result<rustls::ClientConfig, ProviderError> {
        super::client::tls::client_config(self)
    }
}

/// PEM as text, or the file that has it. It may be a key, so it cannot be printed.
#[derive(Clone)]
pub enum Pem {
    /// The text itself.
    Text(String),
    /// The file to read it from.
    File(PathBuf),
}

/// Where `ssh` goes.
#[derive(Clone)]
pub struct SshTarget {
    /// `host` or `user@host`, as `ssh` takes it.
    pub destination: String,
    /// A port other than that of the ssh configuration.
    pub port: Option<u16>,
    /// The program to run; `ssh`, or a wrapper that takes its arguments.
    pub program: PathBuf,
}

/// A text that must not be printed: it has neither `Display` nor `Debug`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl DockerEndpoint {
    /// Reads `unix://PATH`, `http://HOST[:PORT]`, `tcp://HOST[:PORT]`, `https://HOST[:PORT]` or
    /// `ssh://[USER@]HOST[:PORT]`. Ports default to 2375 and 2376; a path alone is a unix socket.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] when it is none of these.
    pub fn parse(text: &str) -> Result<Self, ProviderError> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| misfit(text, "it has no scheme such as unix:// or https://"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(misfit(text, "the path of a socket starts with a slash")),
            "http" | "tcp" => {
                let (host, port) = authority(text, rest)?;
                Ok(Self::Http { host, port: port.unwrap_or(HTTP_PORT) })
            }
            "https" => {
                let (host, port) = authority(text, rest)?;
                let tls = TlsOptions::default();
                Ok(Self::Https { host, port: port.unwrap_or(HTTPS_PORT), tls })
            }
            "ssh" => ssh_target(text, rest).map(Self::Ssh),
            _ => Err(misfit(text, "the scheme is none of unix, http, tcp, https, ssh")),
        }
    }

    /// The same over TLS with these options.
    ///
    /// # Errors
    /// [`ProviderError::Misconfigured`] for an endpoint that TLS has nothing to do with.
    pub fn with_tls(self, tls: TlsOptions) -> Result<Self, ProviderError> {
        match self {
            Self::Http { host, port } | Self::Https { host, port, .. } => {
                Ok(Self::Https { host, port, tls })
            }
            Self::Unix(_) | Self::Ssh(_) => {
                Err(ProviderError::Misconfigured(format!("{self} cannot speak TLS")))
            }
        }
    }
}

impl SshTarget {
    /// The host alone, without user.
    pub(crate) fn host(&self) -> &str {
        self.destination.rsplit_once('@').map_or(&self.destination, |(_, host)| host)
    }
}

impl fmt::Display for DockerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http { host, port } => write!(f, "http://{}:{port}", bracketed(host)),
            Self::Https { host, port, .. } => write!(f, "https://{}:{port}", bracketed(host)),
            Self::Ssh(target) => write!(f, "ssh://{}", target.destination),
        }
    }
}

/// `host` as it stands in a URL or a Host header.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn ssh_target(text: &str, rest: &str) -> Result<SshTarget, ProviderError> {
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (host, port) = authority(text, place)?;
    if user.is_some_and(|user| user.contains(is_odd)) {
        return Err(misfit(text, "the user is not a name"));
    }
    let destination = match user {
        Some(user) => format!("{user}@{host}"),
        None => host,
    };
    // ssh would take it for an option, and an option can run a command.
    if destination.starts_with('-') {
        return Err(misfit(text, "a destination of ssh does not start with a dash"));
    }
    Ok(SshTarget { destination, port, program: "ssh".into() })
}

/// `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`, with nothing but a slash behind it.
fn authority(text: &str, rest: &str) -> Result<(String, Option<u16>), ProviderError> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = if let Some(inside) = rest.strip_prefix('[') {
        let (host, behind) =
            inside.split_once(']').ok_or_else(|| misfit(text, "a bracket is left open"))?;
        let port = behind.strip_prefix(':');
        if port.is_none() && !behind.is_empty() {
            return Err(misfit(text, "only a port may follow the bracket"));
        }
        let address = host.split_once('%').map_or(host, |(address, _zone)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(misfit(text, "brackets are for an IPv6 address"));
        }
        (host, port)
    } else {
        rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() || host.contains(is_odd) {
        return Err(misfit(text, "a host, and nothing but a port behind it, is needed"));
    }
    let port = port.map(str::parse).transpose();
    Ok((host.to_owned(), port.map_err(|_| misfit(text, "the port is not a number up to 65535"))?))
}

/// What neither a host nor a user has.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "/?#@[]".contains(c)
}

fn misfit(text: &str, why: &str) -> ProviderError {
    let shown = without_user(text);
    ProviderError::Misconfigured(format!("{shown:?} is not the address of an engine: {why}"))
}

/// The user's part of an address may have a password in it, and what is wrong ends up in logs.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for address in ["https://user:hidden@host:1", "gopher://hidden@host", "ssh://a:hidden@"] {
            let wrong = DockerEndpoint::parse(address).map(drop).unwrap_err().to_string();
            assert!(wrong.contains("://…@") && !wrong.contains("hidden"), "{wrong}");
        }
    }

    #[test]
    fn every_kind_of_endpoint_is_read() {
        let cases = [
            ("/run/e.sock", "unix:///run/e.sock"),
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("tcp://10.0.0.1", "http://10.0.0.1:2375"),
            ("http://proxy:80/", "http://proxy:80"),
            ("https://docker.lan", "https://docker.lan:2376"),
            ("https://[fd00::1]:99", "https://[fd00::1]:99"),
            ("ssh://me@nas:2222", "ssh://me@nas"),
        ];
        for (text, expected) in cases {
            let endpoint = DockerEndpoint::parse(text).map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_misconfigured() {
        let cases = [
            "",
            "docker.sock",
            "unix://relative",
            "ftp://x",
            "http://",
            "http://h:70000",
            "http://h/prefix",
            "ssh://-oProxyCommand=id",
            "ssh://-oProxyCommand=id@h",
            "ssh://a\nb@h",
            "http://[::1",
            "http://[::1]junk:99",
            "http://[engine]:99",
            "http://[[::1]]:99",
            "https://engine]:99",
        ];
        for text in cases {
            let refused = matches!(
                DockerEndpoint::parse(text).map(|_| ()),
                Err(ProviderError::Misconfigured(_))
            );
            assert!(refused, "{text}");
        }
    }

    #[test]
    fn tls_fits_only_what_speaks_http_over_a_network() {
        let tls = TlsOptions::default;
        let https =
            DockerEndpoint::parse("tcp://h:1").unwrap().with_tls(tls()).map(|e| e.to_string());
        assert_eq!(https.as_deref(), Ok("https://h:1"));
        assert!(DockerEndpoint::parse("/x").unwrap().with_tls(tls()).is_err());
    }
}
