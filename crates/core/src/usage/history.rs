//! The last values of something, oldest first, in bounded room.

use std::collections::VecDeque;

/// The last values; the oldest makes room for the newest.
#[derive(Clone, Debug, PartialEq)]
pub struct History<T> {
    values: VecDeque<T>,
    capacity: usize,
}

impl<T> History<T> {
    /// Keeps up to `capacity` values; room is taken as they come.
    pub fn new(capacity: usize) -> Self {
        Self { values: VecDeque::new(), capacity }
    }

    /// Adds the newest.
    pub fn push(&mut self, value: T) {
        while self.values.len() >= self.capacity {
            if self.values.pop_front().is_none() {
                return;
            }
        }
        self.values.push_back(value);
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.values.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&T> {
        self.values.back()
    }

    /// Forgets what is older than `capacity` values from here on.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        let surplus = self.values.len().saturating_sub(capacity);
        self.values.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let mut history = History::new(3);
        for value in 0..5 {
            history.push(value);
        }
        assert_eq!(history.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
        history.resize(1);
        assert_eq!((history.last(), history.iter().len()), (Some(&4), 1));
        history.push(5);
        assert_eq!(history.iter().copied().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_history_without_room_keeps_nothing() {
        let mut history = History::new(0);
        history.push(1);
        assert_eq!(history.last(), None);
    }
}
