//! R38: an environment that is away for long. It is tried again and again, at its longest pace; it
//! is back within that pace, also where another file stands at its path; and then it serves.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dormouse_core::backoff::Backoff;
use dormouse_core::limits::{ENGINE_RETRY_DELAY_LOCAL_MAX, ENGINE_RETRY_DELAY_MIN};
use dormouse_testkit::engine::FakeEngine;
use dormouse_wire::Phase;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};

/// A day, scaled: many times the longest pace.
const AWAY: Duration = Duration::from_secs(12);
/// What a busy machine may add to the longest pace.
const MARGIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r38_an_environment_that_was_away_for_long_is_back_at_once() {
    let mut report = Report::of("R38");
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(fakes::container("web")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    symlink(engine.socket(), &path).unwrap();
    let keys = "idle_timeout = \"1s\"";
    let house = House::start(&(fakes::environment(&path) + &fakes::workload("web", keys))).await;
    house.admin.until("web", Phase::Asleep).await;
    let answer = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(answer, "web"));

    for _ in 0..scale(UNNAMED) {
        // First something that hangs up on whoever comes stands there, then nothing at all.
        engine.kill().await;
        std::fs::remove_file(&path).unwrap();
        let tries = Arc::new(AtomicUsize::new(0));
        let mut rude = JoinSet::new();
        rude.spawn(hang_up(UnixListener::bind(&path).unwrap(), Arc::clone(&tries)));
        tokio::time::sleep(AWAY / 2).await;
        let tries = tries.load(Ordering::Acquire);
        let expected = AWAY.as_secs() / 2 / ENGINE_RETRY_DELAY_LOCAL_MAX.as_secs() / 2;
        let often = tries as u64 >= expected && tries < 400;
        report.case(often.then_some(()).ok_or(format!("it was tried {tries} times")));
        rude.abort_all();
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(AWAY / 2).await;
        let asleep = house.admin.phase("web").await;
        report.case((asleep != Phase::Gone).then_some(()).ok_or("taken for gone".to_owned()));

        engine.restart(dormouse_testkit::engine::Survivors::Live).await;
        let took = come_back(&house, engine.socket(), &path).await;
        let soon = took <= ENGINE_RETRY_DELAY_LOCAL_MAX + MARGIN;
        report.case(soon.then_some(()).ok_or(format!("back after {took:?}")));
        let answer = exchange(house.http, get("web.test", "/")).await;
        report.case(fakes::answered_by(answer, "web"));
        println!("tried {tries} times while it hung up; back after {took:.1?}");
    }
    // A real day is a matter of arithmetic: no wait ever exceeds the longest one.
    let backoff = Backoff::doubling(ENGINE_RETRY_DELAY_MIN, ENGINE_RETRY_DELAY_LOCAL_MAX);
    let longest = (1..=90_000).map(|n| backoff.jittered(n, u16::MAX)).max().unwrap();
    let bounded = longest <= ENGINE_RETRY_DELAY_LOCAL_MAX;
    report.case(bounded.then_some(()).ok_or(format!("a wait of {longest:?}")));
    report.finish(format_args!("looks at an environment that was away for {AWAY:?}"));
}

async fn hang_up(listener: UnixListener, tries: Arc<AtomicUsize>) {
    while listener.accept().await.is_ok() {
        tries.fetch_add(1, Ordering::AcqRel);
    }
}

/// Puts the engine's socket at the path again, and answers how long it took to be noticed.
async fn come_back(house: &House, engine: &Path, path: &Path) -> Duration {
    symlink(engine, path).unwrap();
    let back = Instant::now();
    let give_up_at = back + ENGINE_RETRY_DELAY_LOCAL_MAX + MARGIN * 2;
    while Instant::now() < give_up_at {
        let listed = house.admin.call("GET", "/api/v1/environments", "").await.json();
        if listed[0]["state"] == "up" {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    back.elapsed()
}
