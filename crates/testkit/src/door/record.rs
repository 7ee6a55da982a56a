//! What passed the door: every call, and every event that the engine said.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::time::Instant;

use crate::engine::Call;

/// Calls kept; a test that makes more of them fails.
const CALLS_MAX: usize = 1_000_000;
/// Events kept; the last ones are forgotten.
const EVENTS_MAX: usize = 1_000_000;

/// One event of a container as the engine said it, whatever became of it at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When it arrived at the door.
    pub at: Instant,
    /// The engine's own time of it, in nanoseconds since 1970.
    pub time_ns: u64,
    /// `start`, `die`, …
    pub action: String,
    /// The container's id.
    pub id: String,
    /// Its name at that moment.
    pub name: String,
}

/// Every call so far, in the order of arrival. The first ones may be forgotten, but they keep their
/// places: an answer may still come.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: Mutex<Vec<Call>>,
    forgotten: AtomicUsize,
}

/// Every event so far.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Vec<Said>>);

impl Calls {
    pub(super) fn arrived(&self, call: Call) -> usize {
        let mut calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(calls.len() < CALLS_MAX, "more calls than are kept");
        calls.push(call);
        calls.len() - 1
    }

    pub(super) fn answered(&self, index: usize, status: u16) {
        let mut calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        calls[index].status = Some(status);
    }

    pub(super) fn remembered(&self) -> Vec<Call> {
        let calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        calls[self.forgotten.load(Ordering::Acquire)..].to_vec()
    }

    pub(super) fn forget(&self) {
        let calls = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.store(calls.len(), Ordering::Release);
    }
}

impl Said {
    /// Reads one line of an event stream; nothing where it is none of a container.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (event["Type"] == "container").then(|| Self {
            at: Instant::now(),
            time_ns: event["timeNano"].as_u64().unwrap_or_default(),
            action: text(&event["Action"]),
            id: text(&event["Actor"]["ID"]),
            name: text(&event["Actor"]["Attributes"]["name"]),
        })
    }
}

impl Events {
    pub(super) fn said(&self, said: Said) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_MAX {
            events.push(said);
        }
    }

    pub(super) fn all(&self) -> Vec<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
