//! Every bound of the house in one place: queues, histories, retries, bodies, deadlines.

use std::time::Duration;

/// Starts tried in one wake before it fails.
pub const START_ATTEMPTS_MAX: u32 = 3;
/// Failed rests in a row before `on_rest_failure` decides.
pub const REST_ATTEMPTS_MAX: u32 = 3;
/// The first wait of a retry, doubling up to [`RETRY_DELAY_MAX`].
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(2);
/// The longest wait of a retry.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// Being ready for this long forgets earlier failures.
pub const CALM: Duration = Duration::from_secs(60);
/// How long an answer may be overdue before it is given up.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// What a rest may take beyond its grace period.
pub const REST_MARGIN: Duration = Duration::from_secs(10);
/// How long closing a gate may take.
pub const GATE_CLOSE_MAX: Duration = Duration::from_secs(5);
/// How long one look at a workload may take.
pub const OBSERVE_MAX: Duration = Duration::from_secs(10);
/// A timer that is handled later than this was slept through: what happened meanwhile is unknown.
pub const STALL: Duration = Duration::from_secs(10);
/// What was found running rests no sooner than this, however long an earlier keeper saw it go
/// unused: whoever lost a connection by the restart comes back.
pub const RECALLED_IDLE_MIN: Duration = Duration::from_secs(10);
/// Lines of a workload's log that a failure carries.
pub const FAILURE_LOG_LINES_MAX: usize = 20;
/// Lines of one wake's story that are kept.
pub const STORY_STEPS_MAX: usize = 64;
/// Commands waiting for the keeper's loop.
pub const KEEPER_QUEUE: usize = 4096;
/// Items of a feed waiting for a subscriber.
pub const FEED_QUEUE: usize = 1024;
/// How often a provider lists again although nothing was missed.
pub const RESYNC_EVERY: Duration = Duration::from_secs(10);
/// The first wait of the readiness probe, doubling up to [`PROBE_DELAY_MAX`].
pub const PROBE_DELAY_MIN: Duration = Duration::from_millis(1);
/// The longest wait between two readiness probes.
pub const PROBE_DELAY_MAX: Duration = Duration::from_millis(50);
/// The longest one readiness probe may take.
pub const PROBE_ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Calls to one engine at a time, beside those that wait for a stop.
pub const ENGINE_CALLS_MAX: usize = 64;
/// Calls to one engine that wait for a stop at a time: each holds a connection for its grace.
pub const ENGINE_STOPS_MAX: usize = 256;
/// Idle connections to one engine that are kept for the next call.
pub const ENGINE_IDLE_CONNECTIONS_MAX: usize = 8;
/// How long a connection to an engine may idle before it is closed.
pub const ENGINE_IDLE_MAX: Duration = Duration::from_secs(60);
/// An engine's answer about one thing.
pub const ENGINE_ANSWER_BYTES_MAX: usize = 8 << 20;
/// An engine's listing of everything it has.
pub const ENGINE_LISTING_BYTES_MAX: usize = 64 << 20;
/// One event of an engine; it carries every label of its container.
pub const ENGINE_EVENT_BYTES_MAX: usize = 4 << 20;
/// Looks that a listing or a feed takes at a time.
pub const ENGINE_LOOKS_MAX: usize = 4;
/// How long an engine may take to show that it is alive.
pub const ENGINE_PING_MAX: Duration = Duration::from_secs(5);
/// The first wait before an engine that could not be reached is tried again, doubling.
pub const ENGINE_RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest wait before an engine of another machine is tried again.
pub const ENGINE_RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// The longest wait before an engine of this machine is tried again.
pub const ENGINE_RETRY_DELAY_LOCAL_MAX: Duration = Duration::from_secs(1);
/// One line of a workload's log; the rest of it is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// The least time between the beginnings of two probes of one watch, however often it is kicked.
pub const WATCH_PROBE_GAP_MIN: Duration = Duration::from_millis(100);
/// The longest time that any setting of a watch may name.
pub const WATCH_TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The most tries and thresholds that a watch may name.
pub const WATCH_COUNT_MAX: u32 = 10_000;
/// Bytes of an answer's body in which a watch looks for a text.
pub const WATCH_BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a failure's text that a watch keeps.
pub const WATCH_ERROR_BYTES_MAX: usize = 1 << 10;
/// Kicks and reports waiting for one watch; one of a kind would do.
pub const WATCH_COMMANDS_MAX: usize = 16;
/// Transitions of one watch that wait for its hook; the oldest pair is dropped for a newer one.
pub const WATCH_HOOKS_WAITING_MAX: usize = 16;
/// How long one hook of a watch may run.
pub const WATCH_HOOK_MAX: Duration = Duration::from_secs(30);
/// Watches of one manager.
pub const WATCHES_MAX: usize = 10_000;
/// How often a webhook is sent before it is given up.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 3;
/// How long one attempt of a webhook may take.
pub const WEBHOOK_ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// The first wait before a webhook is sent again, doubling.
pub const WEBHOOK_RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
/// Readings of counters asked of one engine at a time where each waits for the engine's next tick.
pub const METER_CALLS_WAITING_MAX: usize = 64;
/// Readings of counters asked of one engine at a time where it answers at once.
pub const METER_CALLS_MAX: usize = 4;
/// Raw events waiting for whoever subscribed to them.
pub const METER_EVENTS_QUEUE: usize = 1024;
/// An engine's account of what it keeps on disk.
pub const ENGINE_DISK_BYTES_MAX: usize = 64 << 20;
/// Files of counters that one meter keeps open; more than these are opened each time.
pub const METER_FILES_MAX: usize = 4096;
/// One of the kernel's files of counters.
pub const METER_FILE_BYTES_MAX: usize = 1 << 20;
/// Readings kept of each environment and of each workload.
pub const METER_HISTORY: usize = 360;
/// Readings kept of all workloads together.
pub const METER_READINGS_MAX: usize = 200_000;
/// The least time between two readings of the same counters.
pub const METER_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The most time between two readings of the same counters.
pub const METER_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// One line that a parent tells the collector; a longer one is passed over.
pub const COLLECT_LINE_BYTES_MAX: usize = 10 << 20;
/// Environments of one collector.
pub const COLLECT_ENVIRONMENTS_MAX: usize = 4096;
/// Events waiting for whoever reads the collector's output.
pub const COLLECT_EVENTS_MAX: usize = 8192;
/// Bytes of those events.
pub const COLLECT_EVENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of disk answers waiting for whoever reads the collector's output; one always has room.
pub const COLLECT_DISK_BYTES_MAX: usize = 64 << 20;
/// Errors waiting for whoever reads the collector's output.
pub const COLLECT_ERRORS_MAX: usize = 1024;
/// Disk answers that are fetched at a time, over all environments.
pub const COLLECT_DISKS_MAX: usize = 4;
/// How long the collector's end may take when nobody reads its output.
pub const COLLECT_END_MAX: Duration = Duration::from_millis(500);
/// Lines of the collector's log waiting for whoever reads it.
pub const COLLECT_LOG_QUEUE: usize = 256;
/// The longest time between two measurements or two questions for events.
pub const COLLECT_INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the collector lists an environment again although nothing was missed.
pub const COLLECT_LIST_EVERY: Duration = Duration::from_secs(5 * 60);
/// Flows of one UDP listener.
pub const UDP_FLOWS_MAX: usize = 16_384;
/// Flows of one client address on one UDP listener.
pub const UDP_FLOWS_PER_CLIENT_MAX: usize = 1024;
/// Datagrams of one flow that wait for its gate, or for the workload to listen.
pub const UDP_WAITING_DATAGRAMS_MAX: usize = 128;
/// Bytes of those datagrams.
pub const UDP_WAITING_BYTES_MAX: usize = 256 << 10;
/// The largest datagram that UDP can carry, with room to spare.
pub const UDP_DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// A flow ends when neither side has sent anything for this long.
pub const UDP_SILENCE: Duration = Duration::from_secs(60);
/// How long the port of a workload that has just started may refuse datagrams.
pub const UDP_REFUSED_MAX: Duration = Duration::from_secs(30);
