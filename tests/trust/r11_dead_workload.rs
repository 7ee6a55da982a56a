//! R11: thousands of requests to a workload that never gets ready. Memory stays bounded and
//! comes back, and a neighbour that is in use does not feel it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dormouse_wire::Phase;

use crate::harness::admin::Admin;
use crate::harness::house::House;
use crate::harness::load::{Load, Outcome};
use crate::harness::local::process;
use crate::harness::quiet;
use crate::harness::report::{Report, scale};
use crate::harness::vitals::{Vitals, memory_kib};

const REQUESTS: usize = 5_000;
/// The scale of 20,000 requests.
const FULL: usize = 4;
const HELD_MAX: usize = 1_000;
/// More than may wait at once.
const CLIENTS: usize = 1_200;
const HOT_CLIENTS: usize = 4;
const HOT_EVERY: Duration = Duration::from_millis(2);
/// Of a client's connection and its place in the waiting room, as a debug build has them.
const CLIENT_KIB_MAX: u64 = 96;
/// What may stay when everybody has left: what an allocator keeps for the next crowd.
const STAYS_KIB_MAX: u64 = 48 << 10;
/// How much longer a neighbour may wait than beside as many requests to a workload that lives. The
/// mark is 1.1; a busy machine is not a place to hold it.
const SLOWER_MAX: f64 = 3.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_a_dead_workload_costs_its_neighbour_nothing() {
    let _quiet = quiet().await;
    let mut report = Report::of("R11");
    let requests = REQUESTS * scale(FULL);
    // All of them have one address.
    let held = format!("held = {{ requests = {HELD_MAX}, per_client = {CLIENTS} }}");
    let held = held + "\nwake_timeout = \"3s\"";
    let configuration = process("hot", &[], "")
        + &process("alive", &[], "")
        + &process("dead", &["NEVER_LISTEN=1"], &held);
    let house = House::start(&configuration).await;
    for name in ["hot", "alive"] {
        Load::on(house.http, &format!("{name}.test"), 1).send(1).await;
        house.admin.until(name, Phase::Ready).await;
    }
    let hot = |house: &House| Load::on(house.http, "hot.test", HOT_CLIENTS).every(HOT_EVERY);
    let alone = hot(&house).send(1_000).await;
    let beside_living = hot(&house).run();
    let living = Load::on(house.http, "alive.test", CLIENTS).send(requests).await;
    let beside_living = beside_living.end().await;
    let before = Vitals::of(&house).await;

    let beside_dead = hot(&house).run();
    let peak = Arc::new(Peak::default());
    let watch = tokio::spawn(watch((house.pid(), house.admin), Arc::clone(&peak)));
    let dead = Load::on(house.http, "dead.test", CLIENTS).send(requests).await;
    let beside_dead = beside_dead.end().await;
    watch.abort();

    report.cases(served("the neighbour", &beside_dead));
    report.cases(served("the living one", &living));
    report.case(check_refused(&dead, requests));
    let waited = peak.waiting.load(Ordering::Relaxed);
    // Whoever is just being refused is counted for a moment.
    let waited_max = HELD_MAX + (CLIENTS - HELD_MAX) / 2;
    let bounded = (HELD_MAX / 2..=waited_max).contains(&waited);
    report.case(if bounded { Ok(()) } else { Err(format!("{waited} waited at once")) });
    let crowd_kib = peak.kib.load(Ordering::Relaxed).saturating_sub(before.memory_kib);
    let crowd_kib_max = CLIENT_KIB_MAX * CLIENTS as u64;
    report.case(if crowd_kib <= crowd_kib_max {
        Ok(())
    } else {
        Err(format!("{crowd_kib} KiB for {CLIENTS} clients"))
    });
    let stays = Vitals::of(&house).await.beyond(before);
    report.case(stays.within(Vitals { memory_kib: STAYS_KIB_MAX, files: 64, tasks: 64 }));
    let (p99, p99_living) = (beside_dead.percentile(99), beside_living.percentile(99));
    let slower = p99.as_secs_f64() / p99_living.as_secs_f64();
    report.case(if slower <= SLOWER_MAX { Ok(()) } else { Err(format!("{slower:.2} times")) });
    report.finish(format_args!(
        "requests; {requests} to a dead workload were answered {:?}; its neighbour's p99 {p99:.1?}, \
         {slower:.2} times that beside as many to a living one, alone {:.1?}; {crowd_kib} KiB for \
         {CLIENTS} clients at once, of whom {waited} waited, {stays} stay",
        dead.statuses,
        alone.percentile(99),
    ));
}

/// The most that was seen.
#[derive(Default)]
struct Peak {
    kib: AtomicU64,
    waiting: AtomicUsize,
}

async fn watch((pid, admin): (u32, Admin), peak: Arc<Peak>) {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        peak.kib.fetch_max(memory_kib(pid), Ordering::Relaxed);
        let waiting = admin.workload("dead").await.waiting;
        peak.waiting.fetch_max(waiting as usize, Ordering::Relaxed);
    }
}

fn served(who: &str, outcome: &Outcome) -> Vec<Result<(), String>> {
    let failed = outcome.failed();
    let mut cases: Vec<_> = (0..outcome.sent() - failed).map(|_| Ok(())).collect();
    cases.extend((0..failed).map(|_| Err(format!("{who}: {:?}", outcome.statuses))));
    cases
}

/// Each is told, and nobody is told anything else than that it cannot be had.
fn check_refused(dead: &Outcome, requests: usize) -> Result<(), String> {
    let expected = dead.statuses.keys().all(|status| [502, 503, 504].contains(status));
    if expected && dead.sent() == requests { Ok(()) } else { Err(format!("{:?}", dead.statuses)) }
}
