//! R8: our slowness never slows the engine. It waits for a subscriber that does not read, event by
//! event; so events are read however slowly the engine answers our own questions.

use std::time::{Duration, Instant};

use dormouse_testkit::door::{Door, Fault, Rule};
use dormouse_testkit::engine::FakeEngine;
use dormouse_wire::Phase;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, scale};

const EVENTS: usize = 20_000;
const BURST: usize = 200;
/// A real engine keeps so many events for a subscriber before it waits for it.
const ENGINE_KEEPS: usize = 1024;
/// A look at every event, one after the other, would take this long for each.
const LOOK_TAKES: Duration = Duration::from_millis(500);
/// A burst is read within this, also on a busy machine.
const READ_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_events_are_read_however_slow_the_answers_are() {
    let mut report = Report::of("R08");
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(fakes::container("web")).unwrap();
    let door = Door::before(engine.socket()).unwrap();
    let keys = "idle_timeout = \"never\"";
    let configuration = fakes::environment(door.socket()) + &fakes::workload("web", keys);
    let house = House::start(&configuration).await;
    house.admin.until("web", Phase::Asleep).await;
    let answer = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(answer, "web"));

    door.add(Rule::calls(Fault::AnswerLate(LOOK_TAKES)).named("json"));
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    for _ in 0..EVENTS * scale() / BURST {
        for _ in 0..BURST {
            // Each says that something was done to a workload, and asks for a look.
            engine.by_hand().kill("web", "HUP").await.unwrap();
        }
        let burst = Instant::now();
        while door.behind() > ENGINE_KEEPS / 2 && burst.elapsed() < READ_WITHIN {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slowest = slowest.max(burst.elapsed());
        let read = burst.elapsed() < READ_WITHIN;
        report.case(read.then_some(()).ok_or_else(|| format!("{} unread", door.behind())));
    }
    let served = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(served, "web"));
    report.finish(format_args!(
        "bursts of {BURST} events in {:.1?} under looks of {LOOK_TAKES:?}; at most {} waited, for \
         {slowest:.0?} at most",
        begun.elapsed(),
        door.behind_max(),
    ));
}
