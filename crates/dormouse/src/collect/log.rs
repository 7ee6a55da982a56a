//! The log on standard error, written by a thread of its own: whoever does not read it must not
//! keep the collector from its work.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use dormouse_core::limits;

/// Where the log goes. Cheap to clone.
#[derive(Clone)]
pub struct LogDoor(SyncSender<Entry>);

enum Entry {
    Line(Vec<u8>),
    /// Somebody waits until everything before this was written.
    Flush(SyncSender<()>),
}

impl LogDoor {
    /// Begins to write to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn open(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(limits::COLLECT_LOG_QUEUE);
        thread::Builder::new()
            .name("collect-log".into())
            .spawn(move || write_all(&receiver, out))?;
        Ok(Self(sender))
    }

    /// Waits until everything so far was written, for so long at most.
    pub fn finish(&self, patience: Duration) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.0.try_send(Entry::Flush(done)).is_ok() {
            // Whoever does not read the log does not want its end.
            let _ = wait.recv_timeout(patience);
        }
    }
}

/// A line that finds no room is dropped.
impl Write for LogDoor {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.try_send(Entry::Line(line.to_vec())) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(entries: &Receiver<Entry>, mut out: impl Write) {
    for entry in entries {
        match entry {
            // Nobody to tell is no reason to stop.
            Entry::Line(line) => drop(out.write_all(&line)),
            Entry::Flush(done) => drop(done.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until the other end is dropped.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up() {
        let (reader, stuck) = mpsc::sync_channel(0);
        let mut log = LogDoor::open(Stuck(stuck)).unwrap();
        for _ in 0..10 * limits::COLLECT_LOG_QUEUE {
            log.write_all(b"line\n").unwrap();
        }
        log.finish(Duration::from_millis(10));
        drop(reader);
    }
}
