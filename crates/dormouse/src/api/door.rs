//! The sockets of the admin side: TCP or a unix socket, and what is known of each connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::config::Listen;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// What the system keeps of an answer for a client that reads slowly, or not at all.
const SEND_BUFFER_BYTES: u32 = 64 << 10;

/// A bound socket of the admin side.
#[derive(Debug)]
pub enum AdminListener {
    /// Reached over the network.
    Tcp(TcpListener),
    /// Reached through the file system. The socket is removed with this value.
    Unix(UnixSocket),
}

/// A bound unix socket and its path.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Which way a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// To this address of ours.
    Tcp(SocketAddr),
    /// Through the file system, whose permissions have decided.
    Unix,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AdminListener {
    /// Binds an address. A unix socket belongs to its owner alone; one that a process left behind
    /// is replaced, one that answers is not.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Everywhere(port) => {
                let both = bind_tcp((Ipv6Addr::UNSPECIFIED, *port).into());
                // A machine without IPv6 has no such address at all.
                let v4 = || bind_tcp((Ipv4Addr::UNSPECIFIED, *port).into());
                both.or_else(|_| v4()).map(Self::Tcp)
            }
            Listen::At(address) => bind_tcp(*address).map(Self::Tcp),
            Listen::Unix(path) => bind_unix(path).await.map(Self::Unix),
        }
    }

    /// Where it listens: an address with its real port, or a path.
    ///
    /// # Errors
    /// When the socket does not say.
    pub fn listen(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::At),
            Self::Unix(socket) => Ok(Listen::Unix(socket.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Door)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // A small answer is not held back for the next one.
                let _ = stream.set_nodelay(true);
                let door = Door::Tcp(stream.local_addr()?);
                Ok((Stream::Tcp(stream), door))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok((Stream::Unix(stream), Door::Unix))
            }
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn bind_unix(path: &Path) -> io::Result<UnixSocket> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await?;
    }
    if let Ok(UnixProbe::LeftBehind) = probe(path).await {
        tokio::fs::remove_file(path).await?;
    }
    let socket = UnixSocket { listener: bind_private(path)?, path: path.to_owned() };
    // For systems that pay no heed to the mode of a socket that is not bound yet.
    tokio::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).await?;
    Ok(socket)
}

/// Binds a socket that is its owner's alone from the first moment: a mode that is set afterwards
/// comes after whoever was quick.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = tokio::net::UnixSocket::new_stream()?;
    // Where it cannot be done before, it is done after.
    let _ = rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

enum UnixProbe {
    LeftBehind,
    Taken,
}

/// Only a socket that nobody listens on is one that was left behind.
async fn probe(path: &Path) -> io::Result<UnixProbe> {
    use std::os::unix::fs::FileTypeExt as _;
    if !tokio::fs::symlink_metadata(path).await?.file_type().is_socket() {
        return Ok(UnixProbe::Taken);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(UnixProbe::LeftBehind),
        Ok(_) | Err(_) => Ok(UnixProbe::Taken),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::bind_private;

    #[tokio::test]
    async fn a_unix_socket_is_its_owners_alone_from_the_first_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dormouse.sock");
        let _listener = bind_private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o177, 0, "{mode:o}");
    }
}
