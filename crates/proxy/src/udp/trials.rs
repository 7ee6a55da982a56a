//! Whether a workload that runs listens already.
//!
//! A UDP port cannot be probed, so a workload may be ready before it has bound its own. Its system
//! then refuses what is sent there, and tells so: the first datagram of each opening is a trial,
//! sent again until it is not refused, and everything else waits behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a refusal may take to come back; what is not refused within it has arrived.
pub(super) const REFUSAL_MAX: Duration = Duration::from_millis(50);
/// The first pause after a refusal, doubling.
pub(super) const AGAIN_DELAY_MIN: Duration = Duration::from_millis(20);
/// The longest pause after a refusal. Linux lets one machine have six refusals at once and then
/// one a second, and a refusal that was not sent looks like an arrival.
pub(super) const AGAIN_DELAY_MAX: Duration = Duration::from_millis(1280);

/// No opening has this number.
const NONE: u64 = u64::MAX;

/// What is known of one port of one workload.
#[derive(Debug)]
pub(super) struct Trials {
    /// The opening for which it is known to listen.
    proven: AtomicU64,
    /// One trial at a time: refusals are rationed by the sender's address.
    turn: Semaphore,
}

impl Trials {
    pub(super) fn new() -> Self {
        Self { proven: AtomicU64::new(NONE), turn: Semaphore::new(1) }
    }

    pub(super) fn is_proven(&self, epoch: u64) -> bool {
        self.proven.load(Ordering::Acquire) == epoch
    }

    pub(super) fn prove(&self, epoch: u64) {
        self.proven.store(epoch, Ordering::Release);
    }

    /// Somebody was refused after all.
    pub(super) fn doubt(&self, epoch: u64) {
        // Another epoch was proven by somebody who knows more.
        let _ = self.proven.compare_exchange(epoch, NONE, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Waits until it is the caller's turn to try.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turn.acquire().await.expect("nobody closes it")
    }
}

#[cfg(test)]
mod tests {
    use super::Trials;

    #[test]
    fn only_what_was_proven_is_doubted() {
        let trials = Trials::new();
        assert!(!trials.is_proven(0));
        trials.prove(7);
        trials.doubt(6);
        assert!(trials.is_proven(7) && !trials.is_proven(6));
        trials.doubt(7);
        assert!(!trials.is_proven(7));
    }
}
