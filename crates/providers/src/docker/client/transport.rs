//! How bytes reach an engine: a socket of this machine, TCP, TLS, or a child `ssh`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{ssh, tls};
use crate::ProviderError;
use crate::docker::endpoint::{DockerEndpoint, SshTarget};

/// How long a silent TCP connection may be dead before the kernel begins to ask.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How long the kernel waits between its questions; three unanswered ones end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// An open stream to an engine.
pub(super) type Stream = Box<dyn Duplex>;

/// What a stream can do.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens streams to one engine.
pub(super) struct Transport {
    endpoint: DockerEndpoint,
    way: Way,
}

enum Way {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, connector: TlsConnector, name: ServerName<'static> },
    Ssh(SshTarget),
}

impl Transport {
    pub(super) fn new(endpoint: &DockerEndpoint) -> Result<Self, ProviderError> {
        let way = match endpoint {
            DockerEndpoint::Unix(path) => Way::Unix(path.clone()),
            DockerEndpoint::Http { host, port } => Way::Tcp { host: host.clone(), port: *port },
            DockerEndpoint::Https { host, port, tls } => Way::Tls {
                name: tls::server_name(tls.server_name.as_deref().unwrap_or(host))?,
                connector: TlsConnector::from(Arc::new(tls::client_config(tls)?)),
                host: host.clone(),
                port: *port,
            },
            DockerEndpoint::Ssh(target) => Way::Ssh(target.clone()),
        };
        Ok(Self { endpoint: endpoint.clone(), way })
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match &self.way {
            Way::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Way::Tcp { host, port } => Ok(Box::new(tcp(host, *port).await?)),
            Way::Tls { host, port, connector, name } => {
                let stream = tcp(host, *port).await?;
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
            Way::Ssh(target) => Ok(Box::new(ssh::dial(target)?)),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    Ok(stream)
}
