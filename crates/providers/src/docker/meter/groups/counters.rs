//! What the kernel writes into its files of counters, as numbers. Nothing here touches a file.

use dormouse_core::usage::Traffic;

/// The kernel counts processor time for people in ticks of this length, whatever its own are.
const TICK_NANOS: u64 = 10_000_000;
/// User, nice, system, idle, waiting, interrupts, soft interrupts; what a host above us stole is no
/// time of ours.
const HOST_FIELDS: usize = 7;

/// The processors of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostCpu {
    /// Their time since boot, idle time included.
    pub(super) nanos: u64,
    /// How many are online.
    pub(super) cpus: u32,
}

/// A file with nothing but a number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim_ascii().parse().ok()
}

/// The number behind `name` in a file of `name number` lines.
pub(super) fn named(text: &str, name: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').and_then(number);
    text.lines().find_map(of)
}

/// `cpu.stat` of version 2: what was used, in nanoseconds.
pub(super) fn cpu_stat(text: &str) -> Option<u64> {
    named(text, "usage_usec")?.checked_mul(1_000)
}

/// `/proc/stat`.
pub(super) fn proc_stat(text: &str) -> Option<HostCpu> {
    let mut lines = text.lines();
    let all = lines.next()?.strip_prefix("cpu ")?;
    let mut ticks = 0_u64;
    for field in all.split_ascii_whitespace().take(HOST_FIELDS) {
        ticks = ticks.checked_add(field.parse().ok()?)?;
    }
    let cpus = lines.take_while(|line| line.starts_with("cpu")).count();
    Some(HostCpu { nanos: ticks.checked_mul(TICK_NANOS)?, cpus: u32::try_from(cpus).ok()? })
}

/// `/proc/PID/net/dev`: every interface but the loopback.
pub(super) fn net_dev(text: &str) -> Option<Traffic> {
    let mut sum = Traffic::default();
    for line in text.lines().skip(2) {
        let (name, fields) = line.split_once(':')?;
        if name.trim_ascii() == "lo" {
            continue;
        }
        let mut fields = fields.split_ascii_whitespace();
        let received: u64 = fields.next()?.parse().ok()?;
        let sent: u64 = fields.nth(7)?.parse().ok()?;
        sum.in_bytes = sum.in_bytes.saturating_add(received);
        sum.out_bytes = sum.out_bytes.saturating_add(sent);
    }
    Some(sum)
}

/// `blkio.throttle.io_service_bytes_recursive` of version 1: `8:0 Read 4096`.
pub(super) fn blkio(text: &str) -> Traffic {
    let mut sum = Traffic::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (_device, Some(op), Some(bytes)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let bytes: u64 = bytes.parse().unwrap_or_default();
        match op {
            "Read" => sum.in_bytes = sum.in_bytes.saturating_add(bytes),
            "Write" => sum.out_bytes = sum.out_bytes.saturating_add(bytes),
            _ => {}
        }
    }
    sum
}

/// `io.stat` of version 2: `8:0 rbytes=4096 wbytes=0 …`.
pub(super) fn io_stat(text: &str) -> Traffic {
    let mut sum = Traffic::default();
    for word in text.split_ascii_whitespace() {
        if let Some(bytes) = word.strip_prefix("rbytes=").and_then(number) {
            sum.in_bytes = sum.in_bytes.saturating_add(bytes);
        } else if let Some(bytes) = word.strip_prefix("wbytes=").and_then(number) {
            sum.out_bytes = sum.out_bytes.saturating_add(bytes);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_behind_its_whole_name() {
        let text = "inactive_file 1\ntotal_inactive_file 42\nfile 7\n";
        assert_eq!(named(text, "total_inactive_file"), Some(42));
        assert_eq!(named(text, "inactive_file"), Some(1));
        assert_eq!((named(text, "inactive"), named(text, "missing")), (None, None));
        assert_eq!((number(" 17\n"), number("max\n"), number("")), (Some(17), None, None));
    }

    #[test]
    fn version_2_counts_processor_time_in_microseconds() {
        let text = "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n";
        assert_eq!(cpu_stat(text), Some(1_234_567_000));
        assert_eq!(cpu_stat("usage_usec 18446744073709551615\n"), None);
    }

    #[test]
    fn the_host_has_seven_kinds_of_time_and_as_many_processors_as_lines() {
        let text = "cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 1 1 1 1 1 1 1 0 0 0\n\
                    cpu3 0 1 2 3 4 5 6 0 0 0\nintr 12345 0 0\nctxt 5\n";
        assert_eq!(proc_stat(text), Some(HostCpu { nanos: 280_000_000, cpus: 2 }));
        assert_eq!(proc_stat("intr 1\n"), None);
    }

    #[test]
    fn traffic_is_that_of_every_interface_but_the_loopback() {
        let text = "Inter-|   Receive                            |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
             lo:     999       9    0    0    0     0          0         0      999       9    0    0    0     0       0          0\n  \
             eth0:     486       5    0    0    0     0          0         0       70       1    0    0    0     0       0          0\n\
             veth9:14       1    0    0    0     0          0         0        30       1    0    0    0     0       0          0\n";
        assert_eq!(net_dev(text), Some(Traffic { in_bytes: 500, out_bytes: 100 }));
        assert_eq!(net_dev("a\nb\neth0: 1 2\n"), None);
    }

    #[test]
    fn what_devices_moved_is_summed_in_both_versions() {
        let v1 =
            "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n9:0 Read 1\nTotal 12289\n";
        assert_eq!(blkio(v1), Traffic { in_bytes: 4_097, out_bytes: 8_192 });
        assert_eq!(blkio("Total 0\n"), Traffic::default());
        let v2 =
            "254:0 rbytes=4096 wbytes=10 rios=1 wios=0 dbytes=0 dios=0\n7:0 rbytes=1 wbytes=2\n";
        assert_eq!(io_stat(v2), Traffic { in_bytes: 4_097, out_bytes: 12 });
    }
}
