//! Backoff as arithmetic: how long to wait before the n-th retry.

use std::time::Duration;

/// Doubling waits between a first and a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub first: Duration,
    /// No wait is longer, jitter included.
    pub longest: Duration,
}

impl Backoff {
    /// The wait before retry `n`, counted from 1. No retry waits for nothing; `n` of zero does.
    pub fn delay(self, n: u32) -> Duration {
        if n == 0 {
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(n - 1).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The same wait, drawn evenly from its upper half by `jitter` in 0..=65,535.
    pub fn jittered(self, n: u32, jitter: u16) -> Duration {
        let delay = self.delay(n);
        let half = delay / 2;
        half + half.mul_f64(f64::from(jitter) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds: Vec<u64> = (0..8).map(|n| BACKOFF.delay(n).as_secs()).collect();
        assert_eq!(seconds, [0, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.delay(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        assert_eq!(BACKOFF.jittered(2, 0), Duration::from_secs(2));
        assert_eq!(BACKOFF.jittered(2, u16::MAX), Duration::from_secs(4));
    }
}
