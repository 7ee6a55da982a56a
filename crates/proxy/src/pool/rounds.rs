//! Polls parts of one task that wake each other: a wake from within means another round of these
//! parts, not another turn of the whole task.
//!
//! A connection to an upstream, the answer that comes out of it and the body of that answer tell
//! each other of every step. Without this each request would cost its client's connection one more
//! turn, in which there is nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Where the parts stand; see [`Rounds::poll`].
#[derive(Debug)]
pub(super) struct Rounds {
    bell: Arc<Bell>,
    /// Rings the bell; always the same one, so that nobody has to replace the one they have.
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Nobody polls, and nobody has rung since the last poll.
const QUIET: u8 = 0;
/// The parts are being polled.
const POLLING: u8 = 1;
/// Somebody has rung: during a poll, or since.
const RUNG: u8 = 2;

/// Rounds in one turn, after which other tasks get theirs.
const ROUNDS_MAX: usize = 4;

impl Rounds {
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(QUIET), task: AtomicWaker::new() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Polls the parts until they are ready, or nothing that they did has woken them.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut parts: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let state = &self.bell.state;
        self.bell.task.register(context.waker());
        for _ in 0..ROUNDS_MAX {
            state.store(POLLING, Ordering::Release);
            if let Poll::Ready(ready) = parts(&mut Context::from_waker(&self.waker)) {
                // Whoever waits for more polls first, so a wake that came meanwhile is not lost.
                state.store(QUIET, Ordering::Release);
                return Poll::Ready(ready);
            }
            let quiet = state.compare_exchange(POLLING, QUIET, Ordering::AcqRel, Ordering::Acquire);
            if quiet.is_ok() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls once without a task, and keeps none: what rings from now on wakes nobody.
    pub(super) fn poll_alone<T>(&self, part: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.bell.task.take();
        part(&mut Context::from_waker(&self.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == QUIET {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROUNDS_MAX, Rounds};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn task() -> (Arc<Task>, Waker) {
        let task = Arc::<Task>::default();
        (Arc::clone(&task), Waker::from(task))
    }

    #[test]
    fn a_wake_from_within_is_another_round_and_not_another_turn() {
        let (task, waker) = task();
        let rounds = Rounds::new();
        let mut polls = 0;
        let polled = rounds.poll(&mut Context::from_waker(&waker), |context| {
            polls += 1;
            if polls == 1 {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, task.0.load(Ordering::SeqCst)), (2, 0));
    }

    #[test]
    fn a_wake_between_polls_wakes_the_task_that_polled_last_and_only_once() {
        let (first, first_waker) = task();
        let (last, last_waker) = task();
        let rounds = Rounds::new();
        let mut own = None;
        for waker in [&first_waker, &last_waker] {
            let polled = rounds.poll(&mut Context::from_waker(waker), |context| {
                own = Some(context.waker().clone());
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
        }
        let own = own.unwrap();
        own.wake_by_ref();
        own.wake_by_ref();
        assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
        rounds.poll_alone(|_| ());
        let again = rounds.poll(&mut Context::from_waker(&last_waker), |_| Poll::<()>::Pending);
        assert!(again.is_pending());
        rounds.poll_alone(|context| context.waker().wake_by_ref());
        assert_eq!(last.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn parts_that_never_rest_give_others_their_turn() {
        let (task, waker) = task();
        let rounds = Rounds::new();
        let mut polls = 0;
        let polled = rounds.poll(&mut Context::from_waker(&waker), |context| {
            polls += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, task.0.load(Ordering::SeqCst)), (ROUNDS_MAX, 1));
    }

    #[test]
    fn no_wake_from_another_thread_is_lost() {
        let (task, waker) = task();
        let rounds = Rounds::new();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let given = Arc::new(AtomicUsize::new(0));
        let gives = Arc::clone(&given);
        let giver = std::thread::spawn(move || {
            for waker in receiver {
                gives.fetch_add(1, Ordering::SeqCst);
                waker.wake();
            }
        });
        for round in 1..=20_000 {
            let mut sent = false;
            let polled = rounds.poll(&mut Context::from_waker(&waker), |context| {
                if !std::mem::replace(&mut sent, true) {
                    sender.send(context.waker().clone()).unwrap();
                }
                if given.load(Ordering::SeqCst) == round { Poll::Ready(()) } else { Poll::Pending }
            });
            if polled.is_pending() {
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
                while task.0.swap(0, Ordering::SeqCst) == 0 {
                    assert!(std::time::Instant::now() < deadline, "round {round} was not woken");
                    std::thread::yield_now();
                }
            }
            // A late ring of this round must not be taken for one of the next.
            while given.load(Ordering::SeqCst) < round || Arc::strong_count(&rounds.bell) > 2 {
                std::thread::yield_now();
            }
            task.0.store(0, Ordering::SeqCst);
        }
        drop(sender);
        giver.join().unwrap();
    }
}
