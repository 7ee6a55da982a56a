//! R8: our slowness never slows the engine. It waits for a subscriber that does not read, event by
//! event; so events are read however slowly the engine answers our own questions, and also while it
//! does not answer one of them.

use std::time::{Duration, Instant};

use dormouse_testkit::door::{Door, Fault, Rule};
use dormouse_testkit::engine::{Call, FakeEngine};
use dormouse_wire::Phase;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, scale};
use crate::harness::{PATIENCE, eventually};

/// The workload to which things are done.
const STIRRED: &str = "stirred";
const EVENTS: usize = 20_000;
const BURST: usize = 200;
/// A real engine keeps so many events for a subscriber before it waits for it.
const ENGINE_KEEPS: usize = 1024;
/// A look at every event, one after the other, would take this long for each.
const LOOK_TAKES: Duration = Duration::from_millis(500);
/// Events while not one look is answered: more than fits into all buffers on their way.
const UNANSWERED: usize = 20_000;
/// A burst is read within this, also on a busy machine.
const READ_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_events_are_read_however_slow_the_answers_are() {
    let mut report = Report::of("R08");
    let engine = FakeEngine::docker().await;
    for name in ["web", STIRRED] {
        engine.by_hand().create(fakes::container(name)).unwrap();
    }
    engine.by_hand().start(STIRRED).await.unwrap();
    let door = Door::before(engine.socket()).unwrap();
    let keys = "idle_timeout = \"never\"";
    let workloads = ["web", STIRRED].map(|name| fakes::workload(name, keys)).concat();
    let configuration = fakes::environment(door.socket()) + &workloads;
    let house = House::start(&configuration).await;
    house.admin.until("web", Phase::Asleep).await;
    let answer = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(answer, "web"));

    door.forget();
    let hold = door.hold("json");
    stir(&engine, 2).await;
    eventually(PATIENCE, "a look waits for its answer", async || looks(&door) > 0).await;
    stir(&engine, UNANSWERED).await;
    let held = Instant::now();
    while door.behind() > 0 && held.elapsed() < READ_WITHIN {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let unread = door.behind();
    report.case((unread == 0).then_some(()).ok_or(format!("{unread} unread without an answer")));
    if unread > 0 {
        // Each of what follows would wait for its deadline.
        return report.finish(format_args!("of {UNANSWERED} events"));
    }
    drop(hold);

    door.forget();
    door.add(Rule::calls(Fault::AnswerLate(LOOK_TAKES)).named("json"));
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    for _ in 0..EVENTS * scale() / BURST {
        stir(&engine, BURST).await;
        let burst = Instant::now();
        while door.behind() > ENGINE_KEEPS / 2 && burst.elapsed() < READ_WITHIN {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        slowest = slowest.max(burst.elapsed());
        let read = burst.elapsed() < READ_WITHIN;
        report.case(read.then_some(()).ok_or_else(|| format!("{} unread", door.behind())));
    }
    report.case((looks(&door) > 0).then_some(()).ok_or("no event was worth a look"));
    let served = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(served, "web"));
    report.finish(format_args!(
        "bursts of {BURST} events in {:.1?} under looks of {LOOK_TAKES:?}, and {UNANSWERED} events \
         without an answer; at most {} waited, for {slowest:.0?} at most",
        begun.elapsed(),
        door.behind_max(),
    ));
}

/// So many events, each of which says that something was done to a workload, and asks for a look.
async fn stir(engine: &FakeEngine, events: usize) {
    for _ in 0..events / 2 {
        engine.by_hand().pause(STIRRED).await.unwrap();
        engine.by_hand().unpause(STIRRED).await.unwrap();
    }
}

/// Looks at the workload that was stirred.
fn looks(door: &Door) -> usize {
    let is_look = |call: &Call| call.op == "json" && call.container.as_deref() == Some(STIRRED);
    door.calls().iter().filter(|call| is_look(call)).count()
}
