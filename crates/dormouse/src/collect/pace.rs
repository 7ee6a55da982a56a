//! When an environment's next cycle of samples is due.

use std::time::Duration;

use tokio::time::Instant;

/// From the first sample to the second: two are needed before anything can be told.
const SECOND: Duration = Duration::from_secs(1);

/// The pace of one environment. Environments of one interval begin at different moments of it, so
/// that hundreds of them are not measured at once.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// Where in the interval, of 65,536 parts.
    phase: u16,
    begun: Begun,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Never,
    Once,
    Often,
}

impl Pace {
    /// The first cycle is due at once.
    pub(super) fn new(interval: Duration, seed: u64) -> Self {
        // The golden ratio spreads neighbours far apart.
        let phase = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16;
        Self { interval, phase, begun: Begun::Never, due: Instant::now() }
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// A cycle begins now, whatever was due; answers now.
    pub(super) fn begin(&mut self) -> Instant {
        let now = Instant::now();
        let (begun, wait) = match self.begun {
            Begun::Never => (Begun::Once, SECOND.min(self.interval)),
            Begun::Once => (Begun::Often, self.offset()),
            Begun::Often => (Begun::Often, self.interval),
        };
        self.begun = begun;
        // From when it was due, so that it does not drift; but nothing is made up for.
        self.due = (self.due + wait).max(now + wait / 2);
        now
    }

    /// Takes another interval, at once.
    pub(super) fn change(&mut self, interval: Duration) {
        self.interval = interval;
        self.due = self.due.min(Instant::now() + interval);
    }

    /// From half of the interval to all of it.
    fn offset(&self) -> Duration {
        let half = self.interval / 2;
        half + half.mul_f64(f64::from(self.phase) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_second_cycle_comes_soon_and_the_others_at_their_own_moment_of_the_interval() {
        let mut thirds = std::collections::BTreeSet::new();
        for env in 1..=50 {
            let mut pace = Pace::new(INTERVAL, env);
            let start = pace.begin();
            assert_eq!(pace.due() - start, SECOND);
            sleep_until(pace.due()).await;
            let second = pace.begin();
            let third = pace.due() - second;
            assert!(third >= INTERVAL / 2 && third <= INTERVAL, "{third:?}");
            thirds.insert(third);
            sleep_until(pace.due()).await;
            let now = pace.begin();
            // The clock of a test ticks in milliseconds.
            let wait = pace.due() - now;
            assert!(wait.abs_diff(INTERVAL) < Duration::from_millis(2), "{wait:?}");
        }
        assert!(thirds.len() >= 45, "{} different moments", thirds.len());
    }

    #[tokio::test(start_paused = true)]
    async fn another_interval_counts_at_once() {
        let mut pace = Pace::new(INTERVAL, 1);
        pace.begin();
        pace.begin();
        pace.change(Duration::from_secs(2));
        assert!(pace.due() <= Instant::now() + Duration::from_secs(2));
        pace.begin();
        pace.change(INTERVAL);
        let now = pace.begin();
        assert!(pace.due() >= now + INTERVAL / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_not_made_up_for() {
        let mut pace = Pace::new(INTERVAL, 1);
        pace.begin();
        pace.begin();
        advance(10 * INTERVAL).await;
        let now = pace.begin();
        assert!(pace.due() >= now + INTERVAL / 2, "{:?}", pace.due() - now);
    }
}
