//! The pipes through which many bytes go from socket to socket without being copied.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

use crate::settings::{PIPE_BYTES, PIPES_MAX, PIPES_SPARE_MAX};

/// Pipes for whoever passes many bytes on; bounded, for a reader that has stopped to read keeps a
/// full one.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Mutex<Store>);

#[derive(Debug, Default)]
struct Store {
    spare: Vec<Fds>,
    lent: usize,
    /// The system gives none, or none that is large enough to be worth it.
    refused: bool,
}

#[derive(Debug)]
struct Fds {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe that is lent; goes back when it is dropped empty, and is closed otherwise.
pub(super) struct Pipe<'a> {
    owner: &'a Pipes,
    fds: Option<Fds>,
    pub(super) filled: usize,
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Pipes {
    /// An empty pipe, where there is one.
    pub(super) fn lend(&self) -> Option<Pipe<'_>> {
        let fds = {
            let mut store = self.lock();
            if store.refused || store.lent >= PIPES_MAX {
                return None;
            }
            store.lent += 1;
            store.spare.pop()
        };
        let mut pipe = Pipe { owner: self, fds, filled: 0 };
        if pipe.fds.is_none() {
            match Fds::open() {
                Ok(fds) => pipe.fds = Some(fds),
                Err(error) => {
                    tracing::debug!(%error, "Copy what is passed on: there are no large pipes");
                    // Others may give theirs back; for want of descriptors it is tried again.
                    self.lock().refused |= error == rustix::io::Errno::PERM;
                    return None;
                }
            }
        }
        Some(pipe)
    }

    /// From now on nobody gets one: these sockets cannot be spliced.
    pub(super) fn refuse(&self) {
        self.lock().refused = true;
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fds {
    fn open() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&write, PIPE_BYTES)?;
        Ok(Self { read, write })
    }
}

impl Pipe<'_> {
    /// Fills it with what `from` has; nothing means that `from` has ended.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let Some(fds) = &self.fds else { return Err(io::ErrorKind::NotConnected.into()) };
        let amount = splice(from, None, &fds.write, None, PIPE_BYTES, FLAGS)?;
        self.filled += amount;
        Ok(amount)
    }

    /// Empties it into `to`, as far as `to` takes it.
    pub(super) fn empty(&mut self, to: &TcpStream) -> io::Result<()> {
        let Some(fds) = &self.fds else { return Err(io::ErrorKind::NotConnected.into()) };
        let amount = splice(&fds.read, None, to, None, self.filled, FLAGS)?;
        self.filled -= amount;
        Ok(())
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        let mut store = self.owner.lock();
        store.lent -= 1;
        if let Some(fds) = self.fds.take()
            && self.filled == 0
            && store.spare.len() < PIPES_SPARE_MAX
        {
            store.spare.push(fds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PIPES_MAX, PIPES_SPARE_MAX, Pipes};

    #[test]
    fn pipes_are_bounded_and_only_empty_ones_come_back() {
        let pipes = Pipes::default();
        let mut lent: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        assert!(lent.len() <= PIPES_MAX);
        if lent.is_empty() {
            return;
        }
        lent[0].filled = 1;
        drop(lent);
        let store = pipes.lock();
        assert_eq!(store.lent, 0);
        assert!(store.spare.len() <= PIPES_SPARE_MAX);
    }
}
