//! What holds for any phase, any facts and any event whatsoever, reachable or not.

mod arbitrary;
mod fleets;
mod steps;
mod usage;
mod watches;

use std::time::Duration;

use dormouse_core::backoff::{Backoff, Multiplier};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_backoff_never_shrinks_and_never_exceeds_its_longest_wait(
        first in 1_u64..10_000, longest in 1_u64..1_000_000, by in 1.0..1_000.0, n in 0_u32..1_000,
        jitter: u16,
    ) {
        let backoff = Backoff {
            first: Duration::from_millis(first),
            longest: Duration::from_millis(longest),
            multiplier: Multiplier::nearest(by).unwrap(),
        };
        prop_assert!(backoff.delay(n) <= backoff.delay(n + 1));
        prop_assert!(backoff.delay(n) <= backoff.longest);
        prop_assert!(backoff.jittered(n, jitter) <= backoff.delay(n));
        prop_assert!(backoff.jittered(n, jitter) >= backoff.delay(n) / 2);
        prop_assert!(backoff.fully_jittered(n, jitter) <= backoff.delay(n));
        prop_assert!(n == 0 || backoff.jittered(n, jitter) > Duration::ZERO);
    }
}
