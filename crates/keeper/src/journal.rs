//! The journal: what happened to all workloads, a bounded history and then live.

use std::collections::VecDeque;
use std::sync::Mutex;

use dormouse_core::WorkloadId;
use tokio::sync::broadcast;

/// Entries that are kept.
const HISTORY_MAX: usize = 1024;
/// Entries that a slow reader may fall behind before it is dropped.
const LISTENER_LAG_MAX: usize = 256;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Counts up from 1.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The workload it is about, when it is about one.
    pub workload: Option<WorkloadId>,
    /// What happened.
    pub kind: JournalKind,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalKind {
    /// A workload entered another phase.
    Phase {
        /// The phase it left.
        from: &'static str,
        /// The phase it entered.
        to: &'static str,
        /// One sentence.
        why: String,
    },
    /// A pin was set.
    Pinned,
    /// A pin ended, by itself or because somebody ended it.
    Unpinned,
    /// A rest failed.
    RestFailed {
        /// Why.
        error: String,
    },
    /// An environment stopped answering.
    EnvironmentLost {
        /// Which.
        environment: String,
        /// Why.
        reason: String,
    },
    /// An environment answers again.
    EnvironmentReached {
        /// Which.
        environment: String,
    },
}

/// The history and its listeners.
#[derive(Debug)]
pub struct Journal {
    inner: Mutex<Inner>,
    live: broadcast::Sender<JournalEntry>,
}

#[derive(Debug, Default)]
struct Inner {
    seq: u64,
    entries: VecDeque<JournalEntry>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { inner: Mutex::default(), live: broadcast::channel(LISTENER_LAG_MAX).0 }
    }
}

impl Journal {
    /// The entries after `seq` that are still kept, oldest first, and what comes.
    pub fn listen(&self, after_seq: u64) -> (Vec<JournalEntry>, broadcast::Receiver<JournalEntry>) {
        let inner = self.inner.lock().expect("no panic while holding the lock");
        let receiver = self.live.subscribe();
        let entries = inner.entries.iter().filter(|entry| entry.seq > after_seq).cloned().collect();
        (entries, receiver)
    }

    pub(crate) fn write(&self, at_ms: u64, workload: Option<WorkloadId>, kind: JournalKind) {
        let mut inner = self.inner.lock().expect("no panic while holding the lock");
        inner.seq += 1;
        let entry = JournalEntry { seq: inner.seq, at_ms, workload, kind };
        if inner.entries.len() == HISTORY_MAX {
            inner.entries.pop_front();
        }
        inner.entries.push_back(entry.clone());
        // Nobody listening is not an error.
        let _ = self.live.send(entry);
    }
}
