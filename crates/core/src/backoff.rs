//! Backoff as arithmetic: how long to wait before the n-th retry.

use std::fmt;
use std::time::Duration;

/// Growing waits between a first and a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub first: Duration,
    /// No wait is longer, jitter included.
    pub longest: Duration,
    /// By how much each wait is longer than the one before.
    pub multiplier: Multiplier,
}

/// A factor of at least one, in thousandths, so that equal factors are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Multiplier {
    thousandths: u32,
}

/// A deterministic source of jitter (SplitMix64): the same seed draws the same numbers.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Backoff {
    /// Waits that double.
    pub const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, longest, multiplier: Multiplier::DOUBLE }
    }

    /// The wait before retry `n`, counted from 1. No retry waits for nothing; `n` of zero does.
    pub fn delay(self, n: u32) -> Duration {
        if n == 0 {
            return Duration::ZERO;
        }
        let seconds = self.first.as_secs_f64() * self.multiplier.power(n - 1);
        Duration::try_from_secs_f64(seconds).map_or(self.longest, |delay| delay.min(self.longest))
    }

    /// The same wait, drawn evenly from its upper half by `jitter` in 0..=65,535.
    pub fn jittered(self, n: u32, jitter: u16) -> Duration {
        let half = self.delay(n) / 2;
        half + half.mul_f64(fraction(jitter))
    }

    /// The same wait with full jitter: drawn evenly between nothing and the whole of it, so that
    /// many who lost the same thing at the same moment do not come back at the same moment.
    pub fn fully_jittered(self, n: u32, jitter: u16) -> Duration {
        self.delay(n).mul_f64(fraction(jitter))
    }
}

impl Multiplier {
    /// The same wait each time.
    pub const ONE: Self = Self { thousandths: 1_000 };
    /// Each wait twice the one before.
    pub const DOUBLE: Self = Self { thousandths: 2_000 };

    /// The nearest multiplier to a number; none for a number below one or beyond a thousand, and
    /// for what is not a number.
    pub fn nearest(number: f64) -> Option<Self> {
        let known = (1.0..=1_000.0).contains(&number);
        known.then(|| Self { thousandths: (number * 1_000.0).round() as u32 })
    }

    /// By squaring, in plain multiplications: the same bits on every machine.
    fn power(self, mut exponent: u32) -> f64 {
        let mut base = f64::from(self.thousandths) / 1_000.0;
        let mut power = 1.0;
        while exponent > 0 {
            if exponent % 2 == 1 {
                power *= base;
            }
            base *= base;
            exponent /= 2;
        }
        power
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.thousandths) / 1_000.0)
    }
}

impl Jitter {
    /// A source that is at its beginning.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u16::try_from((z ^ (z >> 31)) & 0xFFFF).expect("sixteen bits fit")
    }
}

fn fraction(jitter: u16) -> f64 {
    f64::from(jitter) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(2), Duration::from_secs(60));

    fn seconds(backoff: Backoff, retries: std::ops::Range<u32>) -> Vec<f64> {
        retries.map(|n| backoff.delay(n).as_secs_f64()).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!(seconds(BACKOFF, 0..8), [0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(BACKOFF.delay(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn waits_grow_by_the_multiplier() {
        let half_more = Multiplier::nearest(1.5).unwrap();
        let gentle = Backoff { multiplier: half_more, ..BACKOFF };
        assert_eq!(seconds(gentle, 1..6), [2.0, 3.0, 4.5, 6.75, 10.125]);
        let steady = Backoff { multiplier: Multiplier::ONE, ..BACKOFF };
        assert_eq!(seconds(steady, 1..4), [2.0, 2.0, 2.0]);
        assert_eq!(steady.delay(u32::MAX).as_secs(), 2);
    }

    #[test]
    fn only_numbers_from_one_to_a_thousand_multiply() {
        for number in [0.999, 0.0, -2.0, 1_000.5, f64::NAN, f64::INFINITY] {
            assert_eq!(Multiplier::nearest(number), None, "{number}");
        }
        assert_eq!(Multiplier::nearest(2.0), Some(Multiplier::DOUBLE));
        assert_eq!(Multiplier::nearest(1.25).unwrap().to_string(), "1.25");
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        assert_eq!(BACKOFF.jittered(2, 0), Duration::from_secs(2));
        assert_eq!(BACKOFF.jittered(2, u16::MAX), Duration::from_secs(4));
    }

    #[test]
    fn full_jitter_takes_the_whole_wait() {
        assert_eq!(BACKOFF.fully_jittered(2, 0), Duration::ZERO);
        assert_eq!(BACKOFF.fully_jittered(2, u16::MAX), Duration::from_secs(4));
    }

    #[test]
    fn equal_seeds_draw_equal_jitter_that_covers_its_range() {
        let (mut one, mut other) = (Jitter::new(9), Jitter::new(9));
        let drawn: Vec<u16> = (0..1_000).map(|_| one.draw()).collect();
        assert!(drawn.iter().all(|jitter| *jitter == other.draw()));
        assert!(drawn.iter().any(|jitter| *jitter < 2_000));
        assert!(drawn.iter().any(|jitter| *jitter > 63_000));
    }
}
