//! The stories of one workload's wakes: a bounded history, then live.

use std::collections::VecDeque;
use std::sync::Mutex;

use dormouse_core::limits;
use dormouse_core::progress::Step;
use tokio::sync::broadcast;

/// Lines that a slow listener may fall behind before it is dropped.
const LISTENER_LAG_MAX: usize = 32;

/// One line, with its place in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Counts up over all wakes of the workload.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub step: Step,
}

/// All stories of one workload.
#[derive(Debug, Default)]
pub struct StoryBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seq: u64,
    lines: VecDeque<StoryLine>,
    /// Made when the first listener comes: most workloads never have one.
    live: Option<broadcast::Sender<StoryLine>>,
}

impl StoryBook {
    /// The lines after `seq` that are still kept (the current or last wake's when absent), and
    /// what comes.
    pub fn listen(
        &self,
        after_seq: Option<u64>,
    ) -> (Vec<StoryLine>, broadcast::Receiver<StoryLine>) {
        let mut inner = self.lock();
        let live = inner.live.get_or_insert_with(|| broadcast::channel(LISTENER_LAG_MAX).0);
        let receiver = live.subscribe();
        let lines = match after_seq {
            Some(seq) => inner.lines.iter().filter(|line| line.seq > seq).cloned().collect(),
            None => inner.current(),
        };
        (lines, receiver)
    }

    /// The current or last wake's lines.
    pub fn current(&self) -> Vec<StoryLine> {
        self.lock().current()
    }

    pub(crate) fn tell(&self, step: Step, at_ms: u64) {
        let mut inner = self.lock();
        inner.seq += 1;
        let line = StoryLine { seq: inner.seq, at_ms, step };
        if inner.lines.len() == limits::STORY_STEPS_MAX {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line.clone());
        if let Some(live) = &inner.live
            && live.send(line).is_err()
        {
            inner.live = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while holding the lock")
    }
}

impl Inner {
    fn current(&self) -> Vec<StoryLine> {
        let lines = self.lines.iter();
        let last_but_end = self.lines.len().saturating_sub(1);
        let earlier_end = lines.take(last_but_end).rposition(|line| line.step.kind.ends());
        let first = earlier_end.map_or(0, |position| position + 1);
        self.lines.iter().skip(first).cloned().collect()
    }
}
