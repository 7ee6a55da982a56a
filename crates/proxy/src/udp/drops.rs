//! What became of datagrams that were not passed on.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpDropped {
    /// As many datagrams wait for the workload as may.
    QueueFull,
    /// The listener, or the client, has as many flows as it may.
    TooManyFlows,
    /// The workload could not be woken.
    Denied,
    /// The workload has no address for the port, or nothing listens on it.
    Unreachable,
    /// It is larger than the way to the receiver carries.
    TooLong,
    /// The system did not take it, for want of room or by its rules.
    SendFailed,
    /// The listener's own buffer was full: it was not received in time.
    Overrun,
    /// The listener ended, or led elsewhere, while it waited.
    Ended,
}

/// One count for each reason.
#[derive(Debug, Default)]
pub struct UdpDrops([AtomicU64; UdpDropped::ALL.len()]);

impl UdpDropped {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::TooManyFlows,
        Self::Denied,
        Self::Unreachable,
        Self::TooLong,
        Self::SendFailed,
        Self::Overrun,
        Self::Ended,
    ];

    /// The label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooManyFlows => "too_many_flows",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::TooLong => "too_long",
            Self::SendFailed => "send_failed",
            Self::Overrun => "overrun",
            Self::Ended => "ended",
        }
    }

    /// Why a datagram that the system refused to send is dropped.
    pub(super) fn of(error: &io::Error) -> Self {
        if is_unreachable(error) {
            Self::Unreachable
        } else if error.raw_os_error() == Some(nix::libc::EMSGSIZE) {
            Self::TooLong
        } else {
            Self::SendFailed
        }
    }
}

/// Whether the other end says, or the system knows, that nobody is there.
pub(super) fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

impl UdpDrops {
    /// Every reason with its count.
    pub fn read(&self) -> [(UdpDropped, u64); UdpDropped::ALL.len()] {
        UdpDropped::ALL.map(|why| (why, self.0[why as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn count(&self, why: UdpDropped, datagrams: usize) {
        let datagrams = u64::try_from(datagrams).unwrap_or(u64::MAX);
        self.0[why as usize].fetch_add(datagrams, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::UdpDropped;
    use std::io;

    #[test]
    fn what_the_system_says_has_a_reason() {
        for (code, why) in [
            (nix::libc::ECONNREFUSED, UdpDropped::Unreachable),
            (nix::libc::EHOSTUNREACH, UdpDropped::Unreachable),
            (nix::libc::EMSGSIZE, UdpDropped::TooLong),
            (nix::libc::EPERM, UdpDropped::SendFailed),
            (nix::libc::ENOBUFS, UdpDropped::SendFailed),
        ] {
            assert_eq!(UdpDropped::of(&io::Error::from_raw_os_error(code)), why, "{code}");
        }
    }

    #[test]
    fn every_reason_counts_for_itself() {
        let drops = super::UdpDrops::default();
        for (n, why) in UdpDropped::ALL.into_iter().enumerate() {
            drops.count(why, n + 1);
        }
        let counts = drops.read().map(|(_, count)| count);
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
