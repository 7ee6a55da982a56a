//! Datagrams that wait, oldest first: for a gate to open, or for the workload to listen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dormouse_core::limits::{UDP_WAITING_BYTES_MAX, UDP_WAITING_DATAGRAMS_MAX};

use super::drops::{UdpDropped, UdpDrops};

/// What all backlogs of one listener share.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) drops: Arc<UdpDrops>,
    bytes: AtomicU64,
}

/// The datagrams of one flow that wait. Those that still wait at its end are counted as dropped.
#[derive(Debug)]
pub(super) struct Backlog {
    room: Arc<Room>,
    datagrams: VecDeque<Bytes>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(drops: Arc<UdpDrops>) -> Self {
        Self { drops, bytes: AtomicU64::new(0) }
    }
}

impl Backlog {
    pub(super) fn new(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), datagrams: VecDeque::new(), bytes: 0 }
    }

    /// Keeps a datagram behind the others, where there is room: `bytes_max` for all backlogs of
    /// the room together. What came first stays: it is what wakes, or opens a conversation.
    pub(super) fn push(&mut self, datagram: &[u8], bytes_max: u64) {
        let length = datagram.len();
        let is_full = self.datagrams.len() >= UDP_WAITING_DATAGRAMS_MAX
            || self.bytes + length > UDP_WAITING_BYTES_MAX
            || self.room.bytes.load(Ordering::Relaxed) + as_u64(length) > bytes_max;
        if is_full {
            self.room.drops.count(UdpDropped::QueueFull, 1);
            return;
        }
        self.bytes += length;
        self.room.bytes.fetch_add(as_u64(length), Ordering::Relaxed);
        self.datagrams.push_back(Bytes::copy_from_slice(datagram));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// The one that waits longest.
    pub(super) fn first(&self) -> Option<Bytes> {
        self.datagrams.front().cloned()
    }

    /// The one that waits longest need not wait any longer.
    pub(super) fn pop(&mut self) {
        if let Some(datagram) = self.datagrams.pop_front() {
            self.bytes -= datagram.len();
            self.room.bytes.fetch_sub(as_u64(datagram.len()), Ordering::Relaxed);
        }
    }

    /// Gives all of them up.
    pub(super) fn give_up(&mut self, why: UdpDropped) {
        self.room.drops.count(why, self.datagrams.len());
        self.room.bytes.fetch_sub(as_u64(self.bytes), Ordering::Relaxed);
        self.datagrams.clear();
        self.bytes = 0;
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.give_up(UdpDropped::Ended);
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Backlog, Room, UdpDropped, UdpDrops};
    use dormouse_core::limits::{UDP_WAITING_BYTES_MAX, UDP_WAITING_DATAGRAMS_MAX};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn room() -> Arc<Room> {
        Arc::new(Room::new(Arc::<UdpDrops>::default()))
    }

    fn dropped(room: &Room, why: UdpDropped) -> u64 {
        room.drops.read().into_iter().find(|(it, _)| *it == why).unwrap().1
    }

    #[test]
    fn what_came_first_stays_and_what_does_not_fit_is_counted() {
        let room = room();
        let mut backlog = Backlog::new(&room);
        for n in 0..UDP_WAITING_DATAGRAMS_MAX + 3 {
            backlog.push(&n.to_le_bytes(), u64::MAX);
        }
        assert_eq!(dropped(&room, UdpDropped::QueueFull), 3);
        for n in 0..UDP_WAITING_DATAGRAMS_MAX {
            assert_eq!(*backlog.first().unwrap(), n.to_le_bytes());
            backlog.pop();
        }
        assert!(backlog.is_empty());
    }

    #[test]
    fn the_room_bounds_all_of_its_backlogs_together() {
        let room = room();
        let (mut one, mut other) = (Backlog::new(&room), Backlog::new(&room));
        one.push(&[0; 60], 100);
        other.push(&[0; 60], 100);
        assert!(!one.is_empty() && other.is_empty());
        one.pop();
        other.push(&[0; 60], 100);
        assert!(one.is_empty() && !other.is_empty());
        assert_eq!(dropped(&room, UdpDropped::QueueFull), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_uncounted_and_the_room_is_empty_at_the_end(
            lengths in proptest::collection::vec(0usize..40_000, 0..60),
            pops in 0usize..60,
        ) {
            let room = room();
            let mut backlog = Backlog::new(&room);
            for length in &lengths {
                backlog.push(&vec![7; *length], 1 << 20);
                prop_assert!(backlog.bytes <= UDP_WAITING_BYTES_MAX);
            }
            let kept = backlog.datagrams.len();
            let full = dropped(&room, UdpDropped::QueueFull);
            prop_assert_eq!(kept as u64 + full, lengths.len() as u64);
            for _ in 0..pops {
                backlog.pop();
            }
            drop(backlog);
            let ended = dropped(&room, UdpDropped::Ended);
            prop_assert_eq!(ended, kept.saturating_sub(pops) as u64);
            prop_assert_eq!(room.bytes.load(Ordering::Relaxed), 0);
        }
    }
}
