//! What holds for any two readings whatsoever, of any counters.

use dormouse_core::usage::{RawSample, Totals, Traffic, Usage};
use proptest::prelude::*;

/// Counters that lie close together, far apart, and at both ends of their range.
fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..1_000, 0_u64..10_000_000_000, Just(u64::MAX), any::<u64>()]
}

fn traffic() -> impl Strategy<Value = Option<Traffic>> {
    let both = (counter(), counter());
    proptest::option::of(both.prop_map(|(in_bytes, out_bytes)| Traffic { in_bytes, out_bytes }))
}

fn sample() -> impl Strategy<Value = RawSample> {
    let host = proptest::option::of(counter());
    let processors = (counter(), counter(), host, 0_u32..300);
    (processors, (counter(), counter()), traffic(), traffic()).prop_map(
        |((wall_nanos, cpu_nanos, host_cpu_nanos, cpus), memory, network, disk)| RawSample {
            wall_nanos,
            cpu_nanos,
            host_cpu_nanos,
            cpus,
            memory_bytes: memory.0,
            cache_bytes: memory.1,
            network,
            disk,
        },
    )
}

fn is_sane(usage: &Usage, cpus: u32) -> bool {
    let rates = [usage.network, usage.disk];
    let mut rates = rates.iter().flatten().flat_map(|rates| [rates.in_bytes, rates.out_bytes]);
    usage.cpu_percent.is_finite()
        && (0.0..=100.0 * f64::from(cpus)).contains(&usage.cpu_percent)
        && rates.all(|rate| rate.is_finite() && rate >= 0.0)
}

proptest! {
    #[test]
    fn no_two_readings_give_a_negative_an_infinite_or_an_impossible_rate(
        before in sample(), after in sample(),
    ) {
        if let Some(usage) = after.usage_since(&before) {
            prop_assert!(is_sane(&usage, after.cpus), "{usage:?}");
            prop_assert!(usage.memory_bytes <= after.memory_bytes);
            prop_assert!(after.cpu_nanos >= before.cpu_nanos, "an underflow gives nothing");
            prop_assert!(after.wall_nanos > before.wall_nanos);
        }
    }

    #[test]
    fn any_share_of_the_processors_is_measured_as_that_share(
        before in sample(), share in 0.0_f64..1.0, host in 1_000_000_u64..1_u64 << 40,
        cpus in 1_u32..300,
    ) {
        let before = RawSample {
            wall_nanos: before.wall_nanos >> 2,
            cpu_nanos: before.cpu_nanos >> 2,
            host_cpu_nanos: before.host_cpu_nanos.map(|nanos| nanos >> 2),
            ..before
        };
        let after = RawSample {
            wall_nanos: before.wall_nanos + host / u64::from(cpus) + 1,
            cpu_nanos: before.cpu_nanos + (host as f64 * share) as u64,
            host_cpu_nanos: before.host_cpu_nanos.map(|nanos| nanos + host),
            cpus,
            ..before
        };
        let percent = after.cpu_percent_since(&before).expect("every counter has moved on");
        let truth = share * 100.0 * f64::from(cpus);
        prop_assert!((percent - truth).abs() <= 0.01 * f64::from(cpus) * 100.0, "{percent} {truth}");
    }

    #[test]
    fn an_environment_never_uses_more_than_its_parts(
        readings in proptest::collection::vec((sample(), sample()), 0..8),
    ) {
        let mut totals = Totals::default();
        let mut cpu_percent = 0.0;
        for (before, after) in &readings {
            if let Some(usage) = after.usage_since(before) {
                totals.add(&usage);
                cpu_percent += usage.cpu_percent;
            }
        }
        prop_assert_eq!(totals.cpu_percent, cpu_percent);
        prop_assert!(totals.counted <= readings.len());
        prop_assert!(totals.host_cpu_percent(4).is_some_and(f64::is_finite));
        prop_assert!(totals.memory_percent(1).is_some_and(f64::is_finite));
    }
}
