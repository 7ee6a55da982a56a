//! The collection worker beside a real engine: what it tells is what the engine itself says.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;
#[expect(dead_code, reason = "the story uses a part of what the contract's tests need")]
#[path = "../crates/dormouse/tests/collect/worker.rs"]
mod worker;

use harness::docker::Docker;
use harness::quiet;
use serde_json::{Value, json};
use worker::Worker;

const ENV: i64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dashboard_is_told_what_the_engine_says_itself() {
    let _alone = quiet().await;
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("counted", &[]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(ENV, docker.socket()).await;
    worker.online(ENV).await;

    let filters = format!(r#"{{"type":["container"],"container":["{}"]}}"#, app.id);
    let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut heard =
        docker.engine.client().lines(&format!("/events?filters={filters}")).await.unwrap();
    docker.engine.start(&app.name).await.unwrap();
    let line = heard.next().await.unwrap().unwrap();
    let said: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(said["Action"], "start");
    assert_eq!(event(&mut worker, &app.id, "start").await, said, "word for word");

    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 500})).await;
    let cpus = std::thread::available_parallelism().unwrap().get();
    let metrics = loop {
        let metrics = worker.next_of("metrics", ENV).await;
        if metrics["memUsed"].as_u64().unwrap() > 0 {
            break metrics;
        }
    };
    assert!(metrics["cpuCount"].as_u64().unwrap() >= cpus as u64, "{metrics}");
    assert!(metrics["memUsed"].as_u64() < metrics["memTotal"].as_u64(), "{metrics}");
    assert!((0.0..=100.0).contains(&metrics["cpu"].as_f64().unwrap()), "{metrics}");

    let usage = worker.next_of("disk_usage", ENV).await;
    assert!(usage["data"]["Images"].is_array(), "{usage}");
    let names = usage["data"]["Containers"].as_array().unwrap();
    assert!(names.iter().any(|container| container["Id"] == json!(app.id)), "{usage}");
    assert_eq!(usage["info"]["NCPU"], metrics["cpuCount"]);

    docker.engine.kill(&app.name, "KILL").await.unwrap();
    let died = event(&mut worker, &app.id, "die").await;
    assert_eq!(died["Actor"]["Attributes"]["exitCode"], "137");
    worker.tell(json!({"type": "shutdown"})).await;
    assert_eq!(worker.end().await.0.code(), Some(0));
}

/// The next event of a container with this action, as the worker passed it on.
async fn event(worker: &mut Worker, id: &str, action: &str) -> Value {
    loop {
        let event = worker.next_of("container_event", ENV).await["event"].clone();
        if event["Action"] == action && event["Actor"]["ID"] == id {
            return event;
        }
    }
}
