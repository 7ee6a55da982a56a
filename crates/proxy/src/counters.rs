//! What the data plane counts: cheap to count, and readable by a metrics page elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::relay::PassedBytes;
use crate::udp::UdpDrops;

/// Counts of a whole data plane.
#[derive(Debug, Default)]
pub struct Counters {
    /// Client connections that were accepted.
    pub connections_accepted: AtomicU64,
    /// Client connections that are open.
    pub connections_open: AtomicI64,
    /// Answers by class; see [`CodeClass`].
    pub answers: CodeClasses,
    /// Requests that are held.
    pub held: AtomicI64,
    /// Requests that found the waiting room full.
    pub held_rejected: HeldRejected,
    /// Clients that left while they were held.
    pub held_left: AtomicU64,
    /// Loading pages.
    pub loading_pages: AtomicU64,
    /// Connections that were made to upstreams.
    pub upstream_connects: AtomicU64,
    /// Requests that were sent once more because nothing of them had been answered.
    pub upstream_retries: AtomicU64,
    /// Upgraded connections that are open.
    pub upgraded_open: AtomicI64,
    /// Datagrams that were dropped, by reason.
    pub udp_dropped: Arc<UdpDrops>,
}

/// Counts of one workload. Kept over reloads by whoever builds the routes.
#[derive(Debug, Default)]
pub struct SiteCounters {
    /// Answers by class; see [`CodeClass`].
    pub answers: CodeClasses,
    /// What its TCP connections have said.
    pub tcp_bytes: PassedBytes,
}

/// Rejections of the waiting room, by what was full.
#[derive(Debug, Default)]
pub struct HeldRejected {
    /// The workload has as many waiting requests as it may have.
    pub requests: AtomicU64,
    /// The client has.
    pub per_client: AtomicU64,
}

/// One count for each class of status codes.
#[derive(Debug, Default)]
pub struct CodeClasses([AtomicU64; 5]);

/// The hundreds of a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeClass {
    /// 1xx: upgrades.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx and what is no class.
    ServerError,
}

/// Counts one more for as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge<'a>(&'a AtomicI64);

impl CodeClasses {
    /// Every class with its count.
    pub fn read(&self) -> [(CodeClass, u64); 5] {
        CodeClass::ALL.map(|class| (class, self.0[class as usize].load(Ordering::Relaxed)))
    }

    pub(crate) fn count(&self, status: http::StatusCode) {
        self.0[CodeClass::of(status) as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl CodeClass {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of a status code.
    pub fn of(status: http::StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// The label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

impl<'a> Gauge<'a> {
    pub(crate) fn raise(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn count_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
