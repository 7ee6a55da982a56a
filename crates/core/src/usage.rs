//! What workloads use: rates out of two raw readings of ever-growing counters, sums over an
//! environment, and a bounded history of them.
//!
//! A rate needs two readings of the same start of the same thing. Where a counter has gone back,
//! where no time has passed, and where there is only one reading, there is no rate: nothing is
//! made up for it.

mod history;

pub use self::history::History;

const NANOS_PER_SECOND: f64 = 1e9;
/// How far a quotient may lie above what the processors can do before it is no measurement. The
/// counters tick: over a short while both ends can be off by a tick.
const CPU_SLACK: f64 = 1.5;

/// One reading of the counters of one run of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSample {
    /// When it was read, on the reader's clock; only differences mean anything.
    pub wall_nanos: u64,
    /// Processor time since the start of the run.
    pub cpu_nanos: u64,
    /// Processor time of the whole host by then, idle time included. Absent where the runtime says
    /// nothing of the host: wall time stands in for it.
    pub host_cpu_nanos: Option<u64>,
    /// Processors that are online.
    pub cpus: u32,
    /// Memory charged to it, caches included.
    pub memory_bytes: u64,
    /// The part of that which is cache and given back when somebody needs it.
    pub cache_bytes: u64,
    /// Over its network interfaces, loopback left out.
    pub network: Option<Traffic>,
    /// To and from block devices.
    pub disk: Option<Traffic>,
}

/// Bytes both ways since the start of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received, or read.
    pub in_bytes: u64,
    /// Sent, or written.
    pub out_bytes: u64,
}

/// Bytes a second both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Received, or read, a second.
    pub in_bytes: f64,
    /// Sent, or written, a second.
    pub out_bytes: f64,
}

/// What something used between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Percent of one processor: 0 to 100 for each that is online.
    pub cpu_percent: f64,
    /// Memory at the second reading, without what is only cache.
    pub memory_bytes: u64,
    /// Absent where one of the readings has none.
    pub network: Option<Rates>,
    /// Absent where one of the readings has none.
    pub disk: Option<Rates>,
}

/// What everything of an environment used together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many are in the sums.
    pub counted: usize,
    /// Percent of one processor.
    pub cpu_percent: f64,
    /// Memory, without what is only cache.
    pub memory_bytes: u64,
    /// Of those that have a network.
    pub network: Rates,
    /// Of those that say what they read and write.
    pub disk: Rates,
}

impl RawSample {
    /// Whether nothing was read: what ends leaves an empty frame behind, and zeroes would pass for
    /// a counter that has gone back or a memory that was given back.
    pub fn is_empty(&self) -> bool {
        self.cpu_nanos == 0 && self.memory_bytes == 0
    }

    /// Memory without what is only cache. A cache that cannot be part of it is left out of the sum.
    pub fn used_bytes(&self) -> u64 {
        if self.cache_bytes < self.memory_bytes {
            self.memory_bytes - self.cache_bytes
        } else {
            self.memory_bytes
        }
    }

    /// Percent of one processor used since `before`, a reading of the same run.
    pub fn cpu_percent_since(&self, before: &Self) -> Option<f64> {
        let used = self.cpu_nanos.checked_sub(before.cpu_nanos)?;
        let offered = match (self.host_cpu_nanos, before.host_cpu_nanos) {
            (Some(after), Some(before)) => after.checked_sub(before)?,
            (Some(_), None) | (None, Some(_) | None) => {
                self.wall_since(before)?.checked_mul(u64::from(self.cpus))?
            }
        };
        if offered == 0 || self.cpus == 0 {
            return None;
        }
        let ceiling = 100.0 * f64::from(self.cpus);
        let percent = used as f64 / offered as f64 * ceiling;
        (percent <= ceiling * CPU_SLACK).then(|| percent.min(ceiling))
    }

    /// Everything used since `before`, a reading of the same run; nothing where either of the two
    /// is no reading at all.
    pub fn usage_since(&self, before: &Self) -> Option<Usage> {
        if self.is_empty() || before.is_empty() {
            return None;
        }
        let wall_nanos = self.wall_since(before)?;
        Some(Usage {
            cpu_percent: self.cpu_percent_since(before)?,
            memory_bytes: self.used_bytes(),
            network: Traffic::rates(self.network, before.network, wall_nanos),
            disk: Traffic::rates(self.disk, before.disk, wall_nanos),
        })
    }

    fn wall_since(&self, before: &Self) -> Option<u64> {
        self.wall_nanos.checked_sub(before.wall_nanos).filter(|nanos| *nanos > 0)
    }
}

impl Traffic {
    fn rates(after: Option<Self>, before: Option<Self>, wall_nanos: u64) -> Option<Rates> {
        let (after, before) = (after?, before?);
        let rate = |after: u64, before: u64| {
            let bytes = after.checked_sub(before)?;
            Some(bytes as f64 / (wall_nanos as f64 / NANOS_PER_SECOND))
        };
        Some(Rates {
            in_bytes: rate(after.in_bytes, before.in_bytes)?,
            out_bytes: rate(after.out_bytes, before.out_bytes)?,
        })
    }
}

impl Rates {
    /// Both ways together.
    pub fn total_bytes(&self) -> f64 {
        self.in_bytes + self.out_bytes
    }

    fn add(&mut self, other: Self) {
        self.in_bytes += other.in_bytes;
        self.out_bytes += other.out_bytes;
    }
}

impl Totals {
    /// Counts one more in.
    pub fn add(&mut self, usage: &Usage) {
        self.counted += 1;
        self.cpu_percent += usage.cpu_percent;
        self.memory_bytes = self.memory_bytes.saturating_add(usage.memory_bytes);
        self.network.add(usage.network.unwrap_or_default());
        self.disk.add(usage.disk.unwrap_or_default());
    }

    /// Processor time as a share of the whole host, 0 to 100; nothing for a host without
    /// processors.
    pub fn host_cpu_percent(&self, cpus: u32) -> Option<f64> {
        (cpus > 0).then(|| self.cpu_percent / f64::from(cpus))
    }

    /// Memory as a share of what the host has, 0 to 100 where it is all charged once; nothing for a
    /// host without memory.
    pub fn memory_percent(&self, host_bytes: u64) -> Option<f64> {
        (host_bytes > 0).then(|| self.memory_bytes as f64 / host_bytes as f64 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sample(wall_ms: u64, cpu_ms: u64, host_ms: Option<u64>) -> RawSample {
        RawSample {
            wall_nanos: wall_ms * MS,
            cpu_nanos: cpu_ms * MS,
            host_cpu_nanos: host_ms.map(|ms| ms * MS),
            cpus: 4,
            memory_bytes: 1,
            ..RawSample::default()
        }
    }

    #[test]
    fn half_a_core_for_a_second_is_fifty_percent_by_the_host_and_by_the_wall() {
        let cases = [(Some(0), Some(4_000)), (None, None), (Some(7), None)];
        for (before, after) in cases {
            let percent = sample(1_000, 500, after).cpu_percent_since(&sample(0, 0, before));
            assert_eq!(percent, Some(50.0), "{before:?} {after:?}");
        }
    }

    #[test]
    fn counters_that_went_back_or_did_not_move_give_no_rate() {
        let cases = [
            ("used less", sample(1_000, 4, Some(4_000)), sample(0, 5, Some(0))),
            ("host went back", sample(1_000, 5, Some(1)), sample(0, 5, Some(2))),
            ("host stood still", sample(1_000, 5, Some(2)), sample(0, 4, Some(2))),
            ("clock stood still", sample(1_000, 5, None), sample(1_000, 4, None)),
            ("clock went back", sample(1, 5, None), sample(2, 4, None)),
            ("more than there is", sample(1_000, 60_000, None), sample(0, 0, None)),
        ];
        for (what, after, before) in cases {
            assert_eq!(after.cpu_percent_since(&before), None, "{what}");
        }
        let no_cpus = RawSample { cpus: 0, ..sample(1_000, 5, Some(9)) };
        assert_eq!(no_cpus.cpu_percent_since(&sample(0, 0, Some(0))), None);
    }

    #[test]
    fn a_tick_too_much_is_taken_for_all_there_is() {
        let percent = sample(1_000, 4_010, Some(4_000)).cpu_percent_since(&sample(0, 0, Some(0)));
        assert_eq!(percent, Some(400.0));
    }

    #[test]
    fn the_empty_frame_of_what_ends_gives_nothing() {
        let before = sample(0, 900, Some(0));
        let empty = RawSample { wall_nanos: 5, ..RawSample::default() };
        assert_eq!(empty.usage_since(&before), None);
        assert_eq!(before.usage_since(&empty), None);
    }

    #[test]
    fn cache_counts_as_free_only_where_it_can_be_part_of_the_charge() {
        let used = |memory_bytes, cache_bytes| {
            RawSample { memory_bytes, cache_bytes, ..RawSample::default() }.used_bytes()
        };
        assert_eq!((used(10, 4), used(10, 0), used(10, 10), used(10, 11)), (6, 10, 10, 10));
    }

    #[test]
    fn traffic_is_a_rate_only_where_both_readings_have_it_and_neither_went_back() {
        let traffic = |in_bytes, out_bytes| Some(Traffic { in_bytes, out_bytes });
        let with = |wall_ms, network| RawSample { network, ..sample(wall_ms, 1, None) };
        let rate = |after, before| with(2_000, after).usage_since(&with(0, before))?.network;
        let both = Some(Rates { in_bytes: 50.0, out_bytes: 5.0 });
        assert_eq!(rate(traffic(100, 10), traffic(0, 0)), both);
        assert_eq!(rate(traffic(100, 10), None), None);
        assert_eq!(rate(None, traffic(1, 1)), None);
        assert_eq!(rate(traffic(1, 10), traffic(2, 0)), None);
    }

    #[test]
    fn an_environment_is_the_sum_of_what_was_measured() {
        let usage = Usage {
            cpu_percent: 50.0,
            memory_bytes: 256,
            network: Some(Rates { in_bytes: 1.0, out_bytes: 2.0 }),
            disk: None,
        };
        let mut totals = Totals::default();
        totals.add(&usage);
        totals.add(&Usage { network: None, ..usage });
        assert_eq!((totals.counted, totals.memory_bytes), (2, 512));
        assert_eq!(totals.host_cpu_percent(4), Some(25.0));
        assert_eq!(totals.memory_percent(1_024), Some(50.0));
        assert_eq!(totals.network.total_bytes(), 3.0);
        assert_eq!((totals.host_cpu_percent(0), totals.memory_percent(0)), (None, None));
    }
}
