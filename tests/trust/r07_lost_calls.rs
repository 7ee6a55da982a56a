//! R7, for calls: a tenth of everything that is asked of the engine gets lost on the way there or
//! on the way back, is done twice, comes late, out of order or cut in the middle, and so do its
//! events. Everybody is served by their own container all the same, and in the end everything
//! sleeps, by the engine's own word.

use std::time::Duration;

use dormouse_testkit::door::{Door, Fault, Rule};
use dormouse_testkit::engine::FakeEngine;
use dormouse_wire::Phase;
use tokio::task::JoinSet;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::{PATIENCE, eventually};

/// None of them reads like the beginning of an id.
const NAMES: [&str; 6] = ["web-a", "web-b", "web-c", "web-d", "web-e", "web-f"];
const REQUESTS: usize = 200;
/// Visitors come over this long, so that most of them find a sleeper.
const OVER: Duration = Duration::from_secs(15);
const SHARE: f64 = 0.1;
const LATE: Duration = Duration::from_millis(80);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r07_calls_that_get_lost_lose_nobody() {
    let mut report = Report::of("R07");
    let mut dice = report.dice();
    let engine = FakeEngine::docker().await;
    let door = Door::before(engine.socket()).unwrap();
    let mut configuration = fakes::environment(door.socket());
    for name in NAMES {
        engine.by_hand().create(fakes::container(name)).unwrap();
        configuration += &fakes::workload(name, "idle_timeout = \"100ms\"\nstop_timeout = \"1s\"");
    }
    let house = House::start(&configuration).await;
    for name in NAMES {
        house.admin.until(name, Phase::Asleep).await;
    }
    add_faults(&door, report.seed());

    let mut visitors = JoinSet::new();
    let over = OVER * u32::try_from(scale(UNNAMED)).unwrap();
    for _ in 0..REQUESTS * scale(UNNAMED) {
        let (at, name, after) = (house.http, *dice.pick(&NAMES), dice.period(over));
        visitors.spawn(async move {
            tokio::time::sleep(after).await;
            fakes::answered_by(exchange(at, get(&format!("{name}.test"), "/")).await, name)
        });
    }
    report.cases(visitors.join_all().await);
    let calls = door.calls().len();
    door.clear();
    let all_asleep = async || {
        let resting = NAMES.iter().all(|name| engine.state_of(name) == Some("exited"));
        resting && house.admin.summary().await.asleep == NAMES.len()
    };
    eventually(PATIENCE, "everything sleeps, by the engine's own word", all_asleep).await;
    let starts: usize = NAMES.iter().map(|name| engine.starts(name)).sum();
    let often = starts > 2 * NAMES.len();
    report.case(often.then_some(()).ok_or(format!("only {starts} starts")));
    report.finish(format_args!("visits of {starts} starts, through {calls} calls"));
}

fn add_faults(door: &Door, seed: u64) {
    let faults = [
        Fault::Drop,
        Fault::DropAfterDeed,
        Fault::Twice,
        Fault::Overtaken,
        Fault::Truncate,
        Fault::Delay(LATE),
        Fault::AnswerLate(LATE),
    ];
    let share = SHARE / faults.len() as f64;
    for (serial, fault) in (1_u64..).zip(faults) {
        let seed = seed.wrapping_mul(31).wrapping_add(serial);
        // An event stream that is asked for twice would stay open on one side for ever.
        for op in ["start", "stop", "json", "kill", "_ping", "version"] {
            door.add(Rule::calls(fault.clone()).named(op).share(share, seed));
        }
        // A replayed event draws the same again: one that ends its stream would end every later one.
        if fault != Fault::DropAfterDeed {
            door.add(Rule::events(fault).share(share, seed));
        }
    }
}
