//! Who is sampled in a round: what the last listing showed and what has been heard since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::usage::RawSample;
use dormouse_providers::{FeedItem, Found, Metered, Running, Target};
use tokio::time::Instant;

/// How long a listing is believed, with what was heard since.
const LIST_EVERY: Duration = Duration::from_secs(300);

/// What runs, what it was measured at last, and what has been heard of it.
#[derive(Default)]
pub(super) struct Guests {
    known: BTreeMap<Target, Guest>,
    /// Whether something began or ended since the last listing began.
    is_stale: bool,
    /// What began since then.
    began: BTreeSet<Target>,
    /// What is frozen.
    paused: BTreeSet<Target>,
    listed: Option<Instant>,
    runs: u64,
}

/// One thing that runs.
pub(super) struct Guest {
    metered: Metered,
    last: Option<RawSample>,
}

impl Guests {
    /// Takes what a feed says for what it means here.
    pub(super) fn hear(&mut self, item: &FeedItem) {
        match item {
            FeedItem::Listed(found) => self.note_pause(found),
            FeedItem::Changed(found) => {
                self.note_pause(found);
                self.is_stale = true;
                if matches!(found.sighting.condition, Condition::Running { .. })
                    && self.known.get(&found.target).is_none_or(|guest| guest.last.is_none())
                {
                    self.began.insert(found.target.clone());
                }
                if found.sighting.condition.run().is_none() {
                    // What runs under that name from here on is another run.
                    self.known.remove(&found.target);
                    self.began.insert(found.target.clone());
                }
            }
            // Whatever was heard before may have been missed in part.
            FeedItem::Resync => {
                self.is_stale = true;
                self.paused.clear();
            }
            FeedItem::ResyncDone | FeedItem::Lost { .. } => {}
        }
    }

    /// Whether a listing is needed before the next round.
    pub(super) fn needs_listing(&self, now: Instant) -> bool {
        self.is_stale || self.listed.is_none_or(|at| now.duration_since(at) >= LIST_EVERY)
    }

    /// A listing begins: what is heard from here on is newer.
    pub(super) fn begin_listing(&mut self) {
        self.is_stale = false;
    }

    /// The listing brought nothing: what was to be learnt from it is not known.
    pub(super) fn listing_failed(&mut self) {
        self.is_stale = true;
    }

    /// Takes a listing for the truth.
    pub(super) fn install(&mut self, listing: Vec<Running>, now: Instant) {
        let mut before = std::mem::take(&mut self.known);
        for running in listing {
            let target = Target::new(&running.name);
            let kept = before.remove(&target).filter(|guest| {
                guest.metered.reference == running.id && !self.began.contains(&target)
            });
            let guest = kept.unwrap_or_else(|| {
                self.runs += 1;
                Guest { metered: Metered { reference: running.id, run: self.runs }, last: None }
            });
            self.known.insert(target, guest);
        }
        self.began.clear();
        self.listed = Some(now);
    }

    /// Everything to sample, in one order with [`Self::targets`].
    pub(super) fn metered(&self) -> Vec<Metered> {
        self.known.values().map(|guest| guest.metered.clone()).collect()
    }

    /// Their names.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.known.keys().cloned().collect()
    }

    pub(super) fn is_paused(&self, target: &Target) -> bool {
        self.paused.contains(target)
    }

    /// Remembers a sample and hands back the one before it, of the same run.
    pub(super) fn replace(
        &mut self,
        target: &Target,
        metered: &Metered,
        sample: RawSample,
    ) -> Option<RawSample> {
        let guest = self.known.get_mut(target).filter(|guest| guest.metered == *metered)?;
        guest.last.replace(sample)
    }

    /// It turned out not to run.
    pub(super) fn forget(&mut self, target: &Target) {
        self.known.remove(target);
        self.is_stale = true;
    }

    fn note_pause(&mut self, found: &Found) {
        if matches!(found.sighting.condition, Condition::Paused { .. }) {
            self.paused.insert(found.target.clone());
        } else {
            self.paused.remove(&found.target);
        }
    }
}

#[cfg(test)]
mod tests {
    use dormouse_core::observation::{Health, RunId};
    use dormouse_providers::Sighting;

    use super::*;

    fn running(names: &[&str]) -> Vec<Running> {
        let one =
            |name: &&str| Running { id: format!("id-{name}").into(), name: (*name).to_owned() };
        names.iter().map(one).collect()
    }

    fn changed(name: &str, condition: Condition) -> FeedItem {
        let mut sighting = Sighting::absent(Instant::now());
        sighting.condition = condition;
        FeedItem::Changed(Found { target: Target::new(name), labels: BTreeMap::new(), sighting })
    }

    fn runs() -> Condition {
        Condition::Running { run: RunId(1), health: Health::Undeclared }
    }

    fn sampled(guests: &mut Guests, name: &str) -> Option<RawSample> {
        let target = Target::new(name);
        let index = guests.targets().iter().position(|it| *it == target).expect("it runs");
        let metered = guests.metered().remove(index);
        guests.replace(&target, &metered, RawSample { cpu_nanos: 7, ..RawSample::default() })
    }

    #[test]
    fn nothing_is_measured_across_two_runs() {
        let mut guests = Guests::default();
        let now = Instant::now();
        guests.install(running(&["a", "b"]), now);
        assert_eq!(sampled(&mut guests, "a"), None, "there is nothing before the first sample");
        assert!(sampled(&mut guests, "a").is_some());
        assert!(!guests.needs_listing(now));
        sampled(&mut guests, "b");
        guests.hear(&changed("a", Condition::Stopped { exit_code: Some(0) }));
        guests.hear(&changed("a", runs()));
        assert!(guests.needs_listing(now));
        guests.begin_listing();
        guests.install(running(&["a", "b"]), now);
        assert_eq!(sampled(&mut guests, "a"), None, "it is another run");
        assert!(sampled(&mut guests, "b").is_some());
    }

    #[test]
    fn what_was_heard_while_a_listing_was_under_way_asks_for_another() {
        let mut guests = Guests::default();
        let now = Instant::now();
        guests.begin_listing();
        guests.hear(&changed("a", runs()));
        guests.install(running(&[]), now);
        assert!(guests.needs_listing(now));
    }

    #[test]
    fn a_pause_is_remembered_until_it_ends() {
        let mut guests = Guests::default();
        let target = Target::new("a");
        guests.hear(&changed("a", Condition::Paused { run: RunId(1) }));
        assert!(guests.is_paused(&target));
        guests.hear(&changed("a", runs()));
        assert!(!guests.is_paused(&target));
    }

    #[test]
    fn a_listing_is_taken_anew_after_a_while() {
        let mut guests = Guests::default();
        let now = Instant::now();
        assert!(guests.needs_listing(now));
        guests.install(running(&[]), now);
        assert!(!guests.needs_listing(now + LIST_EVERY / 2));
        assert!(guests.needs_listing(now + LIST_EVERY));
    }
}
