//! What the containers of the fake engine use, and how the engine tells: counters that grow by plan
//! while a container runs, answered at the engine's next tick or at once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::container::{Container, Status};
use super::server::{Body, json_text};
use super::shapes;
use super::shared::{Refusal, Shared};

/// How often engines before 24.0.7 read all counters that somebody waits for.
const TICK: Duration = Duration::from_secs(1);
/// The processors of the fake host, as `/info` says.
const CPUS: u64 = 2;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What containers use, and how the engine tells.
#[derive(Default)]
pub struct Meters {
    state: Mutex<State>,
}

/// What a container uses while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Percent of one processor.
    pub cpu_percent: u64,
    /// Memory charged to it, caches included.
    pub memory_bytes: u64,
    /// The part of that which is cache.
    pub cache_bytes: u64,
    /// Received a second, and as much read from its disk.
    pub in_bytes: u64,
    /// Sent a second, and as much written to its disk.
    pub out_bytes: u64,
}

/// When a question for counters is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As the engine's release does it.
    AsReleased,
    /// At the next tick, for all who wait.
    AtTheNextTick,
    /// At once.
    AtOnce,
}

struct State {
    plans: BTreeMap<String, Plan>,
    counted: BTreeMap<String, Counted>,
    answers: Answers,
    disk_padding_bytes: usize,
}

/// The counters of one run, as of one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    run: u64,
    at_ns: u64,
    cpu_ns: u64,
    in_bytes: u64,
    out_bytes: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            plans: BTreeMap::new(),
            counted: BTreeMap::new(),
            answers: Answers::AsReleased,
            disk_padding_bytes: 0,
        }
    }
}

impl Default for Plan {
    /// Next to nothing.
    fn default() -> Self {
        Self {
            cpu_percent: 1,
            memory_bytes: 8 << 20,
            cache_bytes: 1 << 20,
            in_bytes: 100,
            out_bytes: 50,
        }
    }
}

impl Meters {
    /// Says when questions for counters are answered from here on.
    pub fn answer(&self, answers: Answers) {
        self.state().answers = answers;
    }

    /// Makes the answer to `/system/df` longer by this much.
    pub fn pad_disk(&self, bytes: usize) {
        self.state().disk_padding_bytes = bytes;
    }

    /// Changes a plan; what was used by then stays used. `now` is the container as it is.
    fn change(&self, container: &Container, plan: Plan, now_ns: u64) {
        let mut state = self.state();
        state.count(container, now_ns);
        state.plans.insert(container.spec.name.clone(), plan);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn plan(&self, name: &str) -> Plan {
        self.plans.get(name).copied().unwrap_or_default()
    }

    /// The counters as of now; none without a process. A paused one uses nothing but memory.
    fn count(&mut self, container: &Container, now_ns: u64) -> Option<Counted> {
        let run = container.run.as_ref()?;
        let plan = self.plan(&container.spec.name);
        let fresh =
            Counted { run: run.serial, at_ns: run.began_ns, cpu_ns: 1, ..Counted::default() };
        let counted = self.counted.entry(container.id.clone()).or_insert(fresh);
        if counted.run != run.serial {
            *counted = fresh;
        }
        let passed_ns = now_ns.saturating_sub(counted.at_ns);
        if container.status != Status::Paused {
            let moved = |rate: u64| {
                u64::try_from(
                    u128::from(rate) * u128::from(passed_ns) / u128::from(NANOS_PER_SECOND),
                )
                .unwrap_or(u64::MAX)
            };
            counted.cpu_ns += passed_ns / 100 * plan.cpu_percent;
            counted.in_bytes += moved(plan.in_bytes);
            counted.out_bytes += moved(plan.out_bytes);
        }
        counted.at_ns = now_ns;
        Some(*counted)
    }
}

/// Sets what the container `name` uses from here on.
pub(super) fn set_plan(shared: &Shared, name: &str, plan: Plan) {
    let mut world = shared.world();
    let now_ns = world.now_ns();
    if let Some(container) = world.find(name) {
        shared.meters.change(container, plan, now_ns);
    }
}

/// The answer to a question for counters.
pub(super) async fn stats(
    shared: &Arc<Shared>,
    reference: &str,
) -> Result<Response<Body>, Refusal> {
    shared.world().find(reference).ok_or_else(|| Refusal::absent(reference))?;
    wait_for_tick(shared).await;
    let mut world = shared.world();
    let now_ns = world.now_ns();
    let container = world.find(reference).ok_or_else(|| Refusal::absent(reference))?;
    let mut state = shared.meters.state();
    let counted = state.count(container, now_ns);
    let text = match counted {
        Some(counted) => frame(shared, container, counted, state.plan(&container.spec.name)),
        None if shared.is_podman() => {
            let message = format!("container {reference} is not running");
            return Err(Refusal::new(409, message));
        }
        None => empty_frame(container),
    };
    Ok(json_text(200, text))
}

/// The answer to `/system/df`.
pub(super) fn disk(shared: &Shared) -> Value {
    let mut world = shared.world();
    let now_ns = world.now_ns();
    let containers: Vec<Value> = world
        .containers()
        .iter()
        .map(|container| {
            let mut shape = shapes::summary(shared, container, now_ns);
            shape["SizeRw"] = json!(4096);
            shape
        })
        .collect();
    let padding = "x".repeat(shared.meters.state().disk_padding_bytes);
    json!({
        "LayersSize": 1_982_284,
        "Images": [{"Containers": containers.len(), "Id": "sha256:0", "Labels": {"padding": padding},
            "RepoTags": ["fake:latest"], "SharedSize": 0, "Size": 1_982_284}],
        "Containers": containers,
        "Volumes": [{"Name": "data", "UsageData": {"RefCount": 1, "Size": 65_536}}],
        "BuildCache": null,
        "BuilderSize": 0,
    })
}

async fn wait_for_tick(shared: &Shared) {
    let answers = shared.meters.state().answers;
    let is_old = !shared.is_podman() && shapes::server_version(shared).starts_with("20.");
    if answers == Answers::AtOnce || (answers == Answers::AsReleased && !is_old) {
        return;
    }
    let tick_ns = TICK.as_nanos() as u64;
    let passed_ns = shared.world().now_ns() % tick_ns;
    sleep(Duration::from_nanos(tick_ns - passed_ns)).await;
}

/// As engine 20.10 writes it on version 1 of the control groups.
fn frame(shared: &Shared, container: &Container, counted: Counted, plan: Plan) -> String {
    let Counted { at_ns, cpu_ns, in_bytes, out_bytes, .. } = counted;
    let read = shapes::moment(Some(at_ns));
    // Podman means something of the container's own by it.
    let system_ns = if shared.is_podman() { cpu_ns * 100 } else { at_ns.saturating_mul(CPUS) };
    let Plan { memory_bytes, cache_bytes, .. } = plan;
    let mut text = format!(
        r#"{{"read":"{read}","preread":"0001-01-01T00:00:00Z","pids_stats":{{"current":1}},"blkio_stats":{{"io_service_bytes_recursive":[{{"major":8,"minor":0,"op":"Read","value":{in_bytes}}},{{"major":8,"minor":0,"op":"Write","value":{out_bytes}}},{{"major":8,"minor":0,"op":"Total","value":{}}}],"io_serviced_recursive":[],"io_queue_recursive":[],"io_service_time_recursive":[],"io_wait_time_recursive":[],"io_merged_recursive":[],"io_time_recursive":[],"sectors_recursive":[]}},"num_procs":0,"storage_stats":{{}},"cpu_stats":{{"cpu_usage":{{"total_usage":{cpu_ns},"percpu_usage":[0,{cpu_ns}],"usage_in_kernelmode":0,"usage_in_usermode":{cpu_ns}}},"system_cpu_usage":{system_ns},"online_cpus":{CPUS},"throttling_data":{{"periods":0,"throttled_periods":0,"throttled_time":0}}}},"precpu_stats":{{"cpu_usage":{{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0}},"throttling_data":{{"periods":0,"throttled_periods":0,"throttled_time":0}}}},"memory_stats":{{"usage":{memory_bytes},"max_usage":{memory_bytes},"stats":{{"active_anon":4096,"active_file":0,"cache":{cache_bytes},"dirty":0,"hierarchical_memory_limit":9223372036854771712,"hierarchical_memsw_limit":9223372036854771712,"inactive_anon":57344,"inactive_file":{cache_bytes},"mapped_file":0,"pgfault":1029,"pgmajfault":0,"pgpgin":743,"pgpgout":728,"rss":61440,"rss_huge":0,"total_active_anon":4096,"total_active_file":0,"total_cache":{cache_bytes},"total_dirty":0,"total_inactive_anon":57344,"total_inactive_file":{cache_bytes},"total_mapped_file":0,"total_pgfault":1029,"total_pgmajfault":0,"total_pgpgin":743,"total_pgpgout":728,"total_rss":61440,"total_rss_huge":0,"total_unevictable":0,"total_writeback":0,"unevictable":0,"writeback":0}},"limit":8589934592}},"name":"/{}","id":"{}""#,
        in_bytes + out_bytes,
        container.spec.name,
        container.id,
    );
    if container.spec.network_mode != "host" {
        write!(
            text,
            r#","networks":{{"eth0":{{"rx_bytes":{in_bytes},"rx_packets":5,"rx_errors":0,"rx_dropped":0,"tx_bytes":{out_bytes},"tx_packets":0,"tx_errors":0,"tx_dropped":0}}}}"#
        )
        .expect("writing to a string cannot fail");
    }
    text.push_str("}\n");
    text
}

/// Of one that does not run.
fn empty_frame(container: &Container) -> String {
    format!(
        r#"{{"read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{{}},"blkio_stats":{{"io_service_bytes_recursive":null}},"num_procs":0,"storage_stats":{{}},"cpu_stats":{{"cpu_usage":{{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0}},"throttling_data":{{"periods":0,"throttled_periods":0,"throttled_time":0}}}},"precpu_stats":{{"cpu_usage":{{"total_usage":0}}}},"memory_stats":{{}},"name":"/{}","id":"{}"}}"#,
        container.spec.name, container.id,
    ) + "\n"
}
