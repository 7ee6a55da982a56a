//! Counters, the host, the running set and the disk, asked of fake engines.

use dormouse_core::usage::Usage;
use dormouse_providers::docker::{Backend, DockerMeter};
use dormouse_providers::{Meter, MeterError, Metered};
use dormouse_testkit::engine::{Answers, FakeEngine, Fault, Plan, Rule, Survivors, stock};
use std::time::Duration;
use tokio::time::Instant;

use crate::lab::{meter_at, meter_of, metered, newest, run, run_one, sample, sample_by};

const HALF_A_CORE: Plan = Plan {
    cpu_percent: 50,
    memory_bytes: 64 << 20,
    cache_bytes: 16 << 20,
    in_bytes: 4_000_000,
    out_bytes: 1_000_000,
};

/// Two samples between which the engine's clock has moved on by enough, and what was used.
async fn usage(meter: &DockerMeter, set: &[Metered]) -> Usage {
    let before = sample(meter, set).await.remove(0).unwrap();
    loop {
        let after = sample(meter, set).await.remove(0).unwrap();
        if after.wall_nanos - before.wall_nanos > 50_000_000 {
            return after.usage_since(&before).expect("both are of the same run");
        }
    }
}

#[tokio::test]
async fn what_a_container_uses_is_measured_on_engines_of_every_kind() {
    let old = FakeEngine::docker().await;
    old.meters().answer(Answers::AtOnce);
    for engine in [old, newest().await, FakeEngine::podman().await] {
        run(&engine, &["app"]).await;
        engine.set_plan("app", HALF_A_CORE);
        let usage = usage(&meter_of(&engine), &metered(&["app"])).await;
        // Podman's is measured by our clock, which the machine may hold up between two reads.
        assert!((25.0..=75.0).contains(&usage.cpu_percent), "{usage:?}");
        assert_eq!(usage.memory_bytes, 48 << 20);
        let (network, disk) = (usage.network.unwrap(), usage.disk.unwrap());
        assert!((2e6..8e6).contains(&network.in_bytes), "{network:?}");
        let ratio = network.in_bytes / network.out_bytes;
        assert!((3.9..4.1).contains(&ratio), "{network:?}");
        assert_eq!(network, disk);
    }
}

#[tokio::test]
async fn by_the_clock_of_an_engine_that_counts_its_host_the_figure_is_exact() {
    let engine = newest().await;
    run(&engine, &["app"]).await;
    engine.set_plan("app", HALF_A_CORE);
    let usage = usage(&meter_of(&engine), &metered(&["app"])).await;
    assert!((usage.cpu_percent - 50.0).abs() < 0.1, "{usage:?}");
}

#[tokio::test]
async fn one_that_cannot_be_read_is_an_error_of_its_own_and_harms_no_other() {
    let engine = newest().await;
    run(&engine, &["a", "refused", "garbled", "stopped", "z"]).await;
    engine.by_hand().kill("stopped", "KILL").await.unwrap();
    let refusal = Fault::Answer { status: 500, body: r#"{"message":"no cgroup"}"#.into() };
    engine.faults().add(Rule::any(refusal).path("/stats").container("refused"));
    engine.faults().add(Rule::any(Fault::Garbage).path("/stats").container("garbled"));
    let set = metered(&["a", "refused", "garbled", "stopped", "absent", "z"]);
    let sampled = sample(&meter_of(&engine), &set).await;
    assert!(sampled[0].is_ok() && sampled[5].is_ok(), "{sampled:?}");
    assert_eq!(sampled[1], Err(MeterError::Refused("no cgroup".into())));
    assert!(matches!(sampled[2], Err(MeterError::Nonsense(_))), "{sampled:?}");
    assert_eq!(sampled[3], Err(MeterError::Gone));
    assert_eq!(sampled[4], Err(MeterError::Gone));
}

#[tokio::test]
async fn podman_refuses_what_does_not_run_and_that_is_gone_as_well() {
    let engine = FakeEngine::podman().await;
    engine.by_hand().create(stock::obedient("idle")).unwrap();
    let sampled = sample(&meter_of(&engine), &metered(&["idle"])).await;
    assert_eq!(sampled, [Err(MeterError::Gone)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_answers_at_its_ticks_is_asked_for_all_at_once() {
    let engine = FakeEngine::docker().await;
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    run(&engine, &names).await;
    let meter = meter_of(&engine);
    let begun = Instant::now();
    let sampled = sample(&meter, &metered(&names)).await;
    assert!(sampled.iter().all(Result::is_ok), "{sampled:?}");
    // One after the other would take a minute, eight at a time eight seconds.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_engine_of_this_machine_that_answers_at_once_is_asked_one_by_one() {
    let engine = newest().await;
    run(&engine, &["a", "b", "c"]).await;
    engine.faults().add(Rule::any(Fault::Delay(Duration::from_millis(50))).path("/stats"));
    let meter = meter_of(&engine);
    sample(&meter, &metered(&["a", "b", "c"])).await;
    let mut asked: Vec<Instant> =
        engine.calls().iter().filter(|call| call.op == "stats").map(|call| call.at).collect();
    asked.sort();
    let gaps = asked.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.min() >= Some(Duration::from_millis(50)), "{asked:?}");
}

#[tokio::test]
async fn what_is_not_answered_by_the_deadline_is_answered_as_such() {
    let engine = newest().await;
    run(&engine, &["quick", "stuck", "behind"]).await;
    engine.faults().add(Rule::any(Fault::Hang).path("/stats").container("stuck"));
    let set = metered(&["quick", "stuck", "behind"]);
    let deadline = Instant::now() + Duration::from_secs(2);
    let sampled = sample_by(&meter_of(&engine), &set, deadline).await;
    assert!(sampled[0].is_ok(), "{sampled:?}");
    assert_eq!(sampled[1], Err(MeterError::Timeout("stats")));
    assert_eq!(sampled[2], Err(MeterError::Timeout("stats")));
}

#[tokio::test]
async fn an_engine_that_is_not_there_says_so_for_each() {
    let engine = newest().await;
    run(&engine, &["a", "b"]).await;
    let meter = meter_of(&engine);
    engine.kill().await;
    let sampled = sample(&meter, &metered(&["a", "b"])).await;
    let is_unreachable = |it: &Result<_, _>| matches!(it, Err(MeterError::Unreachable(why)) if why.contains("No such file"));
    assert!(sampled.iter().all(is_unreachable), "{sampled:?}");
}

#[tokio::test]
async fn refused_credentials_are_told_from_every_other_refusal() {
    for status in [401, 403] {
        let engine = newest().await;
        let refusal = Fault::Answer { status, body: r#"{"message":"bad token"}"#.into() };
        engine.faults().add(Rule::any(refusal));
        let meter = meter_of(&engine);
        let expected = MeterError::Credentials("bad token".into());
        assert_eq!(meter.host(crate::lab::soon()).await, Err(expected.clone()));
        assert_eq!(meter.running(crate::lab::soon()).await, Err(expected.clone()));
        assert_eq!(sample(&meter, &metered(&["a"])).await, [Err(expected)]);
    }
}

#[tokio::test]
async fn the_host_is_asked_for_once_per_connection() {
    let engine = newest().await;
    run(&engine, &["app"]).await;
    let meter = meter_of(&engine);
    let asked = || engine.calls().iter().filter(|call| call.op == "info").count();
    for _ in 0..5 {
        let host = meter.host(crate::lab::soon()).await.unwrap();
        assert_eq!((host.cpus, host.memory_bytes, host.version.as_str()), (2, 8 << 30, "29.0.0"));
        assert!(host.raw.starts_with(b"{") && host.raw.ends_with(b"}"));
        sample(&meter, &metered(&["app"])).await;
    }
    assert_eq!(asked(), 1);
    engine.restart(Survivors::Live).await;
    sample(&meter, &metered(&["app"])).await;
    meter.host(crate::lab::soon()).await.unwrap();
    assert_eq!(asked(), 2, "it may be another engine by now");
}

#[tokio::test]
async fn what_has_counters_is_what_runs_or_is_paused() {
    let engine = newest().await;
    run(&engine, &["runs", "paused", "ended"]).await;
    engine.by_hand().create(stock::obedient("created")).unwrap();
    engine.by_hand().pause("paused").await.unwrap();
    engine.by_hand().kill("ended", "KILL").await.unwrap();
    let running = meter_of(&engine).running(crate::lab::soon()).await.unwrap();
    let mut names: Vec<&str> = running.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["paused", "runs"]);
    assert!(running.iter().all(|it| it.id.len() == 64), "{running:?}");
}

#[tokio::test]
async fn a_paused_container_uses_no_processor_and_keeps_its_memory() {
    let engine = newest().await;
    run(&engine, &["app"]).await;
    engine.set_plan("app", HALF_A_CORE);
    engine.by_hand().pause("app").await.unwrap();
    let usage = usage(&meter_of(&engine), &metered(&["app"])).await;
    assert_eq!((usage.cpu_percent, usage.memory_bytes), (0.0, 48 << 20));
}

#[tokio::test]
async fn the_disk_is_summed_and_passed_on_however_long_the_account_is() {
    let engine = newest().await;
    run(&engine, &["a", "b"]).await;
    engine.meters().pad_disk(20 << 20);
    let disk = meter_of(&engine).disk(crate::lab::soon()).await.unwrap();
    let sums =
        (disk.images_bytes, disk.containers_bytes, disk.volumes_bytes, disk.build_cache_bytes);
    assert_eq!(sums, (1_982_284, 8_192, 65_536, 0));
    assert!(disk.raw.len() > 20 << 20);
    assert!(!disk.raw.contains(&b'\n'));
}

#[tokio::test]
async fn an_account_of_the_disk_that_breaks_off_is_an_error() {
    let engine = newest().await;
    engine.faults().add(Rule::any(Fault::CutAfter(20)).path("/system/df"));
    let disk = meter_of(&engine).disk(crate::lab::soon()).await;
    assert!(matches!(disk, Err(MeterError::Unreachable(_))), "{disk:?}");
}

#[tokio::test]
async fn a_thousand_samples_need_two_connections() {
    let engine = newest().await;
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    for name in &names {
        run_one(&engine, stock::obedient(name)).await;
    }
    let meter = meter_at(engine.socket(), Backend::Api);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let set = metered(&names);
    for _ in 0..10 {
        assert!(sample(&meter, &set).await.iter().all(Result::is_ok));
    }
    let opened = meter.connections_opened();
    assert!(opened <= 2, "{opened} were opened");
}
