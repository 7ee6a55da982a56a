//! The counts of one workload.

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_core::lifecycle::WakeCause;
use dormouse_core::policy::Rest;
use dormouse_keeper::WakeTimes;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

/// What one workload has done so far.
#[derive(Default)]
pub(super) struct Tally {
    asleep_since: Option<Instant>,
    slept: Duration,
    /// Absent before the first of it: most of many sleepers were never woken.
    deeds: Option<Box<Deeds>>,
}

/// What only a workload does that is woken.
#[derive(Default)]
pub(super) struct Deeds {
    /// Wakes that ended, by cause and outcome.
    pub(super) wakes: BTreeMap<(&'static str, &'static str), u64>,
    /// Rests that ended, by rest and outcome.
    pub(super) rests: BTreeMap<(&'static str, &'static str), u64>,
    /// How long the parts of its wakes took; absent before the first.
    pub(super) parts: Option<Parts>,
    /// The leases that were told to have been closed, by kind: a counter never goes back.
    closed: [u64; dormouse_keeper::Kind::COUNT],
}

/// How long the parts of wakes took.
pub(super) struct Parts {
    pub(super) needs: Histogram,
    pub(super) start: Histogram,
    pub(super) ready: Histogram,
}

/// Seconds from a quick probe to a slow start.
pub(super) fn short_times() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Tally {
    pub(super) fn moved(&mut self, from: &'static str, to: &'static str) {
        if from == "asleep" {
            self.slept = self.slept();
            self.asleep_since = None;
        }
        if to == "asleep" {
            self.asleep_since = Some(Instant::now());
        }
    }

    pub(super) fn woke(&mut self, cause: WakeCause, outcome: &'static str, times: WakeTimes) {
        let deeds = self.deeds.get_or_insert_default();
        *deeds.wakes.entry((cause.as_str(), outcome)).or_default() += 1;
        let parts = deeds.parts.get_or_insert_with(Parts::new);
        parts.needs.observe(times.needs.as_secs_f64());
        parts.start.observe(times.start.as_secs_f64());
        parts.ready.observe(times.ready.as_secs_f64());
    }

    pub(super) fn rested(&mut self, rest: Rest, outcome: Result<(), ()>) {
        let outcome = if outcome.is_ok() { "rested" } else { "failed" };
        let deeds = self.deeds.get_or_insert_default();
        *deeds.rests.entry((rest.as_str(), outcome)).or_default() += 1;
    }

    /// What it did beside sleeping, where it did anything.
    pub(super) fn deeds(&self) -> Option<&Deeds> {
        self.deeds.as_deref()
    }

    /// How long it has slept, the sleep under way included.
    pub(super) fn slept(&self) -> Duration {
        self.slept + self.asleep_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How many leases of a kind have been closed, where `opened` have been opened and `open` of
    /// them still are. The two are not read at one moment.
    pub(super) fn closed(&mut self, kind: usize, opened: u64, open: u32) -> u64 {
        let closed = opened.saturating_sub(u64::from(open));
        if opened == 0 {
            return 0;
        }
        let told = &mut self.deeds.get_or_insert_default().closed[kind];
        *told = closed.max(*told);
        *told
    }
}

impl Parts {
    fn new() -> Self {
        Self { needs: short_times(), start: short_times(), ready: short_times() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Tally;

    #[tokio::test(start_paused = true)]
    async fn sleep_is_counted_while_it_lasts_and_stays_counted() {
        let mut tally = Tally::default();
        tally.moved("unknown", "asleep");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(tally.slept().as_secs(), 5);
        tally.moved("asleep", "waking");
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(tally.slept().as_secs(), 5);
        tally.moved("settling", "asleep");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(tally.slept().as_secs(), 7);
    }

    #[test]
    fn closed_leases_never_become_fewer() {
        let mut tally = Tally::default();
        assert_eq!(tally.closed(0, 10, 0), 10);
        assert_eq!(tally.closed(0, 10, 5), 10);
        assert_eq!(tally.closed(0, 16, 5), 11);
    }
}
