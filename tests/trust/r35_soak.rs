//! R35: everything at once for as long as one likes: visitors, wakes, rests, reloads, readers and
//! clients that leave. After the warm-up memory, files and tasks are flat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_wire::Phase;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::client::{Stream, exchange, get};
use crate::harness::dice::Dice;
use crate::harness::house::House;
use crate::harness::load::Load;
use crate::harness::local::process;
use crate::harness::report::Report;
use crate::harness::vitals::Vitals;

/// What one minute is divided into.
const ROUNDS_PER_MINUTE: u32 = 4;
const NAMES: [&str; 4] = ["steady", "naps", "freezes", "fails"];
/// The part of all rounds that warms up.
const WARM_UP: usize = 3;
/// What may be added after the warm-up: by an hour as by a minute. Files come and go with idle
/// connections to the workloads.
const GROWS: Vitals = Vitals { memory_kib: 16 << 10, files: 64, tasks: 48 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r35_memory_files_and_tasks_are_flat() {
    let mut report = Report::of("R35");
    let minutes = std::env::var("DORMOUSE_SOAK_MINUTES").map_or(1, |text| text.parse().unwrap());
    let rounds = usize::try_from(minutes * ROUNDS_PER_MINUTE).unwrap().max(WARM_UP + 1);
    // The bounded run is shorter, not coarser.
    let bounded = std::env::var_os("DORMOUSE_SOAK_MINUTES").is_none();
    let length = Duration::from_secs(if bounded { 4 } else { 60 / u64::from(ROUNDS_PER_MINUTE) });
    let house = Arc::new(House::start(&configuration(0)).await);
    let mut dice = report.dice();
    let mut seen: Vec<Vitals> = Vec::new();
    println!("R35 round  memory MiB  files  tasks  requests");
    for round in 0..rounds {
        let requests =
            live(&house, round, length, Dice::new(dice.below(u64::MAX)), &mut report).await;
        until_quiet(&house).await;
        let now = Vitals::of(&house).await;
        println!(
            "R35 {round:5}  {:10.1}  {:5}  {:5}  {requests:8}",
            now.memory_kib as f64 / 1024.0,
            now.files,
            now.tasks
        );
        seen.push(now);
    }
    let warm = seen[..(rounds / WARM_UP).max(1)].iter().max_by_key(|it| it.memory_kib).unwrap();
    let last = seen[seen.len() - 1].beyond(*warm);
    report.case(last.within(GROWS));
    report.finish(format_args!(
        "requests and looks in {rounds} rounds of {length:?}; after the warm-up it grew by {last}"
    ));
}

/// One round of everything. Answers how many requests the steady one was asked.
async fn live(
    house: &Arc<House>,
    round: usize,
    length: Duration,
    mut dice: Dice,
    report: &mut Report,
) -> usize {
    let end = Instant::now() + length;
    let steady = Load::on(house.http, "steady.test", 3).every(Duration::from_millis(5)).run();
    let mut others = JoinSet::new();
    for name in ["naps", "freezes", "fails"] {
        let house = Arc::clone(house);
        let dice = Dice::new(dice.below(u64::MAX));
        others.spawn(async move { visit(&house, name, end, dice).await });
    }
    let passing = Arc::clone(house);
    others.spawn(async move { pass_by(&passing, end).await });
    for step in 0..4 {
        house.rewrite(&configuration(round * 4 + step));
        let reloaded = house.admin.call("POST", "/api/v1/reload", "").await;
        report.case(if reloaded.status == 200 { Ok(()) } else { Err(reloaded.text()) });
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left / (4 - step as u32)).await;
    }
    for outcomes in others.join_all().await {
        report.cases(outcomes);
    }
    let outcome = steady.end().await;
    report.case(match outcome.failed() {
        0 => Ok(()),
        failed => Err(format!("{failed} of the steady one's requests: {:?}", outcome.statuses)),
    });
    outcome.sent()
}

/// Visitors with pauses in which it rests, and with commands to.
async fn visit(
    house: &House,
    name: &'static str,
    end: Instant,
    mut dice: Dice,
) -> Vec<Result<(), String>> {
    let mut outcomes = Vec::new();
    while Instant::now() < end {
        let answer = exchange(house.http, get(&format!("{name}.test"), "/instance")).await;
        let status = answer.map_or(0, |answer| answer.status);
        let right = if name == "fails" { [502, 503, 504].contains(&status) } else { status == 200 };
        outcomes.push(if right { Ok(()) } else { Err(format!("{name}: {status}")) });
        if dice.below(2) == 0 {
            house.admin.sleep(name).await;
        }
        tokio::time::sleep(dice.period(Duration::from_millis(400))).await;
    }
    outcomes
}

/// Readers that come and go, and clients that leave in the middle.
async fn pass_by(house: &House, end: Instant) -> Vec<Result<(), String>> {
    let mut outcomes = Vec::new();
    while Instant::now() < end {
        let events = Stream::open(house.http, get("naps.test", "/.dormouse/events")).await;
        outcomes.push(if events.status == 200 { Ok(()) } else { Err("no events".to_owned()) });
        let own = house.admin.address();
        let story = Stream::open(own, get(&own.to_string(), "/api/v1/events")).await;
        outcomes.push(if story.status == 200 { Ok(()) } else { Err("no story".to_owned()) });
        let mut half = TcpStream::connect(house.http).await.unwrap();
        half.write_all(b"POST /upload HTTP/1.1\r\nHost: steady.test\r\nContent-Length: 9\r\n\r\nx")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    outcomes
}

/// Everybody has left, and what naps has gone to sleep.
async fn until_quiet(house: &House) {
    for name in ["naps", "freezes"] {
        house.admin.until(name, Phase::Asleep).await;
    }
}

fn configuration(version: usize) -> String {
    let keys = [
        "idle_timeout = \"never\"",
        "rest = \"stop\"",
        "rest = \"pause\"",
        "wake_timeout = \"1s\"",
    ];
    let mut text = String::new();
    for (name, keys) in NAMES.iter().zip(keys) {
        let idle = format!("idle_timeout = \"{}ms\"", 1_000 + version % 2);
        let idle = if *name == "steady" { "" } else { &idle };
        let knobs: &[&str] = if *name == "fails" { &["NEVER_LISTEN=1"] } else { &[] };
        text += &process(name, knobs, &format!("{keys}\n{idle}"));
    }
    text + &process(&format!("added-{version}"), &[], "")
}
