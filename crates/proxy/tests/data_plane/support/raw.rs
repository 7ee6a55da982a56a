//! A client that says exactly what a test wants it to say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, its chunks put together.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The answer to a request that is not HEAD.
    pub(crate) async fn response(&mut self) -> Received {
        soon(self.response_unhurried()).await
    }

    pub(crate) async fn response_unhurried(&mut self) -> Received {
        let mut received = self.head().await;
        received.body = self.body(&received).await;
        received
    }

    /// The head of an answer, or of a 1xx.
    pub(crate) async fn head(&mut self) -> Received {
        let head = self.read_through(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let mut status_line = lines.next().unwrap().splitn(3, ' ');
        let version = status_line.next().unwrap().to_owned();
        let status = status_line.next().unwrap().parse().unwrap();
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
            let all = headers.entry(name.to_ascii_lowercase()).or_default();
            if !all.is_empty() {
                all.push_str(" | ");
            }
            all.push_str(value);
        }
        Received { status, version, headers, body: Vec::new() }
    }

    /// Everything until the other end closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.read);
        soon(self.stream.read_to_end(&mut rest)).await.ok();
        rest
    }

    pub(crate) async fn line(&mut self) -> String {
        soon(self.line_unhurried()).await
    }

    pub(crate) async fn line_unhurried(&mut self) -> String {
        String::from_utf8(self.read_through(b"\n").await).unwrap()
    }

    /// Whether nothing has arrived and nothing has ended so far.
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [0];
        self.read.is_empty()
            && matches!(self.stream.try_read(&mut byte), Err(error)
                if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn body(&mut self, head: &Received) -> Vec<u8> {
        if matches!(head.status, 100..=199 | 204 | 304) {
            return Vec::new();
        }
        if head.header("transfer-encoding") == "chunked" {
            return self.chunks().await;
        }
        match head.headers.get("content-length") {
            Some(length) => self.read_exact(length.parse().unwrap()).await,
            None => self.rest().await,
        }
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = String::from_utf8(self.read_through(b"\r\n").await).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if size == 0 {
                while self.read_through(b"\r\n").await != b"\r\n" {}
                return body;
            }
            body.extend(self.read_exact(size).await);
            self.read_exact(2).await;
        }
    }

    async fn read_through(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.read.drain(..at + end.len()).collect();
            }
            self.read_more().await;
        }
    }

    async fn read_exact(&mut self, amount: usize) -> Vec<u8> {
        while self.read.len() < amount {
            self.read_more().await;
        }
        self.read.drain(..amount).collect()
    }

    async fn read_more(&mut self) {
        let amount = self.stream.read_buf(&mut self.read).await.unwrap();
        assert!(amount > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
