//! What workloads and environments use: in the API, in the metrics, on the command line, and what
//! their sleep frees.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use dormouse_testkit::engine::{ContainerSpec, EngineConfig, FakeEngine, Fault, Plan, Rule};
use dormouse_wire::{Environment, EnvironmentMetrics, Phase, WorkloadMetrics};
use harness::client::{fetch, get};
use harness::house::House;
use harness::{PATIENCE, eventually};

const APP: Plan = Plan {
    cpu_percent: 40,
    memory_bytes: 96 << 20,
    cache_bytes: 32 << 20,
    in_bytes: 2_000,
    out_bytes: 500,
};
const APP_BYTES: u64 = 64 << 20;

/// A house over an engine that answers for counters at once, with one workload in each of these
/// lines beyond the first, and a container that nobody configured.
async fn serve(engine: &FakeEngine, workloads: &str) -> House {
    for name in ["app", "other"] {
        let spec = ContainerSpec::named(name).serving(8080);
        engine.by_hand().create(spec).unwrap();
        engine.by_hand().start(name).await.unwrap();
    }
    engine.set_plan("app", APP);
    let configuration = format!(
        "[environment.local]\ndocker = \"{}\"\nsample_interval = \"1s\"\n{workloads}",
        engine.endpoint()
    );
    House::start(&configuration).await
}

async fn newest() -> FakeEngine {
    FakeEngine::with(EngineConfig::docker_29()).await
}

const APP_AT_REST: &str =
    "[workload.app]\ntarget = \"local/app\"\nhosts = [\"app.test\"]\nstop_timeout = \"1s\"\n";

/// The value of one series of a scrape.
async fn series(house: &House, series: &str) -> Option<f64> {
    let address = house.admin.address();
    let page = fetch(address, get(&address.to_string(), "/metrics")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(series)).map(str::trim)?;
    Some(line.parse().unwrap())
}

async fn metrics(house: &House) -> WorkloadMetrics {
    house.admin.read("/api/v1/workloads/app/metrics").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_is_measured_and_what_sleep_frees_is_told() {
    let engine = newest().await;
    let house = serve(&engine, APP_AT_REST).await;
    let is_measured = async || metrics(&house).await.history.len() >= 2;
    eventually(PATIENCE, "it is measured twice", is_measured).await;

    let awake = metrics(&house).await;
    let usage = awake.usage.unwrap();
    assert!((usage.cpu_percent - 40.0).abs() < 1.0, "{usage:?}");
    assert_eq!(usage.memory_bytes, APP_BYTES);
    assert!(usage.network.unwrap().in_bytes_per_second > 0.0);
    assert_eq!((awake.sample_interval.as_deref(), awake.memory_freed_bytes), (Some("1s"), 0));
    let listed = house.admin.workload("app").await;
    assert_eq!(listed.usage.unwrap().memory_bytes, APP_BYTES);
    let labels = r#"{environment="local",workload="app"}"#;
    let busy = series(&house, &format!("dormouse_workload_cpu_ratio{labels}")).await;
    assert!(busy.is_some_and(|busy| (busy - 0.4).abs() < 0.01), "{busy:?}");
    let freed = series(&house, &format!("dormouse_memory_freed_bytes{labels}")).await;
    assert_eq!(freed, Some(0.0));

    house.admin.call("POST", "/api/v1/workloads/app/sleep?force=true", "").await;
    house.admin.until("app", Phase::Asleep).await;
    let is_freed = async || metrics(&house).await.memory_freed_bytes == APP_BYTES;
    eventually(PATIENCE, "the engine has let go of its memory", is_freed).await;
    assert_eq!(metrics(&house).await.usage, None, "it uses nothing");
    let freed = series(&house, &format!("dormouse_memory_freed_bytes{labels}")).await;
    assert_eq!(freed, Some(APP_BYTES as f64));
    assert_eq!(series(&house, &format!("dormouse_workload_cpu_ratio{labels}")).await, None);
    let environment: EnvironmentMetrics =
        house.admin.read("/api/v1/environments/local/metrics").await;
    assert_eq!(environment.memory_freed_bytes, APP_BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_frees_only_what_the_kernel_has_let_go_of() {
    let engine = newest().await;
    let house = serve(&engine, &format!("{APP_AT_REST}rest = \"pause\"\n")).await;
    let is_measured = async || metrics(&house).await.usage.is_some();
    eventually(PATIENCE, "it is measured", is_measured).await;
    house.admin.call("POST", "/api/v1/workloads/app/sleep?force=true", "").await;
    house.admin.until("app", Phase::Asleep).await;
    // The kernel takes half of it back while it is frozen.
    let half = APP_BYTES / 2;
    engine.set_plan("app", Plan { memory_bytes: half, cache_bytes: 0, ..APP });
    let is_freed = async || metrics(&house).await.memory_freed_bytes == APP_BYTES - half;
    eventually(PATIENCE, "half of it is freed", is_freed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_is_all_that_runs_in_it_and_its_disk() {
    let engine = newest().await;
    let house = serve(&engine, APP_AT_REST).await;
    let read =
        async || house.admin.read::<EnvironmentMetrics>("/api/v1/environments/local/metrics").await;
    let is_measured = async || {
        let metrics = read().await;
        metrics.usage.is_some_and(|usage| usage.counted == 2) && metrics.disk_usage.is_some()
    };
    eventually(PATIENCE, "both containers and the disk are measured", is_measured).await;
    let metrics = read().await;
    let (usage, host) = (metrics.usage.unwrap(), metrics.host.unwrap());
    assert_eq!((host.cpus, host.memory_bytes), (2, 8 << 30));
    // 40 % of one of two processors, and next to nothing of the other container.
    assert!((20.0..22.0).contains(&usage.cpu_percent), "{usage:?}");
    assert_eq!(usage.memory_bytes, APP_BYTES + (7 << 20));
    assert_eq!(metrics.disk_usage.unwrap().images_bytes, 1_982_284);
    let environments: Vec<Environment> = house.admin.read("/api/v1/environments").await;
    assert!(environments[0].usage.is_some() && environments[0].disk_usage.is_some());
    let images = r#"dormouse_environment_disk_usage_bytes{environment="local",kind="images"}"#;
    assert_eq!(series(&house, images).await, Some(1_982_284.0));
    let nobody = r#"dormouse_workload_cpu_ratio{environment="local",workload="other"}"#;
    assert_eq!(series(&house, nobody).await, None, "nobody configured it");
    let missing = house.admin.call("GET", "/api/v1/environments/nowhere/metrics", "").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_cannot_be_read_are_said_and_harm_nothing() {
    let engine = newest().await;
    let refusal = Fault::Answer { status: 500, body: r#"{"message":"no cgroup"}"#.into() };
    engine.faults().add(Rule::any(refusal).path("/stats").container("app"));
    let house = serve(&engine, APP_AT_REST).await;
    let read =
        async || house.admin.read::<EnvironmentMetrics>("/api/v1/environments/local/metrics").await;
    let is_said = async || {
        let metrics = read().await;
        metrics.last_error.as_deref() == Some("app: the runtime refused: no cgroup")
            && metrics.usage.is_some_and(|usage| (usage.counted, usage.failed) == (1, 1))
    };
    eventually(PATIENCE, "one is measured and the other is said", is_said).await;
    assert_eq!(metrics(&house).await.usage, None);
    assert_eq!(house.admin.phase("app").await, Phase::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_at_work_stays_awake_until_it_is_quiet() {
    let engine = newest().await;
    let at_work = format!("{APP_AT_REST}idle_timeout = \"3s\"\nidle = {{ cpu_below = 5 }}\n");
    let house = serve(&engine, &at_work).await;
    let is_told = async || house.admin.workload("app").await.why.contains("it is at work: 40.0 %");
    eventually(PATIENCE, "its work is told", is_told).await;
    assert_eq!(house.admin.workload("app").await.idle_at, None);
    // Ten readings are three idle periods.
    let is_measured = async || metrics(&house).await.history.len() >= 10;
    eventually(PATIENCE, "it is measured ten times", is_measured).await;
    assert_eq!(house.admin.phase("app").await, Phase::Ready);
    assert_eq!(engine.calls_of("stop", "app"), 0);

    engine.set_plan("app", Plan { cpu_percent: 1, ..APP });
    house.admin.until("app", Phase::Asleep).await;
    assert_eq!(engine.calls_of("stop", "app"), 1);
}
