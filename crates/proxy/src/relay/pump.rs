//! One way of a connection: reads what comes and writes it on.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

use super::pipes::{Pipe, Pipes};
use super::silence::Silence;
use crate::settings::{BULK_BYTES_MIN, RELAY_BUFFER_BYTES};

/// One way.
pub(super) struct Pump<'a> {
    pub(super) from: &'a TcpStream,
    pub(super) to: &'a TcpStream,
    pub(super) bytes: &'a AtomicU64,
    pub(super) pipes: &'a Pipes,
    pub(super) silence: &'a Silence,
}

/// How one way ended before its end.
pub(super) enum Broken {
    /// Nothing more can be read.
    Reading(io::Error),
    /// Nothing more is taken.
    Writing,
}

enum Passed {
    /// So many bytes.
    All(usize),
    /// The source has ended.
    Ended,
    /// So many bytes were read, and these the other end did not take at once.
    Left(usize, Vec<u8>),
}

impl Pump<'_> {
    /// Passes on, `begun` first, until the source ends; then ends the other end's reading.
    pub(super) async fn run(&self, begun: Vec<u8>) -> Result<(), Broken> {
        self.write(&begun).await?;
        self.count(begun.len());
        drop(begun);
        let mut bulk = false;
        loop {
            self.from.readable().await.map_err(Broken::Reading)?;
            let passed = match bulk.then(|| self.pipes.lend()).flatten() {
                Some(pipe) => self.splice(pipe).await?,
                None => self.copy().await?,
            };
            match passed {
                // There was nothing to read after all.
                None => {}
                Some(0) => {
                    // An end that is gone already needs no end.
                    rustix::net::shutdown(self.to, Shutdown::Write).ok();
                    return Ok(());
                }
                Some(amount) => bulk = amount >= BULK_BYTES_MIN,
            }
            consume_budget().await;
        }
    }

    /// Passes on once, through the buffer of the thread.
    async fn copy(&self) -> Result<Option<usize>, Broken> {
        match pass_on(self.from, self.to) {
            Ok(Passed::All(amount)) => {
                self.count(amount);
                Ok(Some(amount))
            }
            Ok(Passed::Ended) => Ok(Some(0)),
            Ok(Passed::Left(amount, rest)) => {
                self.write(&rest).await?;
                self.count(amount);
                Ok(Some(amount))
            }
            Err(Broken::Reading(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(broken) => Err(broken),
        }
    }

    /// Passes on once, through a pipe, which is given back before the next wait for the source.
    async fn splice(&self, mut pipe: Pipe<'_>) -> Result<Option<usize>, Broken> {
        match self.from.try_io(Interest::READABLE, || pipe.fill(self.from)) {
            Ok(0) => return Ok(Some(0)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.pipes.refuse();
                return Ok(None);
            }
            Err(error) => return Err(Broken::Reading(error)),
        }
        let amount = pipe.filled;
        while pipe.filled > 0 {
            match self.to.try_io(Interest::WRITABLE, || pipe.empty(self.to)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.to.writable().await.map_err(|_| Broken::Writing)?;
                }
                Err(_) => return Err(Broken::Writing),
            }
        }
        self.count(amount);
        Ok(Some(amount))
    }

    async fn write(&self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            match self.to.try_write(bytes) {
                Ok(amount) => bytes = &bytes[amount..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.to.writable().await.map_err(|_| Broken::Writing)?;
                }
                Err(_) => return Err(Broken::Writing),
            }
        }
        Ok(())
    }

    fn count(&self, amount: usize) {
        self.bytes.fetch_add(amount as u64, Ordering::Relaxed);
        self.silence.end();
    }
}

/// Passes on what can be read at once, through a buffer that all connections of a thread share.
fn pass_on(from: &TcpStream, to: &TcpStream) -> Result<Passed, Broken> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; RELAY_BUFFER_BYTES].into());
    }
    BUFFER.with_borrow_mut(|buffer| {
        let amount = from.try_read(buffer).map_err(Broken::Reading)?;
        if amount == 0 {
            return Ok(Passed::Ended);
        }
        let written = match to.try_write(&buffer[..amount]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Broken::Writing),
        };
        if written == amount {
            return Ok(Passed::All(amount));
        }
        Ok(Passed::Left(amount, buffer[written..amount].to_vec()))
    })
}
