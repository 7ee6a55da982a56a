//! One flow: everything that one client address sends to one listener, and the answers to it.
//!
//! ```text
//! Shut(backlog) ──the gate is open, what waited is sent──▶ Open(line)
//!       ▲ ◀──refused, or the gate shut or opened anew──────── │
//!       └──────────silence, or the wake failed──▶ Ended ◀─────┘
//! ```
//! The listener moves it to `Shut` and appends to the backlog; the flow's own task (`tending`)
//! takes from the backlog, and moves it everywhere else. Nobody holds the lock for longer than one
//! system call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backlog::{Backlog, Room};
use super::drops::{UdpDropped, is_unreachable};
use super::line::Line;
use super::site::Destination;
use super::socket::Peer;

/// One flow, shared by its listener and its task.
#[derive(Debug)]
pub(super) struct Flow<K> {
    pub(super) destination: Arc<Destination<K>>,
    room: Arc<Room>,
    state: Mutex<State>,
    /// Something waits for the flow's task.
    pub(super) waits: Notify,
    /// Somebody else than the flow's task has ended it.
    pub(super) ended: Notify,
}

/// Whether a flow took a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is on its way, waits, or is counted as dropped.
    Yes,
    /// The flow is over; this is the first datagram of another.
    Over,
}

#[derive(Debug)]
struct State {
    way: Way,
    /// The client, and which of our addresses it wrote to last.
    peer: Peer,
    /// When either side last sent something.
    heard_at: Instant,
}

#[derive(Debug)]
enum Way {
    Shut(Backlog),
    Open(Arc<Line>),
    Ended,
}

impl<K> Flow<K> {
    pub(super) fn new(destination: Arc<Destination<K>>, room: &Arc<Room>, peer: Peer) -> Self {
        let way = Way::Shut(Backlog::new(room));
        let state = Mutex::new(State { way, peer, heard_at: Instant::now() });
        let room = Arc::clone(room);
        Self { destination, room, state, waits: Notify::new(), ended: Notify::new() }
    }

    /// Takes a datagram of the client: passes it on at once where the way is open and leads to the
    /// opening that the gate has now, and lets it wait otherwise.
    pub(super) fn take(&self, peer: Peer, datagram: &[u8], open: Option<u64>) -> Taken {
        let mut state = self.lock();
        if matches!(state.way, Way::Ended) {
            return Taken::Over;
        }
        state.peer = peer;
        state.heard_at = Instant::now();
        if let Way::Open(line) = &state.way {
            if open == Some(line.epoch) && self.pass_on(line, datagram) {
                return Taken::Yes;
            }
            state.way = Way::Shut(Backlog::new(&self.room));
        }
        if let Way::Shut(backlog) = &mut state.way {
            backlog.push(datagram, self.destination.site.bytes_max);
            self.waits.notify_one();
        }
        Taken::Yes
    }

    /// Whether this datagram needs nothing more: it was sent, or cannot be.
    fn pass_on(&self, line: &Line, datagram: &[u8]) -> bool {
        match line.try_send(datagram) {
            Ok(()) => true,
            // This is told of an earlier datagram, and this one was not sent.
            Err(error) if is_unreachable(&error) => {
                self.destination.trials.doubt(line.epoch);
                false
            }
            Err(error) => {
                self.room.drops.count(UdpDropped::of(&error), 1);
                true
            }
        }
    }

    /// The workload has answered; tells to whom.
    pub(super) fn heard(&self, now: Instant) -> Peer {
        let mut state = self.lock();
        state.heard_at = now;
        state.peer
    }

    pub(super) fn peer(&self) -> Peer {
        self.lock().peer
    }

    /// The datagram that waits longest.
    pub(super) fn first(&self) -> Option<Bytes> {
        match &self.lock().way {
            Way::Shut(backlog) => backlog.first(),
            Way::Open(_) | Way::Ended => None,
        }
    }

    /// The datagram that waits longest was sent.
    pub(super) fn sent(&self) {
        if let Way::Shut(backlog) = &mut self.lock().way {
            backlog.pop();
        }
    }

    /// The datagram that waits longest cannot be sent.
    pub(super) fn drop_first(&self, why: UdpDropped) {
        self.sent();
        self.room.drops.count(why, 1);
    }

    /// Opens the way if nothing waits any more: what comes from now on is behind all that waited.
    pub(super) fn open(&self, line: &Arc<Line>) -> bool {
        let mut state = self.lock();
        match &state.way {
            Way::Shut(backlog) if backlog.is_empty() => {
                state.way = Way::Open(Arc::clone(line));
                true
            }
            Way::Shut(_) => false,
            Way::Open(_) | Way::Ended => true,
        }
    }

    /// Shuts the way: the next datagram asks the gatekeeper again.
    pub(super) fn shut(&self) {
        let mut state = self.lock();
        if matches!(state.way, Way::Open(_)) {
            state.way = Way::Shut(Backlog::new(&self.room));
        }
    }

    /// Ends it; what waits is dropped.
    pub(super) fn end(&self, why: UdpDropped) {
        let before = std::mem::replace(&mut self.lock().way, Way::Ended);
        if let Way::Shut(mut backlog) = before {
            backlog.give_up(why);
        }
        self.ended.notify_one();
    }

    /// Ends it if nothing waits and neither side has sent anything for `silence`; how long it may
    /// still be silent otherwise.
    pub(super) fn end_if_silent(&self, silence: Duration) -> Option<Duration> {
        let mut state = self.lock();
        let waits = matches!(&state.way, Way::Shut(backlog) if !backlog.is_empty());
        let silent = state.heard_at.elapsed();
        if waits || silent < silence {
            return Some(silence.saturating_sub(silent).max(SILENCE_LEFT_MIN));
        }
        state.way = Way::Ended;
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of timers is coarse: a timer that comes early must not come again and again.
const SILENCE_LEFT_MIN: Duration = Duration::from_millis(1);
