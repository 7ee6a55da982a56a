//! Clients that send datagrams and expect each of them back.

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::house::free_address;

/// One client: everything that it sends is one flow.
pub(crate) struct Peer {
    socket: UdpSocket,
    /// How many datagrams it has sent.
    sent: usize,
    /// How many have come back.
    returned: usize,
}

/// An address of this machine from which nobody receives datagrams at this moment.
pub(crate) fn free_udp_address() -> SocketAddr {
    loop {
        let address = free_address();
        if StdSocket::bind(address).is_ok() {
            return address;
        }
    }
}

impl Peer {
    pub(crate) async fn of(at: SocketAddr) -> Self {
        let socket = UdpSocket::bind((at.ip(), 0)).await.unwrap();
        socket.connect(at).await.unwrap();
        Self { socket, sent: 0, returned: 0 }
    }

    /// Sends some, numbered from where it was.
    pub(crate) async fn send(&mut self, datagrams: usize) {
        for _ in 0..datagrams {
            self.socket.send(self.sent.to_string().as_bytes()).await.unwrap();
            self.sent += 1;
        }
    }

    /// Waits until everything that was sent has come back, in order.
    pub(crate) async fn expect_all(&mut self, within: Duration) -> Result<(), String> {
        let mut buffer = [0; 64];
        while self.returned < self.sent {
            let expected = self.returned;
            let received = timeout(within, self.socket.recv(&mut buffer)).await;
            let length = received
                .map_err(|_| format!("{expected} of {} never came back", self.sent))?
                .map_err(|error| format!("{expected}: {error}"))?;
            let text = String::from_utf8_lossy(&buffer[..length]);
            if text != expected.to_string() {
                return Err(format!("{text} came back, and {expected} was to"));
            }
            self.returned += 1;
        }
        Ok(())
    }
}
