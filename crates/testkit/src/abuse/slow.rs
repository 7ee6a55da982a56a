//! Clients that send their heads and bodies a byte at a time, or do not read their answers.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// What a client takes of its answer, when it does not read it.
const UNREAD_BYTES: u32 = 4 << 10;

/// How a slow client is slow.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// A head that never ends.
    Head,
    /// A body that never ends.
    Body,
    /// An answer that is not read.
    Reader,
    /// Nothing at all.
    Silent,
}

/// When the bytes of a slow client come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first of them.
    pub delay: Duration,
    /// Between two of them.
    pub every: Duration,
}

impl Manner {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Head, Self::Body, Self::Reader, Self::Silent];

    /// Asks the test application at `host` in this manner, and answers with the connection.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn begin(self, at: SocketAddr, host: &str) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if matches!(self, Self::Reader) {
            socket.set_recv_buffer_size(UNREAD_BYTES)?;
        }
        let mut stream = socket.connect(at).await?;
        let start = match self {
            Self::Head => format!("GET /instance HTTP/1.1\r\nHost: {host}\r\nX: "),
            Self::Body => {
                format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n")
            }
            Self::Reader => format!("GET /download?bytes=400000 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Self::Silent => String::new(),
        };
        stream.write_all(start.as_bytes()).await?;
        Ok(stream)
    }

    /// Whether it does not even say what it wants.
    pub fn owes_a_head(self) -> bool {
        match self {
            Self::Head | Self::Silent => true,
            Self::Body | Self::Reader => false,
        }
    }

    /// Goes on until its connection is ended, where it owes a head, and for ever otherwise.
    pub async fn go_on(self, mut stream: TcpStream, pace: Pace) {
        match self {
            Self::Head => drip(&mut stream, pace).await,
            // Nobody answers who was asked nothing, so that only its end is to be read.
            Self::Silent => drop(stream.read(&mut [0]).await),
            Self::Body => {
                drip(&mut stream, pace).await;
                std::future::pending().await
            }
            Self::Reader => std::future::pending().await,
        }
    }
}

async fn drip(stream: &mut TcpStream, pace: Pace) {
    sleep(pace.delay).await;
    while stream.write_all(b"x").await.is_ok() {
        sleep(pace.every).await;
    }
}
