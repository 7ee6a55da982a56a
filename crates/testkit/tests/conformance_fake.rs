//! The Docker provider against the fake engine, in each of its flavours.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod fake_bench;

use dormouse_testkit::conformance;
use dormouse_testkit::engine::{EngineConfig, StopOrder};

use fake_bench::FakeBench;

async fn docker_20_10() -> Option<FakeBench> {
    Some(FakeBench::with(EngineConfig::docker_20_10()).await)
}

dormouse_testkit::conformance_tests!(docker_20_10);

/// The same checks for engines that speak otherwise; they mostly wait, so they wait together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_flavour_conforms() {
    let says_stop_first =
        EngineConfig { stop_order: StopOrder::StopThenDie, ..EngineConfig::docker_20_10() };
    let flavours = [
        FakeBench::with(EngineConfig::docker_29()).await,
        FakeBench::with(says_stop_first).await,
        FakeBench::with(EngineConfig::podman()).await,
    ];
    let [docker_29, says_stop_first, podman] = &flavours;
    tokio::join!(
        conformance::run_all(docker_29),
        conformance::run_all(says_stop_first),
        conformance::run_all(podman),
    );
}
