//! R3: the next container gets the sleeper's address at once. No request for the sleeper reaches
//! its heir, whether it comes while the sleeper goes to sleep or afterwards. Between the two nobody
//! is at the address, not even to refuse: who connects then, would reach the heir.

use std::sync::Arc;
use std::time::Duration;

use dormouse_testkit::engine::FakeEngine;
use dormouse_wire::Phase;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::fakes;
use crate::harness::client::{exchange, get};
use crate::harness::dice::Dice;
use crate::harness::house::House;
use crate::harness::report::{Report, scale};

const LANES: usize = 4;
const HEIRS: [&str; 2] = ["heir-one", "heir-two"];
const ROUNDS: usize = 100;
/// The scale of 10^5 requests.
const FULL: usize = 10;
/// Requests at once, and as many one after the other.
const AT_ONCE: usize = 13;
/// The address changes hands so soon after the first of them.
const TURMOIL: Duration = Duration::from_millis(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r03_the_next_container_gets_the_sleepers_address() {
    let mut report = Report::of("R03");
    let mut configuration = String::new();
    let mut engines = Vec::new();
    for lane in 0..LANES {
        // An engine of its own, so that nobody but its heir takes a sleeper's address.
        let engine = FakeEngine::docker().await;
        let sleeper = format!("sleeper-{lane}");
        engine.by_hand().create(fakes::container(&sleeper)).unwrap();
        for heir in HEIRS {
            engine.by_hand().create(fakes::container(heir)).unwrap();
        }
        let keys = "idle_timeout = \"never\"\nstop_timeout = \"1s\"";
        let section = fakes::environment(engine.socket()) + &fakes::workload(&sleeper, keys);
        configuration += &section.replace("local", &format!("lane-{lane}"));
        engines.push(engine);
    }
    let house = Arc::new(House::start(&configuration).await);
    let mut lanes = Vec::new();
    for (lane, engine) in engines.into_iter().enumerate() {
        house.admin.until(&format!("sleeper-{lane}"), Phase::Asleep).await;
        let dice = Dice::new(report.seed() ^ ((lane as u64) << 32));
        lanes.push(play(Arc::clone(&house), engine, lane, dice));
    }
    let (mut inherited, mut requests) = (0, 0);
    for (outcomes, heirs) in join_all(lanes).await {
        requests += outcomes.len();
        report.cases(outcomes);
        inherited += heirs;
    }
    let often = inherited * 2 >= LANES * ROUNDS * scale(FULL);
    report.case(often.then_some(()).ok_or(format!("only {inherited} addresses changed hands")));
    report.finish(format_args!(
        "{requests} requests to sleepers while {inherited} of their addresses changed hands"
    ));
}

/// One sleeper and its heir, round after round. Answers how often the address changed hands.
async fn play(
    house: Arc<House>,
    engine: FakeEngine,
    lane: usize,
    mut dice: Dice,
) -> (Vec<Result<(), String>>, usize) {
    let sleeper = format!("sleeper-{lane}");
    let (mut outcomes, mut inherited) = (Vec::new(), 0);
    for round in 0..ROUNDS * scale(FULL) {
        outcomes.push(ask(&house, &sleeper).await);
        // The heir before keeps its own address until then: only the sleeper's is free.
        let (heir, heir_before) = (HEIRS[round % 2], HEIRS[(round + 1) % 2]);
        let before = engine.address_of(&sleeper);
        let turmoil = async {
            house.admin.sleep_by_force(&sleeper).await;
            if round % 2 == 0 {
                // The heir is the next, and every request comes after it.
                house.admin.until(&sleeper, Phase::Asleep).await;
            } else {
                tokio::time::sleep(dice.period(TURMOIL)).await;
            }
            engine.by_hand().start(heir).await.unwrap();
            inherited += usize::from(before.is_some() && engine.address_of(heir) == before);
            // Its address is the sleeper's next one.
            let _dead_before_the_first_round = engine.by_hand().kill(heir_before, "KILL").await;
        };
        if round % 2 == 0 {
            turmoil.await;
            outcomes.extend(ask_at_once(&house, &sleeper, Duration::ZERO).await);
        } else {
            let asking = ask_at_once(&house, &sleeper, TURMOIL / 10);
            outcomes.extend(tokio::join!(turmoil, asking).1);
        }
        for _ in 0..AT_ONCE {
            outcomes.push(ask(&house, &sleeper).await);
        }
    }
    (outcomes, inherited)
}

/// So many requests, each so much later than the one before.
async fn ask_at_once(house: &Arc<House>, name: &str, apart: Duration) -> Vec<Result<(), String>> {
    let mut asking = JoinSet::new();
    for n in 0..AT_ONCE {
        let (house, name) = (Arc::clone(house), name.to_owned());
        asking.spawn(async move {
            tokio::time::sleep(apart * u32::try_from(n).unwrap()).await;
            ask(&house, &name).await
        });
    }
    asking.join_all().await
}

async fn ask(house: &House, name: &str) -> Result<(), String> {
    fakes::answered_by(exchange(house.http, get(&format!("{name}.test"), "/")).await, name)
}
