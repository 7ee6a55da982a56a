//! Every metric with its labels: what the scrape tells and the reference lists.

use prometheus_client::metrics::MetricType;

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name without `dormouse_`, and without the `_total` of a counter.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricType,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in one phrase.
    pub help: &'static str,
}

const fn family(
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind, labels, help }
}

pub(super) const WAKES: Family = family(
    "wakes",
    MetricType::Counter,
    &["environment", "workload", "cause", "outcome"],
    "Wakes that ended; the outcome is ready or the slug of the failure",
);
pub(super) const WAKE_SECONDS: Family = family(
    "wake_seconds",
    MetricType::Histogram,
    &["environment", "workload", "phase"],
    "How long the parts of wakes took: needs, start, ready",
);
pub(super) const RESTS: Family = family(
    "rests",
    MetricType::Counter,
    &["environment", "workload", "rest", "outcome"],
    "Rests that ended; the outcome is rested or failed",
);
pub(super) const WORKLOAD_PHASE: Family = family(
    "workload_phase",
    MetricType::Gauge,
    &["environment", "workload", "phase"],
    "1 for the phase that the workload is in, 0 for the others",
);
pub(super) const LEASES_OPENED: Family = family(
    "leases_opened",
    MetricType::Counter,
    &["environment", "workload", "kind"],
    "Leases that were opened",
);
pub(super) const LEASES_CLOSED: Family = family(
    "leases_closed",
    MetricType::Counter,
    &["environment", "workload", "kind"],
    "Leases that were closed",
);
pub(super) const WAITING: Family = family(
    "waiting_callers",
    MetricType::Gauge,
    &["environment", "workload"],
    "Callers that wait for the workload to be ready",
);
pub(super) const ASLEEP_SECONDS: Family = family(
    "asleep_seconds",
    MetricType::Counter,
    &["environment", "workload"],
    "How long the workload has slept",
);
pub(super) const HTTP_REQUESTS: Family = family(
    "http_requests",
    MetricType::Counter,
    &["environment", "workload", "code_class"],
    "Requests that were answered",
);
pub(super) const HELD_REQUESTS: Family = family(
    "held_requests",
    MetricType::Gauge,
    &[],
    "Requests that are held until their workload is ready",
);
pub(super) const HELD_REJECTED: Family = family(
    "held_rejected",
    MetricType::Counter,
    &["reason"],
    "Requests that found the waiting room full",
);
pub(super) const HELD_LEFT: Family =
    family("held_left", MetricType::Counter, &[], "Clients that left while they were held");
pub(super) const LOADING_PAGES: Family =
    family("loading_pages", MetricType::Counter, &[], "Loading pages that were shown");
pub(super) const CONNECTIONS_OPEN: Family =
    family("connections_open", MetricType::Gauge, &[], "Client connections that are open");
pub(super) const UPGRADED_OPEN: Family = family(
    "upgraded_connections_open",
    MetricType::Gauge,
    &[],
    "Upgraded connections that are open",
);
pub(super) const UPSTREAM_CONNECTS: Family = family(
    "upstream_connects",
    MetricType::Counter,
    &[],
    "Connections that were made to workloads",
);
pub(super) const UPSTREAM_RETRIES: Family = family(
    "upstream_retries",
    MetricType::Counter,
    &[],
    "Requests that were sent once more because nothing of them had been answered",
);
pub(super) const ENVIRONMENT_UP: Family = family(
    "environment_up",
    MetricType::Gauge,
    &["environment"],
    "Whether the environment answers",
);
pub(super) const WATCH_UP: Family =
    family("watch_up", MetricType::Gauge, &["watch"], "Whether the watched service is up");
pub(super) const FEED_RESYNCS: Family = family(
    "feed_resyncs",
    MetricType::Counter,
    &["environment"],
    "Full listings of the environment",
);
pub(super) const ENGINE_REQUEST_SECONDS: Family = family(
    "engine_request_seconds",
    MetricType::Histogram,
    &["op"],
    "How long calls to runtimes took",
);
pub(super) const BUILD_INFO: Family =
    family("build_info", MetricType::Gauge, &["version"], "Always 1; the version is in the label");

/// All of them, in the order of a scrape.
pub const FAMILIES: [Family; 22] = [
    WAKES,
    WAKE_SECONDS,
    RESTS,
    WORKLOAD_PHASE,
    LEASES_OPENED,
    LEASES_CLOSED,
    WAITING,
    ASLEEP_SECONDS,
    HTTP_REQUESTS,
    HELD_REQUESTS,
    HELD_REJECTED,
    HELD_LEFT,
    LOADING_PAGES,
    CONNECTIONS_OPEN,
    UPGRADED_OPEN,
    UPSTREAM_CONNECTS,
    UPSTREAM_RETRIES,
    ENVIRONMENT_UP,
    WATCH_UP,
    FEED_RESYNCS,
    ENGINE_REQUEST_SECONDS,
    BUILD_INFO,
];

impl Family {
    /// The name as a query says it.
    pub fn full_name(&self) -> String {
        let suffix = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}_{}{suffix}", super::PREFIX, self.name)
    }
}
