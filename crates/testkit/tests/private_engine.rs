//! The private engine itself: it does what an engine does, it can be killed, and nothing of it
//! remains.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dormouse_testkit::engine::{ContainerSpec, RestartPolicy};
use dormouse_testkit::images::RealEngine;
use dormouse_testkit::private_engine::{LiveRestore, PrivateEngine};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_engine_comes_back_without_its_containers_and_leaves_nothing_behind() {
    let Some(mut private) = PrivateEngine::of_machine(LiveRestore::Off) else { return };
    let folder = private.socket().parent().unwrap().to_owned();
    let engine = RealEngine::at(&private.socket()).await.expect("it answers");
    engine.create_busybox(&served("web", RestartPolicy::No)).await.unwrap();
    engine.create_busybox(&served("always", RestartPolicy::Always)).await.unwrap();
    for name in ["web", "always"] {
        engine.start(name).await.unwrap();
        until_connected(&engine, name).await;
    }

    private.kill();
    assert!(RealEngine::at(&private.socket()).await.is_none(), "a killed engine answers nobody");
    private.restart().unwrap();
    assert_eq!(state(&engine, "web").await, "exited");
    assert_eq!(state(&engine, "always").await, "running");

    private.terminate().unwrap();
    assert!(!private.socket().exists(), "an engine that ends in order removes its socket");
    drop(engine);
    drop(private);
    assert!(!folder.exists(), "its folder remains");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*folder.to_string_lossy()), "a mount remains");
    assert!(!is_named_by_a_process(&folder), "a process remains");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_live_restore_containers_outlive_their_engine() {
    let Some(mut private) = PrivateEngine::of_machine(LiveRestore::On) else { return };
    let engine = RealEngine::at(&private.socket()).await.expect("it answers");
    engine.create_busybox(&served("web", RestartPolicy::No)).await.unwrap();
    engine.start("web").await.unwrap();
    until_connected(&engine, "web").await;
    let run = engine.inspect("web").await.unwrap()["State"]["Pid"].clone();
    private.kill();
    private.restart().unwrap();
    private.terminate().unwrap();
    private.restart().unwrap();
    assert_eq!(state(&engine, "web").await, "running");
    assert_eq!(engine.inspect("web").await.unwrap()["State"]["Pid"], run);
}

fn served(name: &str, policy: RestartPolicy) -> ContainerSpec {
    let mut spec = ContainerSpec::named(name);
    spec.command = ["httpd", "-f", "-p", "8080"].map(Into::into).into();
    spec.restart_policy = policy;
    // It does not hear the engine's TERM.
    spec.stop_timeout = Some(Duration::from_secs(1));
    spec
}

async fn state(engine: &RealEngine, name: &str) -> String {
    let inspect = engine.inspect(name).await.unwrap();
    inspect["State"]["Status"].as_str().unwrap_or_default().to_owned()
}

/// A route leads from here to its containers.
async fn until_connected(engine: &RealEngine, name: &str) {
    let inspect = engine.inspect(name).await.unwrap();
    let ip = inspect["NetworkSettings"]["IPAddress"].as_str().unwrap();
    let address = SocketAddr::new(ip.parse().unwrap(), 8080);
    let give_up_at = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        assert!(Instant::now() < give_up_at, "{name} is not reached at {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_named_by_a_process(folder: &Path) -> bool {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(&folder))
}
