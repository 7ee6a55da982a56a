//! What one look at a container costs us: over pooled connections, against a connection for each
//! call, on the machine's engine and on a fake one. Medians of interleaved rounds, CPU of this
//! thread only.

use std::path::Path;
use std::time::{Duration, Instant};

use dormouse_providers::docker::{DockerConfig, DockerEndpoint, DockerProvider};
use dormouse_providers::{Provider, Target};
use dormouse_testkit::engine::{RawClient, stock};
use dormouse_testkit::images::RealEngine;

const ROUNDS: usize = 15;
const CALLS: u32 = 200;

#[derive(Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had").block_on(run());
}

async fn run() {
    let Some(engine) = RealEngine::of_machine().await else { return };
    let name = format!("dormouse-bench-{}", std::process::id());
    let mut spec = stock::obedient(&name).publishing(80, "127.0.0.1");
    spec.labels.insert("dormouse.enable".to_owned(), "true".to_owned());
    engine.create_busybox(&spec).await.expect("the engine creates containers");
    engine.start(&name).await.expect("the engine starts containers");
    measure(engine.socket(), &Target::new(&name)).await;
}

async fn measure(socket: &Path, target: &Target) {
    let endpoint = DockerEndpoint::Unix(socket.to_owned());
    let provider = DockerProvider::new(DockerConfig { endpoint, token: None, network: None })
        .expect("a socket needs no configuration");
    let raw = RawClient::new(socket);
    let path = format!("/containers/{target}/json");
    let (mut pooled, mut fresh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        pooled.push(timed(async || drop(look(&provider, target).await)).await);
        fresh.push(timed(async || drop(raw.read(&path).await.map(|answer| answer.json()))).await);
    }
    let stats = provider.stats();
    println!("{:<34} {:>9} {:>9}", "one inspect", "wall µs", "CPU µs");
    for (what, costs) in
        [("pooled, read into a sighting", pooled), ("a connection each, into JSON", fresh)]
    {
        let median = median(costs);
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(CALLS);
        println!("{what:<34} {:>9.1} {:>9.1}", micros(median.wall), micros(median.cpu));
    }
    println!("{} calls over {} connections", stats.calls, stats.connections_opened);
}

async fn look(provider: &DockerProvider, target: &Target) -> dormouse_providers::Sighting {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    provider.observe(target, deadline).await.expect("the engine answers")
}

async fn timed(mut call: impl AsyncFnMut()) -> Cost {
    let (begun, cpu) = (Instant::now(), thread_cpu());
    for _ in 0..CALLS {
        call().await;
    }
    Cost { wall: begun.elapsed(), cpu: thread_cpu().saturating_sub(cpu) }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.cpu);
    let cpu = costs[costs.len() / 2].cpu;
    costs.sort_by_key(|cost| cost.wall);
    Cost { wall: costs[costs.len() / 2].wall, cpu }
}

/// The time that the kernel has given to this thread.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
