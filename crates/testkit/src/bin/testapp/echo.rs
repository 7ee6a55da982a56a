//! Sends every datagram back to where it came from.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Listens on all addresses, for as long as the answer lives.
pub(crate) fn begin(port: u16) -> io::Result<JoinSet<()>> {
    let socket = std::net::UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // A client that has gone is no reason not to answer the next one.
            if let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], client).await;
            }
        }
    });
    Ok(task)
}
