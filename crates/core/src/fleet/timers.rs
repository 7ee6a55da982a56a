//! When the fleet must act next: deadlines in order, in slots of time, so that the many that are far
//! away cost those that come and go nearby nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Key;
use crate::time::Timestamp;

/// A slot's width as a power of two, in microseconds: about 67 seconds.
const SLOT_BITS: u32 = 26;

/// Deadlines, each with whose it is. A workload has at most one, which is its owner's care.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    /// No slot is empty.
    slots: BTreeMap<u64, BTreeSet<(Timestamp, Key)>>,
}

impl Timers {
    /// The earliest deadline; of several at one moment, the one of the workload defined first.
    pub(super) fn first(&self) -> Option<(Timestamp, Key)> {
        self.slots.first_key_value()?.1.first().copied()
    }

    pub(super) fn insert(&mut self, at: Timestamp, key: Key) {
        self.slots.entry(slot_of(at)).or_default().insert((at, key));
    }

    pub(super) fn remove(&mut self, at: Timestamp, key: Key) {
        let Some(slot) = self.slots.get_mut(&slot_of(at)) else { return };
        slot.remove(&(at, key));
        if slot.is_empty() {
            self.slots.remove(&slot_of(at));
        }
    }
}

fn slot_of(at: Timestamp) -> u64 {
    at.0 >> SLOT_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_whatever_their_slots() {
        let mut timers = Timers::default();
        let far = Timestamp(5 << SLOT_BITS);
        let edge = Timestamp((1 << SLOT_BITS) - 1);
        let given = [(far, 1), (edge, 2), (Timestamp(7), 4), (Timestamp(edge.0 + 1), 0), (edge, 1)];
        for (at, key) in given {
            timers.insert(at, Key(key));
        }
        timers.remove(Timestamp(7), Key(3));
        let mut seen = Vec::new();
        while let Some((at, key)) = timers.first() {
            timers.remove(at, key);
            seen.push((at, key.0));
        }
        let expected =
            [(Timestamp(7), 4), (edge, 1), (edge, 2), (Timestamp(edge.0 + 1), 0), (far, 1)];
        assert_eq!(seen, expected);
        assert!(timers.slots.is_empty(), "no empty slot stays behind");
    }
}
