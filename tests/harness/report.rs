//! What an invariant of trust says of itself: one line with the seed, how much was tried, how much
//! of it failed, and what was counted.

use std::fmt::Display;

use super::dice::{self, Dice};

/// The scale in full of what names no N.
pub(crate) const UNNAMED: usize = 4;
/// Failures that are shown whole.
const SHOWN: usize = 20;

/// The counts of one invariant. [`Self::finish`] prints them and decides.
#[must_use = "a report that is not finished decides nothing"]
pub(crate) struct Report {
    invariant: &'static str,
    seed: u64,
    n: usize,
    failures: Vec<String>,
}

/// How many times more than the test command does is to be tried: `DORMOUSE_TRUST_SCALE`, or 1. Where
/// it is `full`, this is `full`: with it N is that which the invariant names.
///
/// # Panics
/// When the env var is neither that nor a whole number above zero.
pub(crate) fn scale(full: usize) -> usize {
    let scale = match std::env::var("DORMOUSE_TRUST_SCALE") {
        Ok(scale) if scale == "full" => full,
        Ok(scale) => scale.parse().unwrap(),
        Err(_) => 1,
    };
    assert!(scale > 0, "DORMOUSE_TRUST_SCALE is 0");
    scale
}

impl Report {
    /// Of an invariant, such as `R03`, with the seed of this run.
    pub(crate) fn of(invariant: &'static str) -> Self {
        Self { invariant, seed: dice::seed(), n: 0, failures: Vec::new() }
    }

    /// Chance that follows from the seed of this run.
    pub(crate) fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }

    /// The seed of this run.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Counts one case, and why it failed where it did.
    pub(crate) fn case(&mut self, outcome: Result<(), impl Display>) {
        self.n += 1;
        self.failures.extend(outcome.err().map(|why| why.to_string()));
    }

    /// Counts many cases.
    pub(crate) fn cases(&mut self, outcomes: impl IntoIterator<Item = Result<(), impl Display>>) {
        outcomes.into_iter().for_each(|outcome| self.case(outcome));
    }

    /// Prints the line; `counted` says what a case was and what else was seen.
    ///
    /// # Panics
    /// When a case failed, and when nothing was tried.
    pub(crate) fn finish(self, counted: impl Display) {
        let Self { invariant, seed, n, failures } = self;
        println!("{invariant} seed={seed} n={n} failures={} ({counted})", failures.len());
        for failure in failures.iter().take(SHOWN) {
            println!("{invariant}: {failure}");
        }
        assert!(n > 0, "{invariant}: nothing was tried");
        assert!(failures.is_empty(), "{invariant}: {} of {n} failed", failures.len());
    }
}
