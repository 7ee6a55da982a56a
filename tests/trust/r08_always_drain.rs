//! R8: our slowness never slows the engine. It waits 100 ms for a subscriber that has fallen behind,
//! event by event; so events are read however slowly the engine answers our own questions, also while
//! it does not answer one of them, and whoever does not read what we tell.

use std::path::Path;
use std::time::{Duration, Instant};

use dormouse_testkit::abuse::LazyReader;
use dormouse_testkit::door::{Door, Fault, Rule};
use dormouse_testkit::engine::{self, Call, FakeEngine};
use dormouse_wire::Phase;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};
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
/// Readers of our own events: as many as the admin side takes.
const READERS: usize = 256;
/// Pins, each of which is told to every reader, and so is its end.
const PINS: usize = 800;
/// Whoever has fallen behind comes to its end within this: it reads a few KiB at a time.
const DROPPED_WITHIN: Duration = Duration::from_secs(60);
/// A burst is read within this, also on a busy machine.
const READ_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_events_are_read_however_slow_the_answers_are() {
    let mut report = Report::of("R08");
    let engine = engine_to_stir().await;
    let door = Door::before(engine.socket()).unwrap();
    let house = before(door.socket()).await;
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
    for _ in 0..EVENTS * scale(UNNAMED) / BURST {
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

/// No door stands between, so that the engine itself waits for us, and counts how often it had to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_events_are_read_whoever_does_not_read_ours() {
    let mut report = Report::of("R08");
    let engine = engine_to_stir().await;
    let house = before(engine.socket()).await;
    let at = house.admin.address();
    let mut lazy = Vec::new();
    for _ in 0..READERS {
        lazy.push(LazyReader::open(at, &at.to_string(), "/api/v1/events").await.unwrap());
    }
    let refused = lazy.iter().filter(|reader| reader.status != 200).count();
    report.case((refused == 0).then_some(()).ok_or(format!("{refused} readers were refused")));
    let answer = exchange(house.http, get("web.test", "/")).await;
    report.case(fakes::answered_by(answer, "web"));
    let late = engine::Fault::AnswerLate(LOOK_TAKES);
    engine.faults().add(engine::Rule::any(late).path("/json"));
    for _ in 0..PINS * scale(UNNAMED) {
        stir(&engine, EVENTS / PINS).await;
        assert_eq!(house.admin.pin("web", "1h").await.status, 200);
        assert_eq!(house.admin.unpin("web").await.status, 200);
        report.case(match engine.events_held_up() {
            0 => Ok(()),
            held_up => Err(format!("the engine waited for us with {held_up} events")),
        });
        if engine.events_held_up() > 0 {
            // Every further one costs 100 ms.
            break;
        }
    }
    // How much waits for a reader before it has fallen behind is the kernel's affair.
    let ends = join_all(lazy.into_iter().map(|reader| timeout(DROPPED_WITHIN, reader.end()))).await;
    let dropped = ends.iter().filter(|end| end.is_ok()).count();
    let behind = dropped > READERS / 2;
    report.case(behind.then_some(()).ok_or(format!("only {dropped} readers had fallen behind")));
    report.finish(format_args!(
        "looks at whether the engine waited; {} events in all, {dropped} of {READERS} readers fell \
         behind",
        engine.events().len(),
    ));
}

/// A container that sleeps, and one to which things are done.
async fn engine_to_stir() -> FakeEngine {
    let engine = FakeEngine::docker().await;
    for name in ["web", STIRRED] {
        engine.by_hand().create(fakes::container(name)).unwrap();
    }
    engine.by_hand().start(STIRRED).await.unwrap();
    engine
}

/// A house with both of them, as it sees them through a socket.
async fn before(socket: &Path) -> House {
    let keys = "idle_timeout = \"never\"";
    let workloads = ["web", STIRRED].map(|name| fakes::workload(name, keys)).concat();
    let house = House::start(&(fakes::environment(socket) + &workloads)).await;
    house.admin.until("web", Phase::Asleep).await;
    house
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
