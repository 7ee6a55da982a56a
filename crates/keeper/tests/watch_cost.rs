//! What a thousand watches cost, in processor time, which other work on the machine does not add to.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dormouse_core::watch::Settings;
use dormouse_keeper::probe::Probe;
use dormouse_keeper::watch::{Manager, Spec};
use tokio::net::TcpListener;

const WATCHES: u64 = 1_000;
/// What a poll interval is shortened to, so that the measurement need not take minutes.
const POLL: Duration = Duration::from_millis(500);
const REAL_POLL: Duration = Duration::from_secs(60);
const POLLS: u64 = 8;
/// The mark.
const SHARE_MAX: f64 = 0.001;

/// Processor time of this process so far, in seconds; the kernel counts in hundredths.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

/// The share of a core that a thousand watches with this probe would take at the real interval.
async fn share<P, F>(probe: P) -> f64
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let probes = Arc::new(AtomicU64::new(0));
    let policy = Settings { poll_interval: POLL, ..Settings::default() }.validated().unwrap();
    let manager = Manager::new();
    for number in 0..WATCHES {
        let (probe, count) = (probe.clone(), Arc::clone(&probes));
        let spec = Spec::new(format!("service-{number}"), move || {
            count.fetch_add(1, Ordering::Relaxed);
            probe()
        });
        manager.watch(spec.policy(policy)).unwrap();
    }
    let until = async |count| {
        while probes.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until(WATCHES * 2).await;
    let (began, first) = (processor_seconds(), probes.load(Ordering::Relaxed));
    until(first + WATCHES * POLLS).await;
    let seconds = processor_seconds() - began;
    let probed = (probes.load(Ordering::Relaxed) - first) as f64;
    manager.stop_all().await;
    seconds / probed * WATCHES as f64 / REAL_POLL.as_secs_f64()
}

#[tokio::test]
async fn a_thousand_watches_at_a_minute_cost_a_thousandth_of_a_core() {
    let alone = share(|| async { Ok(()) }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let probe = Arc::new(Probe::new(target.parse().unwrap()));
    let tcp = share(move || {
        let probe = Arc::clone(&probe);
        async move { probe.run().await.map_err(|error| error.to_string()) }
    })
    .await;
    accepting.abort();
    println!(
        "{WATCHES} watches every {REAL_POLL:?}: {:.4} % of a core by themselves, {:.4} % with a \
         connect each, the server of this test included",
        alone * 100.0,
        tcp * 100.0
    );
    assert!(alone <= SHARE_MAX, "{alone}");
}
