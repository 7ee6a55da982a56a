//! Whether a connection is silent: one that has been for long enough stops counting as a use, and
//! counts again as soon as a byte passes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// What is known of the silence of one connection.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// Whether anything has passed since somebody looked.
    broken: AtomicBool,
    /// Whether somebody waits for the next byte.
    awaited: AtomicBool,
    byte: Notify,
}

impl Silence {
    /// Something has passed.
    pub(super) fn end(&self) {
        self.broken.store(true, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) {
            self.byte.notify_one();
        }
    }

    /// Waits until nothing has passed for `enough`. Late by up to as much again: nothing is told to
    /// a timer while bytes flow.
    pub(crate) async fn lasts(&self, enough: Duration) {
        self.broken.store(false, Ordering::SeqCst);
        loop {
            tokio::time::sleep(enough).await;
            if !self.broken.swap(false, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// Waits until something passes.
    pub(crate) async fn ends(&self) {
        self.awaited.store(true, Ordering::SeqCst);
        if !self.broken.load(Ordering::SeqCst) {
            self.byte.notified().await;
        }
        self.awaited.store(false, Ordering::SeqCst);
    }
}
