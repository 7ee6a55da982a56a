//! The buffers of a worker thread, which all its connections share: whoever waits keeps none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::body::{ROOM_BEFORE, ROOM_BEHIND};

/// What is read at once.
const BLOCK_BYTES: usize = 64 << 10;
/// What is read at once of a request. Where it turns out to go the full way, this much is kept.
const REQUEST_BYTES: usize = 8 << 10;
/// What is kept of a larger buffer for what is written.
const OUT_BYTES_KEPT: usize = 128 << 10;

/// Buffers that nobody may rely on after having waited.
pub(super) struct Scratch {
    block: Box<[u8]>,
    /// Where heads are written.
    pub(super) out: Vec<u8>,
}

impl Scratch {
    /// Reads from a client: how many bytes there are in [`Scratch::read`].
    pub(super) fn poll_read_request(
        &mut self,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_up_to(REQUEST_BYTES, stream, context)
    }

    /// Reads from an upstream: how many bytes there are in [`Scratch::read`].
    pub(super) fn poll_read(
        &mut self,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_up_to(BLOCK_BYTES, stream, context)
    }

    fn poll_read_up_to(
        &mut self,
        bytes_max: usize,
        stream: &mut TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.block[ROOM_BEFORE..][..bytes_max]);
        ready!(Pin::new(stream).poll_read(context, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// What has been read, and the buffer for what is to be written.
    pub(super) fn read(&mut self, amount: usize) -> (&[u8], &mut Vec<u8>) {
        self.out.clear();
        (&self.block[ROOM_BEFORE..][..amount], &mut self.out)
    }

    /// The whole buffer, and where in it something that was read stands.
    pub(super) fn block(&mut self, amount: usize) -> (&mut [u8], (usize, usize)) {
        (&mut self.block, (ROOM_BEFORE, ROOM_BEFORE + amount))
    }
}

/// Works with the buffers of this thread.
pub(super) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
            block: vec![0; ROOM_BEFORE + BLOCK_BYTES + ROOM_BEHIND].into(),
            out: Vec::new(),
        });
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let done = work(scratch);
        scratch.out.clear();
        scratch.out.shrink_to(OUT_BYTES_KEPT);
        done
    })
}
