//! R10: what crashes at every start, or is killed for its memory, is asked for without a pause:
//! its starts follow the backoff all the same.

use std::time::{Duration, Instant};

use dormouse_testkit::engine::{ContainerSpec, FakeEngine};
use dormouse_wire::Phase;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};

const LASTS: Duration = Duration::from_secs(25);
/// The exit code of a crash, and of a process that was killed.
const CAST: [(&str, i32); 2] = [("crasher", 1), ("glutton", 137)];
/// Three starts of each wake, 2 s and 4 s apart, then 2, 4, 8… s without one, all of it halved at
/// most by the jitter.
const STARTS_MAX: usize = 12;
/// The shortest wait between two starts: half of the first one.
const GAP_MIN: Duration = Duration::from_millis(950);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_the_starts_of_a_crash_loop_follow_the_backoff() {
    let mut report = Report::of("R10");
    let engine = FakeEngine::docker().await;
    let mut configuration = fakes::environment(engine.socket());
    for (name, code) in CAST {
        let crash = Some((Duration::from_millis(30), code));
        let spec: ContainerSpec = fakes::container(name).behaving(|it| {
            it.crash = crash;
            it.listen_delay = Duration::from_secs(60);
        });
        engine.by_hand().create(spec).unwrap();
        configuration += &fakes::workload(name, "wake_timeout = \"20s\"");
    }
    let house = House::start(&configuration).await;
    for (name, _) in CAST {
        house.admin.until(name, Phase::Asleep).await;
    }
    let lasts = LASTS * u32::try_from(scale(UNNAMED)).unwrap().min(20);
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < lasts {
        for (name, _) in CAST {
            let answer = exchange(house.http, get(&format!("{name}.test"), "/")).await.unwrap();
            let told = answer.status == 502 && answer.json()["slug"] == "crashed";
            report.case(told.then_some(()).ok_or_else(|| answer.text()));
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut all = Vec::new();
    for (name, _) in CAST {
        let events = engine.events();
        let starts: Vec<u64> = events
            .iter()
            .filter(|event| event.action == "start" && event.name() == name)
            .map(|event| event.time_nano)
            .collect();
        let few = starts.len() <= STARTS_MAX * scale(UNNAMED);
        report.case(few.then_some(()).ok_or_else(|| format!("{name}: {} starts", starts.len())));
        for two in starts.windows(2) {
            let gap = Duration::from_nanos(two[1] - two[0]);
            report.case((gap >= GAP_MIN).then_some(()).ok_or(format!("{name}: {gap:?} apart")));
        }
        all.push(starts.len());
    }
    report.finish(format_args!("answers and gaps; {asked} requests in {lasts:?}, starts {all:?}"));
}
