//! R19: dormouse stands still for a while (a suspended machine, a stopped process). What was used
//! meanwhile is not known, so nothing rests before a full idle period.

use std::time::{Duration, Instant};

use dormouse_wire::Phase;
use rustix::process::Signal;

use crate::harness::client::{Stream, fetch, get};
use crate::harness::house::House;
use crate::harness::load::Load;
use crate::harness::local::process;
use crate::harness::report::{Report, scale};

/// Long enough that every idle deadline was slept through: it was due ten seconds before the end.
const STOPPED_FOR: Duration = Duration::from_secs(16);
/// The scale of 10 minutes.
const FULL: usize = 38;
const IDLE: Duration = Duration::from_secs(5);
/// When it is looked that nothing has rested, after it went on.
const LOOKED_AFTER: Duration = Duration::from_millis(4_500);
const WORKLOADS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_nothing_rests_because_dormouse_stood_still() {
    let mut report = Report::of("R19");
    let names: Vec<String> = (0..WORKLOADS).map(|n| format!("w{n}")).collect();
    let rest = |n: usize| if n.is_multiple_of(2) { "stop" } else { "pause" };
    let section = |(n, name): (usize, &String)| {
        let keys = format!("idle_timeout = \"{}s\"\nrest = {:?}", IDLE.as_secs(), rest(n));
        process(name, &[], &keys)
    };
    let sections: String = names.iter().enumerate().map(section).collect();
    let house = House::start(&sections).await;
    for name in &names {
        Load::on(house.http, &format!("{name}.test"), 1).send(1).await;
        house.admin.until(name, Phase::Ready).await;
    }
    // One of them is in use all the time.
    let mut events = Stream::open(house.http, get("w0.test", "/sse?n=0&every_ms=200")).await;
    let stopped_for = STOPPED_FOR * u32::try_from(scale(FULL)).unwrap();
    house.signal(Signal::STOP);
    tokio::time::sleep(stopped_for).await;
    // It comes while nobody can hear it, and is served without a wake.
    let visitor = tokio::spawn(fetch(house.http, get("w1.test", "/instance")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    house.signal(Signal::CONT);
    let went_on = Instant::now();
    let visited = visitor.await.unwrap();
    let warm = visited.status == 200 && visited.header("x-dormouse-wake").is_empty();
    report.case(if warm { Ok(()) } else { Err(format!("the visitor: {visited:?}")) });
    report.case(events.next().await.map(drop).ok_or("the stream ended"));
    tokio::time::sleep(LOOKED_AFTER.saturating_sub(went_on.elapsed())).await;
    for name in &names {
        let workload = house.admin.workload(name).await;
        let ready = workload.phase == Phase::Ready;
        report.case(if ready { Ok(()) } else { Err(format!("{name}: {workload:?}")) });
    }
    // It rests all the same, once it has been idle.
    for name in &names[2..] {
        house.admin.until(name, Phase::Asleep).await;
    }
    report.case(match house.admin.phase("w0").await {
        Phase::Ready => Ok(()),
        other => Err(format!("what is in use is {}", other.as_str())),
    });
    drop(events);
    report.finish(format_args!("looks; {WORKLOADS} workloads, stood still for {stopped_for:?}"));
}
