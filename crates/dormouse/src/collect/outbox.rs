//! The way out: a bounded queue that anybody fills without waiting, and one thread that writes.
//!
//! Writing happens on a thread of its own because a reader may never read: only that thread waits
//! for it, and the end of the process does not wait for the thread.

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use dormouse_wire::{CollectReport, EnvId};
use tokio::sync::Notify;

use super::queue::Queue;

/// Where reports go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something was put in, or the end has come.
    filled: Condvar,
    /// Everything was written, or nothing ever will be.
    drained: Condvar,
    /// Nobody reads any more.
    closed: Notify,
}

struct State {
    queue: Queue,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// What is queued is still written.
    Ending,
    /// The writer has ended.
    Ended,
}

impl Outbox {
    /// Begins to write to `out` what is pushed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn open(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("collect-writer".into()).spawn(move || writer.write_to(out))?;
        Ok(Self(shared))
    }

    /// One that nobody writes from; a test takes what is in it.
    #[cfg(test)]
    pub(super) fn unwritten() -> Self {
        Self(Arc::new(Shared::new()))
    }

    /// The next report that would be written.
    #[cfg(test)]
    pub(super) fn take(&self) -> Option<CollectReport> {
        self.0.state().queue.take()
    }

    /// Takes a report, or what the bounds allow of it.
    pub(super) fn push(&self, report: CollectReport) {
        self.0.state().queue.push(report);
        self.0.filled.notify_one();
    }

    /// Drops everything of an environment that has not been written.
    pub(super) fn forget(&self, env: EnvId) {
        self.0.state().queue.forget(env);
    }

    /// Waits until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.0.closed.notified().await;
    }

    /// Lets what is queued be written, for so long at most.
    pub(super) fn finish(&self, patience: Duration) {
        let give_up_at = Instant::now() + patience;
        let mut state = self.0.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Ending;
        }
        self.0.filled.notify_one();
        while state.phase != Phase::Ended {
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (next, _) = self.0.drained.wait_timeout(state, left).expect("nobody panics");
            state = next;
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            state: Mutex::new(State { queue: Queue::default(), phase: Phase::Open }),
            filled: Condvar::new(),
            drained: Condvar::new(),
            closed: Notify::new(),
        }
    }

    /// One report at a time, so that at most one of a removed environment is under way.
    fn write_to(&self, out: impl Write) {
        let mut out = BufWriter::new(out);
        while let Some(report) = self.wait_for_next() {
            if report.write(&mut out).and_then(|()| out.flush()).is_err() {
                self.closed.notify_one();
                break;
            }
        }
        self.state().phase = Phase::Ended;
        self.drained.notify_all();
        // What could not be written must not be tried again.
        drop(out.into_parts());
    }

    fn wait_for_next(&self) -> Option<CollectReport> {
        let mut state = self.state();
        loop {
            if let Some(report) = state.queue.take() {
                return Some(report);
            }
            if state.phase != Phase::Open {
                return None;
            }
            state = self.filled.wait(state).expect("nobody panics while it is held");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it is held")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes into a channel that has room for nothing: a write waits until somebody reads.
    struct Narrow(mpsc::SyncSender<Vec<u8>>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn error(text: &str) -> CollectReport {
        CollectReport::Error { env: None, error: text.into() }
    }

    #[test]
    fn what_is_queued_at_the_end_is_written_while_somebody_reads() {
        let (sender, read) = mpsc::sync_channel(0);
        let outbox = Outbox::open(Narrow(sender)).unwrap();
        outbox.push(CollectReport::Ready);
        outbox.push(error("last"));
        let reader = thread::spawn(move || read.iter().flatten().collect::<Vec<u8>>());
        outbox.finish(Duration::from_secs(60));
        let text = String::from_utf8(reader.join().unwrap()).unwrap();
        assert_eq!(text, "{\"type\":\"ready\"}\n{\"type\":\"error\",\"error\":\"last\"}\n");
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_never_reads() {
        let (sender, read) = mpsc::sync_channel(0);
        let outbox = Outbox::open(Narrow(sender)).unwrap();
        outbox.push(CollectReport::Ready);
        outbox.finish(Duration::from_millis(20));
        drop(read);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_noticed() {
        let (sender, read) = mpsc::sync_channel(0);
        let outbox = Outbox::open(Narrow(sender)).unwrap();
        drop(read);
        outbox.push(CollectReport::Ready);
        tokio::time::timeout(Duration::from_secs(60), outbox.closed()).await.unwrap();
    }
}
