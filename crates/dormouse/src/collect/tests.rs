//! Environments under a clock that the test moves, over a runtime in memory.

mod meter;

use std::sync::Arc;
use std::time::Duration;

use dormouse_providers::{GapCause, Meter, MeterError, RunChange};
use dormouse_wire::{CollectReport, Configure, Connection, EnvId, Extra};
use tokio::time::{advance, sleep};

use self::meter::{FakeMeter, GIB};
use super::environments::Environments;
use super::outbox::Outbox;

const ENV: EnvId = EnvId(1);
const SECOND: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(30);
/// Long enough for whatever is due at once.
const MOMENT: Duration = Duration::from_millis(500);

/// A collector over one runtime, and what it tells.
struct Bench {
    meter: Arc<FakeMeter>,
    environments: Environments,
    outbox: Outbox,
}

impl Bench {
    fn of(meter: Arc<FakeMeter>) -> Self {
        let outbox = Outbox::unwritten();
        let own = Arc::clone(&meter);
        let connect = move |_: &Configure, _: &Connection| Ok(Arc::clone(&own) as Arc<dyn Meter>);
        let environments = Environments::new(Box::new(connect), outbox.clone(), true);
        Self { meter, environments, outbox }
    }

    /// With one environment, whose first results have been told.
    async fn started(meter: Arc<FakeMeter>) -> Self {
        let mut bench = Self::of(meter);
        bench.environments.configure(described("one")).await;
        bench.after(MOMENT).await;
        bench
    }

    /// Everything that is told until so much time has passed.
    async fn after(&self, time: Duration) -> Vec<String> {
        sleep(time).await;
        let reports = std::iter::from_fn(|| self.outbox.take());
        reports.map(|report| line(&report)).collect()
    }
}

fn line(report: &CollectReport) -> String {
    let mut line = Vec::new();
    report.write(&mut line).unwrap();
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn described(name: &str) -> Configure {
    let connection = Some(Connection::default());
    Configure { env: ENV, name: name.into(), connection, ..Configure::default() }
}

fn unreachable() -> MeterError {
    MeterError::Unreachable("connection refused".into())
}

fn running(containers: &[(&str, f64, u64)]) -> Arc<FakeMeter> {
    let meter = FakeMeter::new();
    for (id, cpus, memory_bytes) in containers {
        meter.begin(id, *cpus, *memory_bytes);
    }
    meter
}

const ONLINE: &str = r#"{"type":"env_status","envId":1,"online":true}"#;
const OFFLINE: &str = r#"{"type":"env_status","envId":1,"online":false,"error":"Docker not reachable: connection refused"}"#;

fn metrics(cpu: &str, mem_percent: &str, mem_used: u64) -> String {
    let mem_total = 8 * GIB;
    format!(
        r#"{{"type":"metrics","envId":1,"cpu":{cpu},"memPercent":{mem_percent},"memUsed":{mem_used},"memTotal":{mem_total},"cpuCount":2}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn metrics_are_the_use_since_the_last_sample_from_the_second_sample_on() {
    let mut bench = Bench::of(running(&[("half", 0.5, GIB), ("quarter", 0.25, GIB)]));
    bench.environments.configure(described("one")).await;
    assert_eq!(bench.after(MOMENT).await, [ONLINE], "one sample says nothing");
    assert_eq!(bench.after(SECOND).await, [metrics("37.5", "25.0", 2 * GIB)]);
    bench.after(INTERVAL).await;
    let told = bench.after(4 * INTERVAL).await;
    assert_eq!(told.len(), 1, "newer figures replace those that nobody read: {told:?}");
    assert_eq!(bench.meter.counts().cycles, 7);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_begins_or_begins_anew_counts_from_its_own_second_sample() {
    let bench = Bench::started(running(&[("old", 0.5, GIB)])).await;
    bench.environments.set_metrics_interval(SECOND);
    bench.after(3 * SECOND).await;
    bench.meter.begin("new", 1.0, GIB);
    let told = bench.after(SECOND).await;
    assert_eq!(told[0], r#"{"type":"container_event","envId":1,"event":{"Action":"start"}}"#);
    assert_eq!(told[1], metrics("25.0", "25.0", 2 * GIB), "its memory counts at once");
    assert_eq!(bench.after(SECOND).await, [metrics("75.0", "25.0", 2 * GIB)]);
    bench.meter.begin("old", 1.5, GIB);
    let told = bench.after(SECOND).await;
    assert_eq!(told[1], metrics("50.0", "25.0", 2 * GIB), "no figure over two starts");
    assert_eq!(bench.after(SECOND).await, [metrics("125.0", "25.0", 2 * GIB)]);
}

#[tokio::test(start_paused = true)]
async fn an_environment_without_containers_uses_nothing() {
    let bench = Bench::started(FakeMeter::new()).await;
    assert_eq!(bench.after(SECOND).await, [metrics("0.0", "0.0", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_fails_is_left_out_and_counted() {
    let bench = Bench::started(running(&[("well", 0.5, GIB), ("ill", 1.0, GIB)])).await;
    assert_eq!(bench.environments.accept(&["container_metrics".into()]), [Extra::ContainerMetrics]);
    bench.after(2 * SECOND).await;
    bench.meter.hang("ill");
    let told = bench.after(3 * INTERVAL).await;
    let told: Vec<String> = told.into_iter().filter(|line| !line.contains("disk")).collect();
    let each = r#"{"type":"container_metrics","envId":1,"containers":[{"id":"well","cpu":50.0,"memUsed":1073741824}],"failed":1}"#;
    assert_eq!(told, [each.to_owned(), metrics("25.0", "12.5", GIB)]);
    bench.meter.empty("ill");
    let told = bench.after(INTERVAL).await;
    assert!(told[0].ends_with(r#""failed":0}"#), "what ends is no failure: {told:?}");
    assert_eq!(told[1], metrics("25.0", "12.5", GIB));
}

#[tokio::test(start_paused = true)]
async fn another_interval_counts_at_once() {
    let bench = Bench::started(running(&[("one", 0.5, GIB)])).await;
    bench.after(2 * SECOND).await;
    let before = bench.meter.counts().cycles;
    bench.environments.set_metrics_interval(SECOND);
    bench.after(10 * SECOND).await;
    let cycles = bench.meter.counts().cycles - before;
    assert!((9..=11).contains(&cycles), "{cycles} in ten seconds");
    bench.environments.set_metrics_interval(Duration::ZERO);
    bench.after(10 * SECOND).await;
    let cycles = bench.meter.counts().cycles - before;
    assert!((19..=21).contains(&cycles), "no time at all means nothing: {cycles}");
}

#[tokio::test(start_paused = true)]
async fn the_first_status_is_told_at_once_and_then_only_changes() {
    let meter = FakeMeter::new();
    meter.fall(unreachable());
    let mut bench = Bench::of(meter);
    bench.environments.configure(described("one")).await;
    assert_eq!(bench.after(MOMENT).await, [OFFLINE]);
    assert_eq!(bench.after(10 * INTERVAL).await, [""; 0], "it is said once");
    assert_eq!(bench.meter.counts().cycles, 0, "nothing is measured meanwhile");
    bench.meter.rise();
    assert_eq!(bench.after(SECOND).await[0], ONLINE);
    bench.after(INTERVAL).await;
    bench.meter.fall(unreachable());
    assert_eq!(bench.after(SECOND).await, [OFFLINE], "two strikes, and it is gone");
}

#[tokio::test(start_paused = true)]
async fn events_that_fail_for_a_moment_are_no_reason_to_go_offline() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.after(2 * SECOND).await;
    for _ in 0..20 {
        bench.meter.stumble(MeterError::Refused("it answered 502".into()));
        let told = bench.after(5 * SECOND).await;
        assert!(told.iter().all(|line| !line.contains("env_status")), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_kept_from_events_and_listed_again_every_five_minutes() {
    let bench = Bench::started(running(&[("one", 0.5, GIB)])).await;
    bench.after(2 * SECOND).await;
    let before = bench.meter.counts();
    bench.after(10 * Duration::from_secs(60)).await;
    let listings = bench.meter.counts().listings - before.listings;
    assert!((1..=3).contains(&listings), "{listings} listings in ten minutes");
    assert!(bench.meter.counts().cycles - before.cycles >= 19);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_refused_is_said_once_and_does_not_mean_that_nothing_answers() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.meter.refuse_listings(Some(MeterError::Refused("no database".into())));
    bench.meter.stumble(unreachable());
    let told = bench.after(20 * Duration::from_secs(60)).await;
    let told: Vec<&String> = told.iter().filter(|line| !line.contains("metrics")).collect();
    let error = r#"{"type":"error","envId":1,"error":"list containers: no database"}"#;
    let disk = r#"{"type":"disk_usage","envId":1,"data":{"LayersSize":3},"info":{"NCPU":2}}"#;
    assert_eq!(told, [error, disk]);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_said_once_for_each_change() {
    let meter = FakeMeter::new();
    meter.fall(MeterError::Credentials("it answered 401".into()));
    let mut bench = Bench::of(meter);
    bench.environments.configure(described("one")).await;
    let told = bench.after(10 * INTERVAL).await;
    let error =
        r#"{"type":"error","envId":1,"error":"the credentials are refused: it answered 401"}"#;
    let offline = r#"{"type":"env_status","envId":1,"online":false,"error":"Docker not reachable: the credentials are refused: it answered 401"}"#;
    assert_eq!(told, [error, offline]);
    bench.meter.fall(MeterError::Credentials("it answered 403".into()));
    assert_eq!(bench.after(10 * INTERVAL).await.len(), 1, "another refusal");
    bench.meter.rise();
    assert_eq!(bench.after(SECOND).await[0], ONLINE);
    bench.meter.fall(MeterError::Credentials("it answered 401".into()));
    assert_eq!(bench.after(MOMENT).await[..1], [error], "again, after it was good");
}

#[tokio::test(start_paused = true)]
async fn disk_usage_comes_after_ten_seconds_and_every_five_minutes() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.after(9 * SECOND).await;
    assert_eq!(bench.meter.counts().disks, 0);
    let told = bench.after(SECOND).await;
    let disk = r#"{"type":"disk_usage","envId":1,"data":{"LayersSize":3},"info":{"NCPU":2}}"#;
    assert!(told.iter().any(|line| line == disk), "{told:?}");
    bench.after(Duration::from_secs(60 * 60)).await;
    assert_eq!(bench.meter.counts().disks, 13);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_needs_too_long_to_count_is_asked_more_rarely_and_never_twice_at_once() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.meter.slow_disk(Duration::from_secs(61));
    let told = bench.after(80 * SECOND).await;
    let error = r#"{"type":"error","envId":1,"error":"disk usage: the runtime did not answer in time to df"}"#;
    assert!(told.iter().any(|line| line == error), "{told:?}");
    let told = bench.after(Duration::from_secs(60 * 60)).await;
    assert!(!told.iter().any(|line| line == error), "it is said once: {told:?}");
    let counts = bench.meter.counts();
    assert_eq!((counts.disks, counts.disks_at_once_most), (3, 1), "after 10 s, 10 min and 20 min");
}

#[tokio::test(start_paused = true)]
async fn an_identical_configuration_changes_nothing_and_another_one_replaces() {
    let mut bench = Bench::started(running(&[("one", 0.5, GIB)])).await;
    bench.after(SECOND).await;
    let before = bench.meter.counts();
    bench.environments.configure(described("one")).await;
    assert_eq!(bench.after(MOMENT).await, [""; 0]);
    assert_eq!(bench.meter.counts(), before);
    bench.environments.configure(described("renamed")).await;
    assert_eq!(bench.after(MOMENT).await, [ONLINE], "it is told of the new one");
    assert_eq!(bench.meter.listeners(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_an_environment_that_was_removed() {
    let removals = [
        Configure { connection: None, ..described("one") },
        Configure { connection_type: "hawser-edge".into(), ..described("one") },
    ];
    for removal in removals {
        let mut bench = Bench::started(running(&[("one", 0.5, GIB)])).await;
        sleep(11 * SECOND).await;
        bench.meter.event("one", Some(RunChange::Ended), "{}");
        bench.meter.fall(unreachable());
        tokio::task::yield_now().await;
        bench.environments.configure(removal).await;
        assert_eq!(bench.after(20 * INTERVAL).await, [""; 0], "also what was queued is gone");
        assert_eq!(bench.meter.listeners(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_rounds_leave_nothing_behind() {
    let mut bench = Bench::of(running(&[("one", 0.5, GIB)]));
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..200 {
        bench.environments.configure(described(&round.to_string())).await;
        bench.after(Duration::from_millis(round)).await;
        bench.environments.remove(ENV).await;
    }
    assert_eq!((tasks(), bench.meter.listeners()), (before, 0));
    assert_eq!(bench.after(INTERVAL).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_said_as_an_error_or_to_who_asked_for_it_as_a_gap() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.after(2 * SECOND).await;
    bench.meter.gap(GapCause::Overrun { events: 3 });
    let error = r#"{"type":"error","envId":1,"error":"events: events came faster than they were read (3)"}"#;
    assert_eq!(bench.after(MOMENT).await, [error]);
    bench.environments.accept(&["events_gap".into(), "unknown".into()]);
    bench.after(MOMENT).await;
    bench.meter.gap(GapCause::Forgotten);
    let gap =
        r#"{"type":"events_gap","envId":1,"error":"the engine has forgotten some of its events"}"#;
    assert_eq!(bench.after(MOMENT).await, [gap]);
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_breaks_is_said_and_can_be_configured_again() {
    let mut bench = Bench::started(FakeMeter::new()).await;
    bench.meter.break_disk();
    let told = bench.after(11 * SECOND).await;
    let error = r#"{"type":"error","envId":1,"error":"the collector broke over this environment; configure it again"}"#;
    assert_eq!(told.last().unwrap(), error);
    bench.environments.configure(described("one")).await;
    assert_eq!(bench.after(MOMENT).await[0], ONLINE);
    assert_eq!(bench.meter.listeners(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_the_events_that_is_new_has_what_runs_listed_again() {
    let bench = Bench::started(FakeMeter::new()).await;
    bench.after(2 * SECOND).await;
    let before = bench.meter.counts().listings;
    bench.meter.stumble(unreachable());
    bench.after(2 * SECOND).await;
    assert!(bench.meter.counts().listings > before);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_up_for_nothing() {
    let bench = Bench::started(running(&[("one", 0.5, GIB)])).await;
    bench.after(2 * SECOND).await;
    let before = bench.meter.counts().cycles;
    advance(100 * INTERVAL).await;
    bench.after(MOMENT).await;
    assert!(bench.meter.counts().cycles - before <= 2);
}
