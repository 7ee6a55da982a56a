//! What runs now, kept from events and set right by listings, so that no listing is needed for a
//! cycle of samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Metered, RawEvent, RunChange, Running};

/// What runs now, each with a number that is another one after each start that was heard of.
#[derive(Debug, Default)]
pub struct RunningSet {
    runs: BTreeMap<Arc<str>, u64>,
    last_run: u64,
    /// What was heard since the listing under way began: it is newer than the listing.
    heard: Option<Vec<(Arc<str>, RunChange)>>,
}

/// Whether every event since the last listing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// What is still listed is still the same run.
    Unbroken,
    /// Anything may have been started anew.
    Broken,
}

impl RunningSet {
    /// Says that a listing begins: whatever is heard from here on is newer than what it shows.
    pub fn begin_listing(&mut self) {
        self.heard = Some(Vec::new());
    }

    /// Takes a complete listing for the truth, and what was heard since it began for newer.
    pub fn install(&mut self, listing: &[Running], continuity: Continuity) {
        let before = std::mem::take(&mut self.runs);
        for running in listing {
            let kept = match continuity {
                Continuity::Unbroken => before.get(&running.id).copied(),
                Continuity::Broken => None,
            };
            let run = kept.unwrap_or_else(|| self.next_run());
            self.runs.insert(Arc::clone(&running.id), run);
        }
        for (id, change) in self.heard.take().unwrap_or_default() {
            self.apply(&id, change, before.get(&id).copied());
        }
    }

    /// Takes an event for what it says.
    pub fn hear(&mut self, event: &RawEvent) {
        let Some(change) = event.change else { return };
        self.apply(&event.id, change, None);
        if let Some(heard) = &mut self.heard {
            heard.push((Arc::clone(&event.id), change));
        }
    }

    /// Takes one out that turned out not to run; what was started anew meanwhile stays.
    pub fn forget(&mut self, metered: &Metered) {
        if self.runs.get(&metered.reference) == Some(&metered.run) {
            self.runs.remove(&metered.reference);
        }
    }

    /// Everything that runs, for [`super::Meter::sample`].
    pub fn metered(&self) -> impl ExactSizeIterator<Item = Metered> {
        self.runs.iter().map(|(id, run)| Metered { reference: Arc::clone(id), run: *run })
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// `known` is the run that a start was already counted as, when it is applied a second time.
    fn apply(&mut self, id: &Arc<str>, change: RunChange, known: Option<u64>) {
        match change {
            RunChange::Began => {
                let run = known.unwrap_or_else(|| self.next_run());
                self.runs.insert(Arc::clone(id), run);
            }
            RunChange::Ended => {
                self.runs.remove(id);
            }
        }
    }

    fn next_run(&mut self) -> u64 {
        self.last_run += 1;
        self.last_run
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn running(ids: &[&str]) -> Vec<Running> {
        let one = |id: &&str| Running { id: (*id).into(), name: String::new() };
        ids.iter().map(one).collect()
    }

    fn event(id: &str, change: RunChange) -> RawEvent {
        RawEvent { time_nanos: 1, id: id.into(), change: Some(change), line: Bytes::new() }
    }

    fn ids(set: &RunningSet) -> Vec<String> {
        set.metered().map(|metered| metered.reference.to_string()).collect()
    }

    fn run_of(set: &RunningSet, id: &str) -> u64 {
        set.metered().find(|metered| &*metered.reference == id).expect("it runs").run
    }

    #[test]
    fn a_start_that_was_heard_of_is_another_run() {
        let mut set = RunningSet::default();
        set.install(&running(&["a", "b"]), Continuity::Unbroken);
        let (a, b) = (run_of(&set, "a"), run_of(&set, "b"));
        set.hear(&event("a", RunChange::Ended));
        assert_eq!(ids(&set), ["b"]);
        set.hear(&event("a", RunChange::Began));
        assert_ne!(run_of(&set, "a"), a);
        assert_eq!(run_of(&set, "b"), b);
    }

    #[test]
    fn a_listing_keeps_runs_unless_starts_may_have_been_missed() {
        let mut set = RunningSet::default();
        set.install(&running(&["a"]), Continuity::Unbroken);
        let run = run_of(&set, "a");
        set.install(&running(&["a", "b"]), Continuity::Unbroken);
        assert_eq!(run_of(&set, "a"), run);
        set.install(&running(&["a"]), Continuity::Broken);
        assert_ne!(run_of(&set, "a"), run);
        assert_eq!(ids(&set), ["a"]);
    }

    #[test]
    fn what_was_heard_while_a_listing_was_under_way_is_newer_than_it() {
        let mut set = RunningSet::default();
        set.install(&running(&["ends"]), Continuity::Unbroken);
        set.begin_listing();
        set.hear(&event("ends", RunChange::Ended));
        set.hear(&event("begins", RunChange::Began));
        let run = run_of(&set, "begins");
        set.install(&running(&["ends", "other"]), Continuity::Unbroken);
        assert_eq!(ids(&set), ["begins", "other"]);
        assert_eq!(run_of(&set, "begins"), run, "the same start is not counted twice");
    }

    #[test]
    fn one_that_was_started_anew_is_not_forgotten_for_its_last_run() {
        let mut set = RunningSet::default();
        set.install(&running(&["a"]), Continuity::Unbroken);
        let ended = set.metered().next().expect("it runs");
        set.hear(&event("a", RunChange::Began));
        set.forget(&ended);
        assert_eq!(ids(&set), ["a"]);
        let now = set.metered().next().expect("it runs");
        set.forget(&now);
        assert!(set.is_empty());
    }
}
