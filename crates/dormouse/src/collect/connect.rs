//! Where a parent's description of an environment meets the providers.

use std::sync::Arc;

use dormouse_core::limits;
use dormouse_providers::docker::{
    Backend, DockerConfig, DockerEndpoint, DockerMeter, MeterOptions, Pem, Scope, Secret,
    TlsOptions,
};
use dormouse_providers::{Meter, ProviderError};
use dormouse_wire::{Configure, Connection, Hidden};

/// Where an engine of this machine listens when nobody says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// Why an environment cannot be used as it is described.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("unsupported connection type: {0}")]
    Unsupported(String),
    #[error("host is missing")]
    NoHost,
    #[error("port {0} is not one from 1 to 65535")]
    Port(i64),
    #[error("there are {max} environments already", max = limits::COLLECT_ENVIRONMENTS_MAX)]
    TooMany,
    #[error(transparent)]
    Unusable(#[from] ProviderError),
}

/// The meter of an environment. Nothing is connected yet.
pub(super) fn meter(
    configure: &Configure,
    connection: &Connection,
) -> Result<Arc<dyn Meter>, ConnectError> {
    let config = DockerConfig {
        endpoint: endpoint(connection)?,
        token: configure.hawser_token.as_ref().map(|token| Secret::new(token.expose())),
        network: None,
    };
    let options = MeterOptions { scope: Scope::CpuAndMemory, backend: Backend::Auto };
    Ok(DockerMeter::new(config, options)?)
}

fn endpoint(connection: &Connection) -> Result<DockerEndpoint, ConnectError> {
    match connection.kind.as_str() {
        "socket" => {
            let path = connection.socket_path.as_deref().unwrap_or(SOCKET);
            Ok(DockerEndpoint::Unix(path.into()))
        }
        "http" => Ok(DockerEndpoint::Http { host: host(connection)?, port: port(connection)? }),
        "https" => {
            let tls = TlsOptions {
                ca: connection.ca.as_ref().map(pem),
                cert: connection.cert.as_ref().map(pem),
                key: connection.key.as_ref().map(pem),
                server_name: None,
                insecure: connection.skip_verify,
            };
            Ok(DockerEndpoint::Https { host: host(connection)?, port: port(connection)?, tls })
        }
        other => Err(ConnectError::Unsupported(other.to_owned())),
    }
}

/// Without the brackets that an address of six parts has in a URL.
fn host(connection: &Connection) -> Result<String, ConnectError> {
    let host = connection.host.as_deref().ok_or(ConnectError::NoHost)?;
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Ok(inside.unwrap_or(host).to_owned())
}

fn port(connection: &Connection) -> Result<u16, ConnectError> {
    let port = u16::try_from(connection.port).ok().filter(|port| *port > 0);
    port.ok_or(ConnectError::Port(connection.port))
}

fn pem(text: &Hidden) -> Pem {
    Pem::Text(text.expose().to_owned())
}
