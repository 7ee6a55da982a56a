//! The threads that carry the traffic: each serves its connections to their end on an event loop of
//! its own, so that no request wakes another thread.
//!
//! Where threads share one event loop, every byte that arrives while one of them works wakes
//! another one, which finds next to nothing to do. Here whatever arrives meanwhile is found at
//! once, by one question to the system.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads that carry the traffic. Cheap to clone; they end with the last clone.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    workers: Box<[Worker]>,
    _end: DropGuard,
}

/// One thread.
#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// How many connections it serves.
    load: Arc<AtomicUsize>,
}

/// A connection's place on a thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) runtime: Handle,
    load: Option<Arc<AtomicUsize>>,
}

/// On which thread's event loop a socket is. It can be used from another one too, but then each
/// of its events wakes two threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home(Option<usize>);

thread_local! {
    /// Which of the threads this is.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Workers {
    /// Begins so many threads, at least one.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub fn begin(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let guard = end.clone().drop_guard();
        let workers = (0..count.max(1)).map(|number| begin(number, end.clone()));
        Ok(Self(Arc::new(Threads { workers: workers.collect::<io::Result<_>>()?, _end: guard })))
    }

    /// Tasks on these threads that have not ended.
    pub fn tasks_alive(&self) -> usize {
        let alive = |worker: &Worker| worker.runtime.metrics().num_alive_tasks();
        self.0.workers.iter().map(alive).sum()
    }

    /// A place on the thread with the fewest connections.
    pub(crate) fn seat(&self) -> Seat {
        let load = |worker: &&Worker| worker.load.load(Ordering::Relaxed);
        let worker = self.0.workers.iter().min_by_key(load).expect("there is at least one");
        worker.load.fetch_add(1, Ordering::Relaxed);
        Seat { runtime: worker.runtime.clone(), load: Some(Arc::clone(&worker.load)) }
    }
}

impl Seat {
    /// A place on the runtime that accepts.
    pub(crate) fn here() -> Self {
        Self { runtime: Handle::current(), load: None }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(load) = &self.load {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Home {
    /// The event loop of the thread that asks.
    pub(crate) fn here() -> Self {
        Self(OWN.get())
    }

    /// Whether the socket should be moved to the thread that asks.
    pub(crate) fn is_elsewhere(self) -> bool {
        OWN.get().is_some() && self != Self::here()
    }
}

/// The number of the thread that asks, where it is one of these.
pub(crate) fn own_number() -> Option<usize> {
    OWN.get()
}

/// Moves a socket to the event loop of the thread that asks, which must be within a runtime.
pub(crate) fn move_here(stream: TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

fn begin(number: usize, end: CancellationToken) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let worker = Worker { runtime: runtime.handle().clone(), load: Arc::default() };
    thread::Builder::new().name(format!("visitors-{number}")).spawn(move || {
        OWN.set(Some(number));
        runtime.block_on(end.cancelled());
        // What is dropped with the runtime moves nowhere.
        OWN.set(None);
    })?;
    Ok(worker)
}

#[cfg(test)]
mod tests {
    use super::{Home, Seat, Workers, own_number};

    async fn on<T: Send + 'static>(seat: &Seat, ask: fn() -> T) -> T {
        seat.runtime.spawn(async move { ask() }).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_spread_over_the_threads() {
        let workers = Workers::begin(3).unwrap();
        let mut seats: Vec<Seat> = (0..6).map(|_| workers.seat()).collect();
        let mut numbers = Vec::new();
        for seat in &seats {
            numbers.push(on(seat, own_number).await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
        let left = seats.swap_remove(0);
        let number = on(&left, own_number).await;
        drop(left);
        assert_eq!(on(&workers.seat(), own_number).await, number, "it has the fewest");
    }

    #[tokio::test]
    async fn a_socket_is_elsewhere_on_every_thread_but_its_own() {
        let workers = Workers::begin(2).unwrap();
        let seats = [workers.seat(), workers.seat()];
        let home = on(&seats[0], Home::here).await;
        for (seat, elsewhere) in [(&seats[0], false), (&seats[1], true)] {
            let asked = seat.runtime.spawn(async move { home.is_elsewhere() });
            assert_eq!(asked.await.unwrap(), elsewhere);
        }
        assert!(!home.is_elsewhere(), "this thread carries no traffic");
    }

    #[tokio::test]
    async fn the_threads_end_with_their_owner_and_so_does_what_runs_on_them() {
        let workers = Workers::begin(1).unwrap();
        let runtime = workers.seat().runtime.clone();
        let task = runtime.spawn(std::future::pending::<()>());
        let clone = workers.clone();
        drop(workers);
        assert_eq!(clone.tasks_alive(), 1);
        drop(clone);
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
