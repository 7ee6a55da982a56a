//! Clients that ask for events and never read them.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What waits at the client of what it does not read.
const UNREAD_BYTES: u32 = 4 << 10;

/// A reader that has read the status of its answer, and reads no more.
pub struct LazyReader {
    stream: TcpStream,
    /// What it was answered; 0 where that was no number.
    pub status: u16,
}

impl LazyReader {
    /// Asks, and waits for the status.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(at: SocketAddr, host: &str, path: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(UNREAD_BYTES)?;
        let mut stream = socket.connect(at).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = *b"HTTP/1.1 000";
        stream.read_exact(&mut start).await?;
        let status = std::str::from_utf8(&start[9..]).ok().and_then(|text| text.parse().ok());
        Ok(Self { stream, status: status.unwrap_or(0) })
    }

    /// Reads on at last, up to the end.
    pub async fn end(mut self) {
        let mut bytes = [0; 16 << 10];
        while self.stream.read(&mut bytes).await.is_ok_and(|amount| amount > 0) {}
    }
}
