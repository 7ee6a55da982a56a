//! What one reading of a container's counters costs us, and what a round over sixty takes: by the
//! kernel's control groups and over the engine's API, on the machine's engine and on a fake one in a
//! process of its own. Medians of rounds, CPU of this process's own threads.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dormouse_core::usage::RawSample;
use dormouse_providers::docker::{
    Backend, DockerConfig, DockerEndpoint, DockerMeter, MeterOptions, Scope,
};
use dormouse_providers::{Meter, MeterError, Metered};
use dormouse_testkit::engine::{EngineConfig, FakeEngine, stock};
use dormouse_testkit::images::RealEngine;

const ROUNDS: usize = 15;
const FAKES: usize = 200;
const REALS: usize = 60;
/// Set for the process that is the fake engine.
const SOCKET_FILE: &str = "DORMOUSE_BENCH_SOCKET_FILE";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    match std::env::var(SOCKET_FILE) {
        Ok(file) => runtime.block_on(serve(Path::new(&file))),
        Err(_) => runtime.block_on(run()),
    }
}

async fn run() {
    println!(
        "{:<44} {:>7} {:>12} {:>12}",
        "a round over running containers", "of", "wall ms", "CPU µs each"
    );
    let (mut fake, socket) = fake_engine();
    measure("fake, API, processor and memory", &socket, Scope::CpuAndMemory, Backend::Api).await;
    fake.kill().expect("it still runs");
    fake.wait().expect("it has been started");
    let Some(engine) = RealEngine::of_machine().await else { return };
    let names: Vec<String> =
        (0..REALS).map(|n| format!("dormouse-bench-meter-{}-{n}", std::process::id())).collect();
    for name in &names {
        engine.create_busybox(&stock::obedient(name)).await.expect("the engine creates containers");
        engine.start(name).await.expect("the engine starts containers");
    }
    let socket = engine.socket().to_owned();
    measure("engine, API", &socket, Scope::All, Backend::Api).await;
    measure("control groups, processor and memory", &socket, Scope::CpuAndMemory, Backend::Auto)
        .await;
    measure("control groups, network and devices too", &socket, Scope::All, Backend::Auto).await;
    for name in &names {
        engine.remove(name).await.expect("the engine removes containers");
    }
}

async fn measure(what: &str, socket: &Path, scope: Scope, backend: Backend) {
    let config = DockerConfig {
        endpoint: DockerEndpoint::Unix(socket.to_owned()),
        token: None,
        network: None,
    };
    let meter = DockerMeter::new(config, MeterOptions { scope, backend })
        .expect("a socket needs no configuration");
    let deadline = || tokio::time::Instant::now() + Duration::from_secs(60);
    let running = meter.running(deadline()).await.expect("the engine lists");
    let set: Vec<Metered> =
        running.into_iter().map(|it| Metered { reference: it.id, run: 1 }).collect();
    let mut costs = Vec::new();
    for round in 0..=ROUNDS {
        let (begun, cpu) = (Instant::now(), process_cpu());
        let mut read = 0;
        let mut take =
            |_: usize, sample: Result<RawSample, MeterError>| read += usize::from(sample.is_ok());
        meter.sample(&set, deadline(), &mut take).await;
        assert_eq!(read, set.len(), "each is read");
        // The first finds out where things are.
        if round > 0 {
            costs.push((begun.elapsed(), process_cpu().saturating_sub(cpu)));
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    let wall = median(costs.iter().map(|cost| cost.0).collect());
    let cpu = median(costs.iter().map(|cost| cost.1).collect());
    println!(
        "{what:<44} {:>7} {:>12.2} {:>12.1}",
        set.len(),
        wall * 1e3,
        cpu * 1e6 / set.len() as f64
    );
}

/// This program once more, as the engine: its own time is none of ours.
fn fake_engine() -> (Child, PathBuf) {
    let folder = std::env::temp_dir().join(format!("dormouse-bench-{}", std::process::id()));
    let program = std::env::current_exe().expect("this program is a file");
    let child = Command::new(program).env(SOCKET_FILE, &folder).stdout(Stdio::null()).spawn();
    let child = child.expect("this program can be run again");
    loop {
        match std::fs::read_to_string(&folder) {
            Ok(socket) if socket.ends_with('\n') => {
                std::fs::remove_file(&folder).expect("it was read just now");
                return (child, socket.trim_end().into());
            }
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

async fn serve(file: &Path) {
    let engine = FakeEngine::with(EngineConfig::docker_29()).await;
    for n in 0..FAKES {
        let name = format!("c{n}");
        engine.by_hand().create(stock::obedient(&name)).expect("a fresh name");
        engine.by_hand().start(&name).await.expect("it starts");
    }
    std::fs::write(file, format!("{}\n", engine.socket().display())).expect("a writable folder");
    std::future::pending().await
}

/// The time that the kernel has given to the threads of this process.
fn process_cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("a process has threads");
    let nanos = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
