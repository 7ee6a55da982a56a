//! The socket of an upstream connection, which can be asked whether the upstream has closed it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::workers::{Home, move_here};

/// A socket whose next read can be made to ask the kernel itself. The runtime may not have heard
/// yet that the other end has closed, and a request must not be written to such a connection.
#[derive(Debug)]
pub(crate) struct UpstreamSocket {
    /// Absent once it was lost on its way to another thread.
    stream: Option<TcpStream>,
    home: Home,
    asks: Arc<AtomicBool>,
}

impl UpstreamSocket {
    pub(crate) fn new(stream: TcpStream, asks: Arc<AtomicBool>) -> Self {
        Self { stream: Some(stream), home: Home::here(), asks }
    }

    /// The bare connection, once it is not HTTP any more.
    pub(crate) fn into_stream(self) -> io::Result<TcpStream> {
        self.stream.ok_or_else(lost)
    }

    /// The socket on the event loop of this thread, where another one has used it last.
    fn here(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.home.is_elsewhere() {
            self.stream = self.stream.take().map(move_here).transpose()?;
            self.home = Home::here();
            // Whoever has waited for it to be readable waits at the other thread.
            context.waker().wake_by_ref();
        }
        self.stream.as_mut().map(Pin::new).ok_or_else(lost)
    }
}

/// Whether the other end has closed, as the kernel knows it. One that has said something before it
/// was asked has not: hyper refuses that when it reads it, and others may speak first.
pub(super) fn has_ended(stream: &TcpStream) -> bool {
    let mut byte = [0; 1];
    match rustix::net::recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => true,
        Ok(_) => false,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}

impl AsyncRead for UpstreamSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.asks.load(Ordering::Relaxed) {
            self.asks.store(false, Ordering::Relaxed);
            if self.stream.as_ref().is_none_or(has_ended) {
                return Poll::Ready(Ok(()));
            }
        }
        self.here(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for UpstreamSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here(context)?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here(context)?.poll_shutdown(context)
    }
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
