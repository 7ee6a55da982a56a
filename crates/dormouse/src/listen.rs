//! Binds the sockets of visitors.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use dormouse_proxy::UdpListener;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::Listen;

/// Connections that the system keeps until they are accepted: a herd comes all at once.
const BACKLOG: u32 = 4096;

/// Binds one address for connections.
///
/// # Errors
/// When it is taken or not ours, or a unix socket, on which visitors are not served.
pub(crate) fn bind_tcp(listen: &Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::Everywhere(port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            // A machine without IPv6 has no such address at all.
            let v4 = SocketAddr::from(([0, 0, 0, 0], *port));
            bind_to(both).or_else(|_| bind_to(v4))
        }
        Listen::At(address) => bind_to(*address),
        Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Binds one address for datagrams.
///
/// # Errors
/// When it is taken or not ours, or a unix socket, on which datagrams are not served.
pub(crate) fn bind_udp(listen: &Listen) -> io::Result<UdpListener> {
    match listen {
        Listen::Everywhere(port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            let v4 = SocketAddr::from(([0, 0, 0, 0], *port));
            UdpListener::bind(both).or_else(|_| UdpListener::bind(v4))
        }
        Listen::At(address) => UdpListener::bind(*address),
        Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
