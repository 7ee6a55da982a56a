//! How a watch probes: its settings, and what is wrong with them.

use std::time::Duration;

use crate::backoff::{Backoff, Multiplier};
use crate::limits;

/// What an owner may set. The defaults are a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The wait after the first failed probe.
    pub initial_delay: Duration,
    /// The longest wait between two probes that are not polls.
    pub max_delay: Duration,
    /// By how much each wait is longer than the one before, at least 1.
    pub multiplier: f64,
    /// Probes of a service that has not been reached yet before it counts as down, and quick
    /// re-probes after a fall, before polling; at least 1.
    pub max_retries: u32,
    /// The wait between two polls.
    pub poll_interval: Duration,
    /// How long one probe may take.
    pub probe_timeout: Duration,
    /// Failures in a row that take a service down, at least 1.
    pub fall: u32,
    /// Successes in a row that bring a service up, at least 1.
    pub rise: u32,
}

/// Settings that have been found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The waits before retries.
    pub(super) backoff: Backoff,
    pub(super) max_retries: u32,
    pub(super) poll_interval: Duration,
    pub(super) probe_timeout: Duration,
    pub(super) fall: u32,
    pub(super) rise: u32,
}

/// What is wrong with one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Waits would shrink, or it is not a number.
    #[error("multiplier must be a number from 1 to 1000")]
    Multiplier,
    /// The first wait would be cut at once.
    #[error("initial_delay is longer than max_delay")]
    InitialDelayAboveMax,
    /// No time at all, or so long that it is no time any more.
    #[error("{key} must be longer than nothing and at most 7 days")]
    Time {
        /// Which.
        key: &'static str,
    },
    /// No try at all, or too many.
    #[error("{key} must be from 1 to 10000")]
    Count {
        /// Which.
        key: &'static str,
    },
}

impl Settings {
    /// The policy that these settings are.
    ///
    /// # Errors
    /// With every flaw, in the order of the settings.
    pub fn validated(self) -> Result<Policy, Vec<Flaw>> {
        let flaws = self.flaws();
        match Multiplier::nearest(self.multiplier) {
            Some(multiplier) if flaws.is_empty() => Ok(Policy {
                backoff: Backoff { first: self.initial_delay, longest: self.max_delay, multiplier },
                max_retries: self.max_retries,
                poll_interval: self.poll_interval,
                probe_timeout: self.probe_timeout,
                fall: self.fall,
                rise: self.rise,
            }),
            Some(_) | None => Err(flaws),
        }
    }

    fn flaws(&self) -> Vec<Flaw> {
        let times = [
            ("initial_delay", self.initial_delay),
            ("max_delay", self.max_delay),
            ("poll_interval", self.poll_interval),
            ("probe_timeout", self.probe_timeout),
        ];
        let counts = [("max_retries", self.max_retries), ("fall", self.fall), ("rise", self.rise)];
        let mut flaws = Vec::new();
        // The core counts time in microseconds; a shorter one would be none.
        let possible = Duration::from_millis(1)..=limits::WATCH_TIME_MAX;
        flaws.extend(
            times
                .into_iter()
                .filter(|(_, time)| !possible.contains(time))
                .map(|(key, _)| Flaw::Time { key }),
        );
        if self.initial_delay > self.max_delay {
            flaws.push(Flaw::InitialDelayAboveMax);
        }
        if Multiplier::nearest(self.multiplier).is_none() {
            flaws.push(Flaw::Multiplier);
        }
        flaws.extend(
            counts
                .into_iter()
                .filter(|(_, count)| !(1..=limits::WATCH_COUNT_MAX).contains(count))
                .map(|(key, _)| Flaw::Count { key }),
        );
        flaws
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(2),
            max_delay: Duration::from_secs(60),
            multiplier: 2.0,
            max_retries: 10,
            poll_interval: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(10),
            fall: 2,
            rise: 1,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Settings::default().validated().expect("the defaults have no flaw; a test holds it")
    }
}

impl Policy {
    /// How long one probe may take.
    pub fn probe_timeout(&self) -> Duration {
        self.probe_timeout
    }
}

impl Flaw {
    /// The setting to change.
    pub fn key(self) -> &'static str {
        match self {
            Self::Multiplier => "multiplier",
            Self::InitialDelayAboveMax => "initial_delay",
            Self::Time { key } | Self::Count { key } => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: Settings) -> Vec<&'static str> {
        settings
            .validated()
            .map_or_else(|flaws| flaws.into_iter().map(Flaw::key).collect(), |_| vec![])
    }

    #[test]
    fn the_defaults_are_a_policy() {
        assert!(Settings::default().validated().is_ok());
        assert_eq!(Policy::default().probe_timeout(), Duration::from_secs(10));
    }

    #[test]
    fn every_flaw_is_told_at_once_with_its_key() {
        let settings = Settings {
            initial_delay: Duration::ZERO,
            max_delay: limits::WATCH_TIME_MAX + Duration::from_secs(1),
            multiplier: 0.99,
            max_retries: 0,
            poll_interval: Duration::ZERO,
            probe_timeout: Duration::from_nanos(1),
            fall: 0,
            rise: limits::WATCH_COUNT_MAX + 1,
        };
        let all = [
            "initial_delay",
            "max_delay",
            "poll_interval",
            "probe_timeout",
            "multiplier",
            "max_retries",
            "fall",
            "rise",
        ];
        assert_eq!(keys(settings), all);
    }

    #[test]
    fn an_initial_delay_above_the_maximum_is_a_flaw_and_one_equal_to_it_is_not() {
        let second = Duration::from_secs(1);
        let equal = Settings { initial_delay: second, max_delay: second, ..Settings::default() };
        assert_eq!(keys(equal), [""; 0]);
        let above = Settings { max_delay: second, ..Settings::default() };
        assert_eq!(above.validated(), Err(vec![Flaw::InitialDelayAboveMax]));
    }

    #[test]
    fn a_multiplier_that_is_not_a_number_is_a_flaw() {
        for multiplier in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(keys(Settings { multiplier, ..Settings::default() }), ["multiplier"]);
        }
    }
}
