//! How the worker ends: always with status 0, always soon, whoever reads or does not.

use std::time::Duration;

use dormouse_testkit::engine::{FakeEngine, stock};
use rustix::process::Signal;
use serde_json::json;

use crate::door::{Answer, Door, Then};
use crate::worker::Worker;

/// A second by the contract; the machine of a test may have other things to do.
const SOON: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Way {
    EndOfInput,
    Shutdown,
    Sigterm,
    Sigint,
}

const WAYS: [Way; 4] = [Way::EndOfInput, Way::Shutdown, Way::Sigterm, Way::Sigint];

async fn ends(worker: &mut Worker, way: Way) {
    match way {
        Way::EndOfInput => worker.close_input(),
        Way::Shutdown => worker.tell(json!({"type": "shutdown"})).await,
        Way::Sigterm => worker.signal(Signal::TERM),
        Way::Sigint => worker.signal(Signal::INT),
    }
    let (status, took) = worker.end().await;
    assert_eq!(status.code(), Some(0), "{way:?}; log: {}", worker.log());
    assert!(took < SOON, "{way:?}: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_ends_with_status_zero() {
    let engine = FakeEngine::docker().await;
    for way in WAYS {
        let mut worker = Worker::start().await;
        worker.configure_socket(1, engine.socket()).await;
        worker.online(1).await;
        ends(&mut worker, way).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_line_without_an_end_is_obeyed_and_its_answer_told() {
    let mut worker = Worker::start().await;
    worker.tell_raw(br#"{"type":"configure","envId":1,"config":{"type":"smoke"}}"#).await;
    worker.close_input();
    let line = worker.next().await;
    assert_eq!(line["error"], "configure: unsupported connection type: smoke");
    assert_eq!(worker.end().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_although_nobody_reads_what_it_tells() {
    let engine = FakeEngine::docker().await;
    for number in 0..40 {
        let name = format!("app-{number}");
        let spec = stock::obedient(&name).label("long", &"x".repeat(10_000));
        engine.by_hand().create(spec).unwrap();
    }
    for way in WAYS {
        let mut worker = Worker::deaf(&[]);
        worker.configure_socket(1, engine.socket()).await;
        worker.logged("Reached").await;
        // More than a pipe holds.
        for number in 0..40 {
            engine.by_hand().start(&format!("app-{number}")).await.unwrap();
            engine.by_hand().kill(&format!("app-{number}"), "KILL").await.unwrap();
        }
        ends(&mut worker, way).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_while_an_engine_keeps_it_waiting_and_while_a_name_is_looked_up() {
    let stalls = Door::to_nonsense(Answer { head: "", then: Then::Stall }).await;
    for way in WAYS {
        let mut worker = Worker::start().await;
        worker.configure(1, stalls.http()).await;
        worker.configure(2, json!({"type": "http", "host": "nowhere.invalid", "port": 1})).await;
        worker.logged("env=2").await;
        ends(&mut worker, way).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_the_reader_has_gone() {
    let mut worker = Worker::deaf(&[]);
    worker.close_output();
    // The next line finds nobody.
    worker.configure(1, json!({"type": "smoke"})).await;
    assert_eq!(worker.end().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_nothing() {
    let engine = FakeEngine::docker().await;
    let mut worker = Worker::mute().await;
    for _ in 0..20_000 {
        worker.tell_raw(b"{\"type\":\"of a future that nobody knows of yet\"}\n").await;
    }
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    ends(&mut worker, Way::Sigterm).await;
}
