//! Which targets are to be looked at next: one look at a time for each, few at a time in all, and a
//! burst of hints about one target makes one further look.

use std::collections::{BTreeMap, VecDeque};

use dormouse_core::limits;

use crate::Target;

/// The looks that are wanted and those that are under way.
#[derive(Default)]
pub(super) struct Looks {
    waiting: VecDeque<Target>,
    states: BTreeMap<Target, State>,
    under_way: usize,
}

/// Whether what a look shows is worth telling when it is what was known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tell {
    /// Only what differs.
    Differences,
    /// Whatever it is: something happened.
    Always,
}

enum State {
    Waiting(Tell),
    UnderWay { now: Tell, again: Option<Tell> },
}

impl Looks {
    /// Asks for a look that begins after now.
    pub(super) fn want(&mut self, target: &Target, tell: Tell) {
        match self.states.get_mut(target) {
            Some(State::Waiting(wanted)) => *wanted = tell.max(*wanted),
            Some(State::UnderWay { again, .. }) => *again = Some(tell).max(*again),
            None => {
                self.states.insert(target.clone(), State::Waiting(tell));
                self.waiting.push_back(target.clone());
            }
        }
    }

    /// The next look to begin, if there is one and its turn has come.
    pub(super) fn begin(&mut self) -> Option<Target> {
        if self.under_way == limits::ENGINE_LOOKS_MAX {
            return None;
        }
        let target = self.waiting.pop_front()?;
        if let Some(state @ &mut State::Waiting(now)) = self.states.get_mut(&target) {
            *state = State::UnderWay { now, again: None };
        }
        self.under_way += 1;
        Some(target)
    }

    /// A look has ended; says how it is to be told.
    pub(super) fn end(&mut self, target: &Target) -> Tell {
        self.under_way -= 1;
        match self.states.remove(target) {
            Some(State::UnderWay { now, again }) => {
                if let Some(tell) = again {
                    self.want(target, tell);
                }
                now
            }
            Some(State::Waiting(tell)) => tell,
            None => Tell::Differences,
        }
    }

    /// Whether a look at it is wanted or under way.
    pub(super) fn has(&self, target: &Target) -> bool {
        self.states.contains_key(target)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: usize) -> Target {
        Target::new(&n.to_string())
    }

    #[test]
    fn a_burst_makes_one_look_and_one_more_when_the_first_had_begun() {
        let mut looks = Looks::default();
        let one = target(1);
        looks.want(&one, Tell::Differences);
        looks.want(&one, Tell::Always);
        assert_eq!(looks.begin(), Some(one.clone()));
        for _ in 0..5 {
            looks.want(&one, Tell::Differences);
        }
        assert_eq!(looks.begin(), None);
        assert_eq!(looks.end(&one), Tell::Always);
        assert_eq!(looks.begin(), Some(one.clone()));
        assert_eq!(looks.end(&one), Tell::Differences);
        assert_eq!(looks.begin(), None);
        assert!(!looks.has(&one));
    }

    #[test]
    fn few_looks_are_under_way_at_a_time() {
        let mut looks = Looks::default();
        for n in 0..10 {
            looks.want(&target(n), Tell::Always);
        }
        let begun: Vec<Target> = std::iter::from_fn(|| looks.begin()).collect();
        assert_eq!(begun.len(), limits::ENGINE_LOOKS_MAX);
        looks.end(&begun[0]);
        assert_eq!(looks.begin(), Some(target(limits::ENGINE_LOOKS_MAX)));
    }
}
