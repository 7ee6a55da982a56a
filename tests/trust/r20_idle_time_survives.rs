//! R20: a restart in order goes on with the idle periods that had begun; after a crash whatever
//! runs has a full one.

use std::time::{Duration, Instant};

use dormouse_wire::Phase;

use crate::harness::client::{fetch, get};
use crate::harness::docker::{App, Docker};
use crate::harness::house::House;
use crate::harness::report::Report;

const IDLE: Duration = Duration::from_secs(24);
/// Of the idle period, before the restart.
const UNUSED: Duration = Duration::from_secs(12);
/// What is left has passed by then, and a full period has not.
const RESTS_BY: Duration = Duration::from_secs(19);
/// No rest comes earlier than this after a start, less what a timer may be early.
const FLOOR: Duration = Duration::from_millis(9_900);

/// How dormouse ends.
#[derive(Clone, Copy, Debug)]
enum End {
    InOrder,
    Killed,
    /// In order, and the container is started anew while nobody looks.
    StartedAnew,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_idle_time_survives_a_restart() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut report = Report::of("R20");
    let worlds = [("order", End::InOrder), ("killed", End::Killed), ("anew", End::StartedAnew)];
    let mut apps = Vec::new();
    for (short, _) in worlds {
        apps.push(docker.app(short, &[]).await);
    }
    let ends = worlds.map(|(_, end)| end);
    let rests = ends.iter().zip(&apps).map(|(end, app)| rested_after(&docker, app, *end));
    let rested = futures_util::future::join_all(rests).await;
    for (end, rested) in ends.iter().zip(&rested) {
        let right = match end {
            End::InOrder => rested.is_some_and(|after| after >= FLOOR && after < RESTS_BY),
            End::Killed | End::StartedAnew => rested.is_none(),
        };
        report.case(if right { Ok(()) } else { Err(format!("{end:?}: rested after {rested:?}")) });
    }
    report.finish(format_args!(
        "restarts after {UNUSED:?} of {IDLE:?}; the rest came {:.1?} after the start",
        rested[0].unwrap_or_default()
    ));
}

/// How long after the restart the container was put to rest, if it was by [`RESTS_BY`].
async fn rested_after(docker: &Docker, app: &App, end: End) -> Option<Duration> {
    let keys = format!("idle_timeout = \"{}s\"", IDLE.as_secs());
    let mut house = House::start(&(docker.environment() + &app.workload(&keys))).await;
    assert_eq!(fetch(house.http, get(&app.host(), "/instance")).await.status, 200);
    let used = Instant::now();
    // Used once more, so that it is not the opening of its gate that counts.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fetch(house.http, get(&app.host(), "/instance")).await.status, 200);
    tokio::time::sleep(UNUSED.saturating_sub(used.elapsed())).await;
    match end {
        End::InOrder => {
            house.end().await;
        }
        End::Killed => house.kill(),
        End::StartedAnew => {
            house.end().await;
            docker.engine.restart(&app.name).await.unwrap();
        }
    }
    house.start_again().await;
    let started = Instant::now();
    house.admin.until(&app.short, Phase::Ready).await;
    while started.elapsed() < RESTS_BY {
        if house.admin.phase(&app.short).await == Phase::Asleep {
            return Some(started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
