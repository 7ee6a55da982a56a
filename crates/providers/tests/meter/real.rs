//! Both ways of reading counters on the machine's own engine, against each other and against the
//! kernel.

use std::time::Duration;

use dormouse_core::usage::RawSample;
use dormouse_providers::docker::{Backend, DockerMeter};
use dormouse_providers::{Meter, MeterError, Metered};
use dormouse_testkit::engine::{ContainerSpec, stock};
use dormouse_testkit::images::RealEngine;

use crate::lab::{meter_at, sample, soon};

/// Long enough for the kernel's ticks not to matter.
const WHILE: Duration = Duration::from_secs(4);

/// A container of this test that is gone when the test has ended well.
struct Guest {
    engine: RealEngine,
    name: String,
}

impl Guest {
    /// Runs a shell script that burns half of one processor.
    async fn burning(short: &str) -> Option<Self> {
        let engine = RealEngine::of_machine().await?;
        let name = format!("dormouse-meter-{}-{short}", std::process::id());
        let script =
            "while :; do n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; sleep 0.05; done";
        let spec = ContainerSpec {
            command: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
            ..stock::obedient(&name)
        };
        engine.create_busybox(&spec).await.unwrap();
        engine.start(&name).await.unwrap();
        Some(Self { engine, name })
    }

    fn meter(&self, backend: Backend) -> std::sync::Arc<DockerMeter> {
        meter_at(self.engine.socket(), backend)
    }

    async fn metered(&self, meter: &DockerMeter) -> Metered {
        let running = meter.running(soon()).await.unwrap();
        let own = running.into_iter().find(|it| it.name == self.name).unwrap();
        Metered { reference: own.id, run: 1 }
    }

    async fn leave(self) {
        self.engine.remove(&self.name).await.unwrap();
    }
}

async fn one(meter: &DockerMeter, metered: &Metered) -> RawSample {
    sample(meter, std::slice::from_ref(metered)).await.remove(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_groups_and_the_engine_tell_the_same_of_a_half_core_burner() {
    let Some(guest) = Guest::burning("same").await else { return };
    let (here, there) = (guest.meter(Backend::Auto), guest.meter(Backend::Api));
    let metered = guest.metered(&here).await;
    // The engine reads at its own ticks, so that its readings lie within ours.
    let outer = one(&here, &metered).await;
    let before = one(&there, &metered).await;
    let inner = one(&here, &metered).await;
    tokio::time::sleep(WHILE).await;
    let inner = one(&here, &metered).await.usage_since(&inner).unwrap();
    let after = one(&there, &metered).await;
    let end = one(&here, &metered).await;
    let outer = end.usage_since(&outer).unwrap();
    let theirs = after.usage_since(&before).unwrap();
    let distance = (theirs.cpu_percent - outer.cpu_percent)
        .abs()
        .min((theirs.cpu_percent - inner.cpu_percent).abs());
    // The burner's own pace changes with what else the machine does from one second to the next.
    assert!(distance < 10.0, "engine {theirs:?}, control groups {outer:?} and {inner:?}");
    assert!(end.cpu_nanos >= after.cpu_nanos && after.cpu_nanos > before.cpu_nanos);
    assert!(theirs.cpu_percent > 1.0, "it burns: {theirs:?}");
    let memory = (theirs.memory_bytes as f64 - outer.memory_bytes as f64).abs();
    assert!(memory < 1e6, "engine {theirs:?}, control groups {outer:?}");
    assert_eq!(theirs.network.is_some(), outer.network.is_some());
    guest.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_of_the_engine_for_counters_that_the_kernel_shows() {
    let Some(guest) = Guest::burning("quiet").await else { return };
    let meter = guest.meter(Backend::Auto);
    let metered = guest.metered(&meter).await;
    let first = one(&meter, &metered).await;
    let calls = meter.calls_sent();
    for _ in 0..20 {
        let next = one(&meter, &metered).await;
        assert!(next.cpu_nanos >= first.cpu_nanos);
    }
    assert_eq!(meter.calls_sent(), calls, "the kernel was asked");
    guest.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_is_gone_and_its_next_run_is_found_again() {
    let Some(guest) = Guest::burning("again").await else { return };
    for backend in [Backend::Auto, Backend::Api] {
        let meter = guest.meter(backend);
        let mut metered = guest.metered(&meter).await;
        one(&meter, &metered).await;
        guest.engine.kill(&guest.name, "KILL").await.unwrap();
        let gone = loop {
            // The kernel takes its time with the last of a group.
            let sampled = sample(&meter, std::slice::from_ref(&metered)).await.remove(0);
            if sampled.is_err() {
                break sampled;
            }
        };
        assert_eq!(gone, Err(MeterError::Gone), "{backend:?}");
        guest.engine.start(&guest.name).await.unwrap();
        metered.run += 1;
        one(&meter, &metered).await;
    }
    guest.leave().await;
}
