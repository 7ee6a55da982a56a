//! What a workload is measured to do, and below which of that it counts as doing nothing.
//!
//! A load above the bound is a use like a request: it happened when the reading began. A reading that
//! is missing changes nothing: what was busy when it was last measured is still taken for busy, what
//! was quiet for quiet, and where nothing was ever measured since the workload became ready, leases
//! alone decide. So silence neither wakes a reason to stay nor takes one away.

use std::fmt;

use crate::time::Timestamp;

/// Below which load a workload counts as idle. Nothing is looked at where neither is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IdleBelow {
    /// Thousandths of a percent of one processor.
    pub cpu_millipercent: Option<u32>,
    /// Bytes a second over its network, both ways together.
    pub net_bytes: Option<u64>,
}

/// What a workload was measured to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// When the reading began, on the keeper's clock.
    pub as_of: Timestamp,
    /// Thousandths of a percent of one processor.
    pub cpu_millipercent: u32,
    /// Bytes a second over its network, both ways together; absent where nobody counts them.
    pub net_bytes: Option<u64>,
}

/// What all readings since the workload became ready mean together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSeen {
    /// The last reading.
    pub last: Option<Load>,
    /// When it was last busy.
    pub busy_at: Option<Timestamp>,
}

impl IdleBelow {
    /// Whether no load counts as use.
    pub fn is_off(self) -> bool {
        self.cpu_millipercent.is_none() && self.net_bytes.is_none()
    }

    /// Whether this load is a use.
    pub fn is_busy(self, load: Load) -> bool {
        let cpu = self.cpu_millipercent.is_some_and(|below| load.cpu_millipercent >= below);
        let net = self.net_bytes.zip(load.net_bytes).is_some_and(|(below, net)| net >= below);
        cpu || net
    }
}

impl LoadSeen {
    /// Takes a reading in; an older one than the last says nothing.
    pub fn see(&mut self, load: Load, below: IdleBelow) {
        if self.last.is_some_and(|last| last.as_of > load.as_of) {
            return;
        }
        self.last = Some(load);
        if below.is_busy(load) {
            self.busy_at = Some(load.as_of);
        }
    }

    /// Whether it was busy when it was last measured.
    pub fn is_busy(&self, below: IdleBelow) -> bool {
        self.last.is_some_and(|last| below.is_busy(last))
    }

    /// When it was last used by what it does; the beginning of time where it was not.
    pub fn last_use(&self, below: IdleBelow) -> Timestamp {
        if below.is_off() { Timestamp::ZERO } else { self.busy_at.unwrap_or_default() }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, rest) = (self.cpu_millipercent / 1_000, self.cpu_millipercent % 1_000 / 100);
        write!(f, "{percent}.{rest} % of a processor")?;
        match self.net_bytes {
            Some(bytes) => write!(f, " and {bytes} bytes of network a second"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELOW: IdleBelow = IdleBelow { cpu_millipercent: Some(5_000), net_bytes: Some(1_024) };

    fn load(at_ms: u64, cpu_millipercent: u32, net_bytes: Option<u64>) -> Load {
        Load { as_of: Timestamp::from_millis(at_ms), cpu_millipercent, net_bytes }
    }

    #[test]
    fn either_bound_is_enough_and_what_is_not_counted_is_no_use() {
        let cases = [
            (4_999, Some(1_023), false),
            (5_000, Some(0), true),
            (0, Some(1_024), true),
            (4_999, None, false),
        ];
        for (cpu, net, busy) in cases {
            assert_eq!(BELOW.is_busy(load(1, cpu, net)), busy, "{cpu} {net:?}");
        }
        assert!(!IdleBelow::default().is_busy(load(1, u32::MAX, Some(u64::MAX))));
        assert!(IdleBelow::default().is_off() && !BELOW.is_off());
    }

    #[test]
    fn a_late_reading_says_nothing_and_a_quiet_one_remembers_the_last_use() {
        let mut seen = LoadSeen::default();
        assert!(!seen.is_busy(BELOW));
        seen.see(load(10, 9_000, None), BELOW);
        seen.see(load(5, 0, None), BELOW);
        assert!(seen.is_busy(BELOW));
        seen.see(load(20, 0, None), BELOW);
        assert!(!seen.is_busy(BELOW));
        assert_eq!(seen.last_use(BELOW), Timestamp::from_millis(10));
        assert_eq!(seen.last_use(IdleBelow::default()), Timestamp::ZERO);
    }

    #[test]
    fn a_load_is_said_in_percent_of_a_processor() {
        assert_eq!(load(0, 40_250, None).to_string(), "40.2 % of a processor");
        let with_network = load(0, 50, Some(7)).to_string();
        assert_eq!(with_network, "0.0 % of a processor and 7 bytes of network a second");
    }
}
