//! The record of every call that reached the engine: tests count here, not at what the code
//! under test believes.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Calls kept; further ones are only counted by their absence.
const CALLS_MAX: usize = 1_000_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// The path as it was asked for, with its version.
    pub path: String,
    /// What is behind the question mark, still encoded.
    pub query: String,
    /// The operation: `start`, `stop`, `json`, `events`, …, the last part of the path; `remove`
    /// for a DELETE of a container.
    pub op: String,
    /// The container as it was named in the path.
    pub container: Option<String>,
    /// The status of the answer; absent when none was given (yet).
    pub status: Option<u16>,
}

/// All calls of one engine, oldest first.
#[derive(Debug, Default)]
pub(super) struct CallLog(Mutex<Vec<Call>>);

impl CallLog {
    /// Adds a call, and answers where it is, to tell its status later.
    pub(super) fn arrived(&self, call: Call) -> Option<usize> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= CALLS_MAX {
            return None;
        }
        calls.push(call);
        Some(calls.len() - 1)
    }

    pub(super) fn answered(&self, index: Option<usize>, status: u16) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = index.and_then(|index| calls.get_mut(index)) {
            call.status = Some(status);
        }
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
