//! The address of a container that has stopped: nobody is there, not even to refuse. Whoever
//! connects waits until it gives up, or until somebody else has the address.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;

/// How long filling may take where somebody else was quicker.
const FILL_MAX: Duration = Duration::from_millis(10);

/// A listener that takes nobody, for its queue is full: the kernel drops who comes without a word.
pub(super) struct Void {
    _listener: TcpListener,
    /// Who fills the queue, unless somebody else does.
    _guest: Option<TcpStream>,
}

impl Void {
    pub(super) fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of the container that was here linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(0)?.into_std()?;
        let guest = TcpStream::connect_timeout(&address, FILL_MAX).ok();
        Ok(Self { _listener: listener, _guest: guest })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn whoever_connects_to_a_void_waits_for_the_next_at_its_address() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let void = Void::at(address).unwrap();
        let mut waits = tokio::spawn(tokio::net::TcpStream::connect(address));
        assert!(timeout(Duration::from_millis(300), &mut waits).await.is_err(), "it was answered");
        drop(void);
        let heir = tokio::net::TcpListener::bind(address).await.unwrap();
        let connected = timeout(Duration::from_secs(20), heir.accept()).await;
        assert!(connected.is_ok_and(|accepted| accepted.is_ok()));
        assert!(waits.await.unwrap().is_ok());
    }
}
