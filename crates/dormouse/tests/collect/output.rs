//! Whoever reads slowly or not at all: what is kept, what is replaced, and what it costs.

use std::time::Duration;

use dormouse_testkit::engine::{FakeEngine, Fault, Rule, stock};
use serde_json::{Value, json};

use crate::worker::{Worker, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_line_is_always_ready() {
    let engine = FakeEngine::docker().await;
    for _ in 0..5 {
        let mut worker = Worker::with(&[]);
        worker.configure_socket(1, engine.socket()).await;
        assert_eq!(worker.next_line().await, r#"{"type":"ready"}"#);
        worker.online(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_late_finds_every_event_and_the_newest_figures() {
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    engine.by_hand().start("app").await.unwrap();
    let mut worker = Worker::deaf(&[]);
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 5})).await;
    worker.configure_socket(1, engine.socket()).await;
    worker.logged("Reached").await;
    // More than a pipe holds, and less than the bound.
    for number in 0..600 {
        let spec = stock::obedient(&format!("n{number}")).label("long", &"x".repeat(500));
        engine.by_hand().create(spec).unwrap();
    }
    let cycles = || engine.calls().iter().filter(|call| call.op == "stats").count();
    let before = cycles();
    eventually("it goes on measuring", || cycles() > before + 20).await;
    worker.listen();
    let mut names = Vec::new();
    let mut figures = 0;
    while names.len() < 600 {
        let line = worker.next().await;
        match line["type"].as_str().unwrap() {
            "container_event" if name(&line).starts_with('n') => names.push(name(&line)),
            "metrics" => figures += 1,
            "error" => panic!("{line}"),
            _ => {}
        }
    }
    let expected: Vec<String> = (0..600).map(|number| format!("n{number}")).collect();
    assert_eq!(names, expected);
    assert!(figures <= 20, "{figures} figures were kept for a reader that did not read");
}

fn name(line: &Value) -> String {
    line["event"]["Actor"]["Attributes"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_never_reads_costs_bounded_memory_and_lost_events_are_counted() {
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(stock::obedient("app").label("long", &"x".repeat(40_000))).unwrap();
    let mut worker = Worker::deaf(&[]);
    worker.configure_socket(1, engine.socket()).await;
    worker.logged("Reached").await;
    let before = worker.memory_bytes();
    let mut happened = 0;
    let mut rename = async || {
        let names = [["app", "ppa"], ["ppa", "app"]][happened % 2];
        engine.by_hand().rename(names[0], names[1]).unwrap();
        happened += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    while !worker.log().contains("Dropping events") {
        rename().await;
    }
    for _ in 0..100 {
        rename().await;
    }
    let grown = worker.memory_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    worker.listen();
    let (mut told, mut lost) = (0, 0);
    while told + lost < happened {
        let line = worker.next().await;
        match line["type"].as_str().unwrap() {
            "container_event" if line["event"]["Action"] == "rename" => told += 1,
            "error" => {
                let error = line["error"].as_str().unwrap();
                let count = error.split(' ').next().unwrap();
                lost += count.parse::<usize>().unwrap_or_else(|_| panic!("{error}"));
            }
            _ => {}
        }
    }
    assert!(told > 100 && lost > 50, "{told} told, {lost} lost");
    assert_eq!(told + lost, happened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_answer_of_twenty_megabytes_is_delivered() {
    let engine = FakeEngine::docker().await;
    let images: Vec<Value> = (0..20_000)
        .map(|n| json!({"Id": format!("{n}"), "Labels": {"l": "x".repeat(1_000)}}))
        .collect();
    let answer = json!({
        "LayersSize": 1, "Images": images, "Containers": [], "Volumes": [], "BuildCache": [],
    });
    let body = format!("{answer:#}\n");
    assert!(body.len() > 20 << 20);
    engine.faults().add(Rule::any(Fault::Answer { status: 200, body }).path("/system/df"));
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    let usage = worker.next_of("disk_usage", 1).await;
    assert_eq!(usage["data"], answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_answer_that_is_too_large_or_no_answer_is_said_with_why() {
    let engine = FakeEngine::docker().await;
    let refusal =
        Fault::Answer { status: 500, body: r#"{"message":"the disk is on fire"}"#.into() };
    engine.faults().add(Rule::any(refusal).path("/system/df"));
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    let error = worker.next_of("error", 1).await;
    let error = error["error"].as_str().unwrap();
    assert_eq!(error, "disk usage: the runtime refused: the disk is on fire");
}
