//! Something to wait for beside a busy future, at next to no cost for each poll of that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future only when that future itself was woken. A connection is polled several times for
/// each request; its timers and signals need not be.
pub(crate) struct Aside<'a, F> {
    future: Pin<&'a mut F>,
    bell: Option<Arc<Bell>>,
}

/// Wakes the task, and remembers that it was this future that did.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl<'a, F: Future> Aside<'a, F> {
    pub(crate) fn new(future: Pin<&'a mut F>) -> Self {
        Self { future, bell: None }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let bell = match &self.bell {
            Some(bell) if bell.task.will_wake(context.waker()) => bell,
            _ => {
                let task = context.waker().clone();
                self.bell.insert(Arc::new(Bell { rung: AtomicBool::new(true), task }))
            }
        };
        if !bell.rung.load(Ordering::Relaxed) || !bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::Aside;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::pin;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn it_is_polled_at_first_and_when_it_was_woken_and_not_otherwise() {
        let (sender, receiver) = oneshot::channel();
        let polls = Cell::new(0);
        let mut future = pin!(async {
            let mut receiver = pin!(receiver);
            poll_fn(|context| {
                polls.set(polls.get() + 1);
                receiver.as_mut().poll(context)
            })
            .await
        });
        let mut aside = Aside::new(future.as_mut());
        let mut sender = Some(sender);
        let mut rounds = 0;
        let received = poll_fn(|context| {
            rounds += 1;
            let polled = aside.poll(context);
            if rounds < 10 {
                context.waker().wake_by_ref();
            } else if let Some(sender) = sender.take() {
                sender.send(7).unwrap();
            }
            polled
        });
        assert_eq!(received.await, Ok(7));
        assert_eq!(polls.get(), 2);
        assert_eq!(rounds, 11);
    }
}
