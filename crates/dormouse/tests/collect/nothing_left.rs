//! After an environment nothing is left: no connection, no descriptor, no thread.

use std::time::Duration;

use dormouse_testkit::engine::{FakeEngine, stock};
use serde_json::json;

use crate::door::Door;
use crate::worker::{Worker, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_rounds_leave_no_connection_and_no_descriptor_behind() {
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    engine.by_hand().start("app").await.unwrap();
    let door = Door::to(engine.socket(), None).await;
    let mut worker = Worker::start().await;
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 10})).await;
    // What is made once: the runtime's own descriptors, threads for looking up and reading.
    worker.configure(1, door.http()).await;
    worker.next_of("metrics", 1).await;
    worker.tell(json!({"type": "remove", "envId": 1})).await;
    eventually("every connection is closed", || door.open_now() == 0).await;
    let (descriptors, memory) = (worker.descriptors(), worker.memory_bytes());

    for round in 0..200 {
        let env = round % 7;
        match round % 3 {
            // Removed while it connects, while it works, and replaced while it works.
            0 => worker.configure(env, door.http()).await,
            1 => {
                worker.configure(env, door.http()).await;
                worker.online_or_zero(env).await;
            }
            _ => {
                worker.configure(env, door.http()).await;
                worker.configure_socket(env, engine.socket()).await;
                worker.online_or_zero(env).await;
            }
        }
        worker.tell(json!({"type": "remove", "envId": env})).await;
    }
    worker.tell(json!({"type": "hello"})).await;
    while worker.next().await["type"] != "hello" {}
    eventually("every connection is closed", || door.open_now() == 0).await;
    eventually("every descriptor is closed", || worker.descriptors() <= descriptors).await;
    assert!(door.opened() >= 200, "{} connections", door.opened());
    let grown = worker.memory_bytes().saturating_sub(memory);
    assert!(grown < 8 << 20, "{grown} bytes more");
    assert!(worker.told_within(Duration::from_millis(300)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_environments_need_two_connections_each_and_few_threads() {
    let engine = FakeEngine::docker().await;
    let door = Door::to(engine.socket(), None).await;
    let mut worker = Worker::start().await;
    let before = worker.descriptors();
    for env in 1..=50 {
        worker.configure(env, door.http()).await;
    }
    let mut online = std::collections::BTreeSet::new();
    while online.len() < 50 {
        let line = worker.next().await;
        if line["type"] == "env_status" {
            assert_eq!(line["online"], true, "{line}");
            online.insert(line["envId"].as_i64().unwrap());
        }
    }
    eventually("connections that nobody needs are closed", || door.open_now() <= 100).await;
    eventually("no other descriptors are added", || worker.descriptors() <= before + 100).await;
    assert!(worker.threads() <= 24, "{} threads", worker.threads());
    worker.close_input();
    assert_eq!(worker.end().await.0.code(), Some(0));
    eventually("the end closes every connection", || door.open_now() == 0).await;
}
