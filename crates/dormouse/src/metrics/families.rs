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
pub(super) const TCP_BYTES: Family = family(
    "tcp_bytes",
    MetricType::Counter,
    &["environment", "workload", "direction"],
    "Bytes of TCP connections: `received` from clients, `sent` to them",
);
pub(super) const UDP_DROPPED: Family = family(
    "udp_dropped",
    MetricType::Counter,
    &["reason"],
    "Datagrams that were not passed on, such as `queue_full` or `denied` (the wake failed)",
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
pub(super) const WORKLOAD_CPU: Family = family(
    "workload_cpu_ratio",
    MetricType::Gauge,
    &["environment", "workload"],
    "Processors that the workload keeps busy; absent while it sleeps",
);
pub(super) const WORKLOAD_MEMORY: Family = family(
    "workload_memory_bytes",
    MetricType::Gauge,
    &["environment", "workload"],
    "Memory of the workload, without what is only cache; absent while it sleeps",
);
pub(super) const WORKLOAD_NETWORK: Family = family(
    "workload_network_bytes_per_second",
    MetricType::Gauge,
    &["environment", "workload", "direction"],
    "What the workload moves over its network; the direction is in or out",
);
pub(super) const WORKLOAD_DISK: Family = family(
    "workload_disk_bytes_per_second",
    MetricType::Gauge,
    &["environment", "workload", "direction"],
    "What the workload moves to and from block devices; the direction is in or out",
);
pub(super) const MEMORY_FREED: Family = family(
    "memory_freed_bytes",
    MetricType::Gauge,
    &["environment", "workload"],
    "Memory that sleep has freed: what the workload used when it was last awake, less what it holds",
);
pub(super) const ENVIRONMENT_CPU: Family = family(
    "environment_cpu_ratio",
    MetricType::Gauge,
    &["environment"],
    "The share of the host's processors that everything in the environment keeps busy",
);
pub(super) const ENVIRONMENT_MEMORY: Family = family(
    "environment_memory_bytes",
    MetricType::Gauge,
    &["environment"],
    "Memory of everything in the environment, without what is only cache",
);
pub(super) const ENVIRONMENT_NETWORK: Family = family(
    "environment_network_bytes_per_second",
    MetricType::Gauge,
    &["environment", "direction"],
    "What everything in the environment moves over its networks; the direction is in or out",
);
pub(super) const ENVIRONMENT_DISK: Family = family(
    "environment_disk_bytes_per_second",
    MetricType::Gauge,
    &["environment", "direction"],
    "What everything in the environment moves to and from block devices; the direction is in or out",
);
pub(super) const ENVIRONMENT_DISK_USAGE: Family = family(
    "environment_disk_usage_bytes",
    MetricType::Gauge,
    &["environment", "kind"],
    "What the runtime keeps on disk; the kind is images, containers, volumes or build_cache",
);
pub(super) const TASKS: Family =
    family("tasks", MetricType::Gauge, &[], "Tasks of dormouse that have not ended");
pub(super) const BUILD_INFO: Family =
    family("build_info", MetricType::Gauge, &["version"], "Always 1; the version is in the label");

/// All of them, in the order of a scrape.
pub const FAMILIES: [Family; 35] = [
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
    TCP_BYTES,
    UDP_DROPPED,
    ENVIRONMENT_UP,
    WATCH_UP,
    FEED_RESYNCS,
    ENGINE_REQUEST_SECONDS,
    WORKLOAD_CPU,
    WORKLOAD_MEMORY,
    WORKLOAD_NETWORK,
    WORKLOAD_DISK,
    MEMORY_FREED,
    ENVIRONMENT_CPU,
    ENVIRONMENT_MEMORY,
    ENVIRONMENT_NETWORK,
    ENVIRONMENT_DISK,
    ENVIRONMENT_DISK_USAGE,
    TASKS,
    BUILD_INFO,
];

impl Family {
    /// The name as a query says it.
    pub fn full_name(&self) -> String {
        let suffix = if matches!(self.kind, MetricType::Counter) { "_total" } else { "" };
        format!("{}_{}{suffix}", super::PREFIX, self.name)
    }
}
