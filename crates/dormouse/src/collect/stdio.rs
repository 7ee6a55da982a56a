//! Standard input and output without the buffers of the standard library, also where whoever made
//! them does not let them wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::{stdin, stdout};

/// One of the two, or what stands for it.
pub(super) struct Pipe<F = BorrowedFd<'static>>(F);

/// Standard input.
pub(super) fn input() -> Pipe {
    Pipe(stdin())
}

/// Standard output.
pub(super) fn output() -> Pipe {
    Pipe(stdout())
}

impl<F: AsFd> Pipe<F> {
    fn patiently(
        &self,
        flags: PollFlags,
        mut work: impl FnMut(&F) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match work(&self.0) {
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, flags)], None)?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}

impl<F: AsFd> Read for Pipe<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(PollFlags::IN, |fd| rustix::io::read(fd, &mut *buffer))
    }
}

impl<F: AsFd> Write for Pipe<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::OUT, |fd| rustix::io::write(fd, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_pipe_that_does_not_wait_by_itself_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut pipe = Pipe(ours);
        let long = vec![7; 4 << 20];
        let written = long.len();
        let writer = thread::spawn(move || {
            pipe.write_all(&long).unwrap();
            let mut answer = [0; 2];
            pipe.read_exact(&mut answer).unwrap();
            answer
        });
        let mut read = vec![0; written];
        theirs.read_exact(&mut read).unwrap();
        theirs.write_all(b"ok").unwrap();
        assert_eq!(&writer.join().unwrap(), b"ok");
    }
}
