//! An engine whose events get lost, come twice, late and in the wrong order, or whose event stream
//! is cut: requests are served all the same, and the fleet comes to know the truth.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::time::{Duration, Instant};

use dormouse_core::limits::RESYNC_EVERY;
use dormouse_testkit::engine::{ContainerSpec, EventFaults, FakeEngine};
use dormouse_wire::Phase;
use harness::client::{fetch, get};
use harness::dice;
use harness::eventually;
use harness::house::House;
use harness::report::Report;
use tokio::task::JoinSet;

/// How much longer than until the next listing it may take to know the truth.
const MARGIN: Duration = Duration::from_secs(5);
/// What is known of by an event is known of at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How often a bad stream is cut.
const CUT_EVERY: Duration = Duration::from_millis(100);
const CUTS: u32 = 30;
/// Who asks for each workload at once.
const CROWD: usize = 50;
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// None of them reads like the beginning of an id.
const NAMES: [&str; 6] = ["web-a", "web-b", "web-c", "web-d", "web-e", "web-f"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_without_any_event_the_truth_is_known_by_the_next_listing() {
    let lost = EventFaults { lost: 1.0, ..EventFaults::default() };
    check(lost, RESYNC_EVERY + MARGIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_with_every_event_twice_and_late_the_truth_is_known_at_once() {
    let bad = EventFaults {
        doubled: 1.0,
        reordered: 0.5,
        delay: Duration::from_millis(200),
        ..EventFaults::default()
    };
    check(bad, AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_with_half_of_the_events_the_truth_is_known_by_the_next_listing() {
    let first = dice::seed();
    for seed in [first, first + 1] {
        let bad = EventFaults {
            seed,
            lost: 0.5,
            doubled: 0.3,
            reordered: 0.3,
            delay: Duration::from_millis(50),
            garbage: 0.2,
            ..EventFaults::default()
        };
        check(bad, RESYNC_EVERY + MARGIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_a_stream_that_is_cut_again_and_again_loses_nothing() {
    let engine = FakeEngine::docker().await;
    let house = serve(&engine).await;
    let cuts = async {
        for _ in 0..CUTS {
            engine.faults().cut_events();
            tokio::time::sleep(CUT_EVERY).await;
        }
    };
    let hands = async {
        act(&engine, &house).await;
        for _ in 0..CUTS / 4 {
            engine.by_hand().restart("web-a").await.unwrap();
            engine.by_hand().stop("web-f", Duration::ZERO).await.unwrap();
            tokio::time::sleep(CUT_EVERY).await;
            engine.by_hand().start("web-f").await.unwrap();
            tokio::time::sleep(CUT_EVERY).await;
        }
    };
    tokio::join!(cuts, hands);
    check_known(&engine, &house, AT_ONCE).await;
    let listings = engine.calls().iter().filter(|call| call.path.ends_with("/events")).count();
    println!("{listings} event streams were opened");
    assert!(listings > 3, "the stream was hardly ever cut");
}

async fn check(faults: EventFaults, within: Duration) {
    let mut report = Report::of("R07");
    let told = format!("{faults:?}");
    let engine = FakeEngine::docker().await;
    let house = serve(&engine).await;
    engine.faults().set_events(faults);
    act(&engine, &house).await;
    check_known(&engine, &house, within).await;
    // And who is asked for is served by one start, whatever was lost.
    let starts = NAMES.map(|name| engine.starts(name));
    let sleeping = NAMES.map(|name| engine.state_of(name) != Some("running"));
    let mut requests = JoinSet::new();
    for _ in 0..CROWD {
        for name in NAMES {
            let (at, request) = (house.http, get(&format!("{name}.test"), "/"));
            requests.spawn(async move { fetch(at, request).await });
        }
    }
    report.cases(
        requests
            .join_all()
            .await
            .into_iter()
            .map(|answer| (answer.status == 200).then_some(()).ok_or_else(|| answer.text())),
    );
    for (index, name) in NAMES.into_iter().enumerate() {
        let paused = name == "web-d";
        let expected = starts[index] + usize::from(sleeping[index] && !paused);
        let started = engine.starts(name);
        let once = (started == expected).then_some(());
        report.case(once.ok_or_else(|| format!("{name}: {started} starts, not {expected}")));
    }
    report.finish(format_args!("requests and starts under {told}"));
}

async fn serve(engine: &FakeEngine) -> House {
    let mut file =
        format!("[environment.local]\ndocker = \"{}\"\nlabels = false\n", engine.endpoint());
    for name in NAMES {
        create(engine, name);
        file += &format!(
            "[workload.{name}]\ntarget = \"local/{name}\"\nhosts = [\"{name}.test\"]\nport = 8080\n"
        );
    }
    let house = House::start(&file).await;
    house.admin.until("web-f", Phase::Asleep).await;
    house
}

fn create(engine: &FakeEngine, name: &str) {
    engine.by_hand().create(ContainerSpec::named(name).serving(8080)).unwrap();
}

/// What people, crashes and visitors do to six workloads.
async fn act(engine: &FakeEngine, house: &House) {
    let hand = engine.by_hand();
    for name in ["web-b", "web-c", "web-d", "web-e"] {
        let answer = fetch(house.http, get(&format!("{name}.test"), "/")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    hand.start("web-a").await.unwrap();
    hand.stop("web-b", Duration::ZERO).await.unwrap();
    hand.remove("web-c").await.unwrap();
    hand.pause("web-d").await.unwrap();
    assert!(hand.crash("web-e", 3));
    hand.remove("web-f").await.unwrap();
    create(engine, "web-f");
    hand.start("web-f").await.unwrap();
}

/// Every phase is what the engine itself says.
async fn check_known(engine: &FakeEngine, house: &House, within: Duration) {
    let acted = Instant::now();
    let differing = async || {
        let mut differing = Vec::new();
        for name in NAMES {
            let (state, phase) = (engine.state_of(name), house.admin.phase(name).await);
            let expected = match state {
                Some("running") => Phase::Ready,
                Some(_) => Phase::Asleep,
                None => Phase::Gone,
            };
            if phase != expected {
                differing.push(format!("{name} is {phase:?} and {state:?}"));
            }
        }
        differing
    };
    let mut differs = differing().await;
    while !differs.is_empty() {
        assert!(acted.elapsed() < within, "after {:?}: {differs:?}", acted.elapsed());
        tokio::time::sleep(LOOK_EVERY).await;
        differs = differing().await;
    }
    println!("the truth was known {:?} after", acted.elapsed());
    if engine.state_of("web-c").is_none() {
        create(engine, "web-c");
        eventually(within, "one created again is asleep", async || {
            house.admin.phase("web-c").await == Phase::Asleep
        })
        .await;
    }
}
