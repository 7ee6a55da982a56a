//! Fake engines as a process of their own, for benches whose client's CPU time is accounted apart.
//!
//! `fakefleet ENGINES CONTAINERS` prints `engine SOCKET` for each engine and then `ready`; every
//! container runs. Orders are lines of standard input, each answered by `done`:
//!
//! | order | meaning |
//! |---|---|
//! | `events PREFIX COUNT EVERY_MS CUTS` | so many events at the first engine, of a container that is renamed to `PREFIX0`, `PREFIX1`, …; its event streams are cut so often meanwhile |
//!
//! It ends with its standard input.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use dormouse_testkit::engine::{Answers, ContainerSpec, EngineConfig, FakeEngine};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The container that events are made with.
const RENAMED: &str = "renamed";

/// What to do.
struct Order {
    prefix: String,
    count: u32,
    every: Duration,
    cuts: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|it| it.parse().ok()).collect();
    let &[engines, containers] = numbers.as_slice() else {
        println!("usage: fakefleet ENGINES CONTAINERS");
        return ExitCode::FAILURE;
    };
    let mut fleet = Vec::with_capacity(engines);
    for _ in 0..engines {
        let engine = engine(containers).await;
        println!("engine {}", engine.socket().display());
        fleet.push(engine);
    }
    println!("ready");
    match obey(&fleet).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("fakefleet: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One engine whose containers all run, and which answers for their counters at once.
async fn engine(containers: usize) -> FakeEngine {
    let engine = FakeEngine::with(EngineConfig::docker_20_10()).await;
    engine.meters().answer(Answers::AtOnce);
    let by_hand = engine.by_hand();
    for n in 0..containers {
        let name = if n == 0 { RENAMED.to_owned() } else { format!("c{n}") };
        by_hand.create(ContainerSpec::named(&name)).expect("a fresh engine has no such name");
        by_hand.start(&name).await.expect("a container that was just created starts");
    }
    engine
}

async fn obey(fleet: &[FakeEngine]) -> io::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut name = RENAMED.to_owned();
    while let Some(line) = lines.next_line().await? {
        match (Order::read(&line), fleet.first()) {
            (Some(order), Some(engine)) => name = rename(engine, name, &order).await,
            _ => println!("fakefleet: no such order: {line}"),
        }
        println!("done");
    }
    Ok(())
}

async fn rename(engine: &FakeEngine, mut name: String, order: &Order) -> String {
    let between_cuts = order.count / (order.cuts + 1);
    let mut pace = tokio::time::interval(order.every.max(Duration::from_millis(1)));
    for n in 0..order.count {
        pace.tick().await;
        let next = format!("{}{n}", order.prefix);
        engine.by_hand().rename(&name, &next).expect("nobody else has the name");
        name = next;
        if order.cuts > 0 && n % between_cuts.max(1) == between_cuts.max(1) - 1 {
            engine.faults().cut_events();
        }
    }
    name
}

impl Order {
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &["events", prefix, count, every_ms, cuts] = words.as_slice() else { return None };
        Some(Self {
            prefix: prefix.to_owned(),
            count: count.parse().ok()?,
            every: Duration::from_millis(every_ms.parse().ok()?),
            cuts: cuts.parse().ok()?,
        })
    }
}
