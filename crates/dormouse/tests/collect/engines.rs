//! Every way to an engine, and what is told of one that is well.

use std::time::Duration;

use dormouse_testkit::engine::{ContainerSpec, FakeEngine, stock};
use serde_json::{Value, json};

use crate::door::{Authority, Door};
use crate::worker::{Worker, eventually};

/// Longer than nothing, and not so long that a test waits for it.
const WHILE: Duration = Duration::from_millis(1_500);

async fn engine_with(names: &[&str]) -> FakeEngine {
    let engine = FakeEngine::docker().await;
    for name in names {
        engine.by_hand().create(stock::obedient(name)).unwrap();
        engine.by_hand().start(name).await.unwrap();
    }
    engine
}

/// Goes online, tells metrics, and passes on what happens.
async fn works(worker: &mut Worker, env: i64, engine: &FakeEngine) {
    worker.online(env).await;
    let metrics = worker.next_of("metrics", env).await;
    assert!(metrics["memTotal"].as_u64().unwrap() > 0, "{metrics}");
    let name = format!("started-{}", worker.seen().len());
    engine.by_hand().create(ContainerSpec::named(&name)).unwrap();
    engine.by_hand().start(&name).await.unwrap();
    loop {
        let event = worker.next_of("container_event", env).await;
        if event["event"]["Action"] == "start" && of(&event) == name {
            return;
        }
    }
}

fn of(event: &Value) -> &str {
    event["event"]["Actor"]["Attributes"]["name"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_reached_over_a_socket_over_http_and_over_tls() {
    let engine = engine_with(&["app"]).await;
    let authority = Authority::new();
    let own = authority.identity("dashboard");
    let by_address = authority.identity("127.0.0.1");
    let by_name = authority.identity("localhost");
    let plain = Door::to(engine.socket(), None).await;
    let mutual = Door::to(engine.socket(), Some(authority.acceptor(&by_address))).await;
    let named = Door::to(engine.socket(), Some(by_name.open_acceptor())).await;
    let stranger = Authority::new().identity("elsewhere.test");
    let strange = Door::to(engine.socket(), Some(stranger.open_acceptor())).await;

    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    works(&mut worker, 1, &engine).await;
    worker.configure(2, plain.http()).await;
    works(&mut worker, 2, &engine).await;
    let pems = json!({"ca": authority.pem(), "cert": own.cert, "key": own.key});
    worker.configure(3, mutual.https("127.0.0.1", pems)).await;
    works(&mut worker, 3, &engine).await;
    worker.configure(4, named.https("localhost", json!({"ca": authority.pem()}))).await;
    works(&mut worker, 4, &engine).await;
    worker.configure(5, strange.https("127.0.0.1", json!({"skipVerify": true}))).await;
    works(&mut worker, 5, &engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_the_figures_of_the_engine_from_the_second_sample_on() {
    let engine = engine_with(&["one", "two"]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(7, engine.socket()).await;
    worker.online(7).await;
    let line = loop {
        let line = worker.next_line().await;
        if line.contains("\"metrics\"") {
            break line;
        }
    };
    let samples = engine.calls().iter().filter(|call| call.op == "stats").count();
    assert!(samples >= 4, "two samples of each: {samples}");
    let order = ["type", "envId", "cpu", "memPercent", "memUsed", "memTotal", "cpuCount"];
    let places: Vec<usize> =
        order.iter().map(|key| line.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{line}");
    let metrics: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(metrics.as_object().unwrap().len(), order.len(), "{line}");
    let share = metrics["cpu"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&share), "{line}");
    let used = metrics["memUsed"].as_f64().unwrap() / metrics["memTotal"].as_f64().unwrap();
    assert!((metrics["memPercent"].as_f64().unwrap() - used * 100.0).abs() < 1e-6, "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_container_event_is_passed_on_as_the_engine_wrote_it_and_nothing_else() {
    let engine = engine_with(&[]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    let mut spec =
        stock::obedient("odd").label("text", "line\nfeed \u{1f42d} \"quoted\" </script>");
    spec.labels.insert("empty".into(), String::new());
    engine.by_hand().create(spec).unwrap();
    engine.by_hand().start("odd").await.unwrap();
    engine.by_hand().kill("odd", "KILL").await.unwrap();
    engine.by_hand().remove("odd").await.unwrap();
    let mut told = Vec::new();
    while told.last().is_none_or(|event: &Value| event["Action"] != "destroy") {
        told.push(worker.next_of("container_event", 1).await["event"].clone());
    }
    let wrote = engine.events();
    let wrote = wrote.iter().filter(|event| event.kind == "container");
    let wrote: Vec<Value> = wrote.map(|event| serde_json::to_value(&**event).unwrap()).collect();
    assert_eq!(told, wrote);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_and_none_is_told_twice_when_the_stream_is_cut() {
    let engine = engine_with(&[]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    for round in 0..60 {
        let name = format!("app-{round}");
        engine.by_hand().create(ContainerSpec::named(&name)).unwrap();
        if round % 7 == 3 {
            engine.faults().cut_events();
        }
    }
    let mut told = Vec::new();
    while told.len() < 60 {
        let line = worker.next().await;
        assert_ne!(line["type"], "env_status", "a cut is no reason to be offline");
        if line["type"] == "container_event" {
            told.push(of(&line).to_owned());
        }
    }
    let expected: Vec<String> = (0..60).map(|round| format!("app-{round}")).collect();
    assert_eq!(told, expected);
    assert!(worker.told_within(WHILE).await.iter().all(|line| line["type"] != "container_event"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_events_now_and_then_loses_none_and_begins_at_once() {
    let engine = engine_with(&[]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    worker.tell(json!({"type": "set_event_mode", "mode": "poll", "pollIntervalMs": 300})).await;
    worker.logged("Poll").await;
    for round in 0..20 {
        engine.by_hand().create(ContainerSpec::named(&format!("app-{round}"))).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut told = Vec::new();
    while told.len() < 20 {
        told.push(of(&worker.next_of("container_event", 1).await).to_owned());
    }
    let expected: Vec<String> = (0..20).map(|round| format!("app-{round}")).collect();
    assert_eq!(told, expected);
    let is_bounded = |call: &dormouse_testkit::engine::Call| {
        call.op == "events" && call.query.contains("until=")
    };
    let polls = || engine.calls().iter().filter(|call| is_bounded(call)).count();
    assert!(polls() >= 2, "it asks for stretches of time");
    worker.tell(json!({"type": "set_event_mode", "mode": "stream"})).await;
    worker.logged("Stream").await;
    engine.by_hand().create(ContainerSpec::named("last")).unwrap();
    assert_eq!(of(&worker.next_of("container_event", 1).await), "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_is_told_once_and_so_is_its_return() {
    let engine = engine_with(&["app"]).await;
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    engine.kill().await;
    let error = worker.offline(1).await;
    assert!(error.starts_with("Docker not reachable: "), "{error}");
    let told = worker.told_within(WHILE).await;
    assert!(told.iter().all(|line| line["type"] != "env_status"), "{told:?}");
    engine.restart(dormouse_testkit::engine::Survivors::Live).await;
    worker.online(1).await;
    worker.next_of("metrics", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_sent_with_every_request() {
    let engine = engine_with(&["app"]).await;
    let (door, requests) = recorded(&engine).await;
    let mut worker = Worker::start().await;
    worker
        .tell(json!({
            "type": "configure", "envId": 1, "name": "a", "connectionType": "hawser-standard",
            "hawserToken": "the-token", "config": door,
        }))
        .await;
    works(&mut worker, 1, &engine).await;
    let requests = requests.lock().unwrap().clone();
    let asked = requests.matches(" HTTP/1.1\r\n").count();
    let signed = requests.to_lowercase().matches("\r\nx-hawser-token: the-token\r\n").count();
    assert!(asked >= 5, "{requests}");
    assert_eq!(signed, asked, "{requests}");
}

/// A door that writes down what goes through it towards the engine.
async fn recorded(engine: &FakeEngine) -> (Value, std::sync::Arc<std::sync::Mutex<String>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let record = std::sync::Arc::<std::sync::Mutex<String>>::default();
    let (socket, kept) = (engine.socket().to_owned(), std::sync::Arc::clone(&record));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let engine = tokio::net::UnixStream::connect(&socket).await.unwrap();
            let kept = std::sync::Arc::clone(&kept);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_engine, mut to_engine) = engine.into_split();
                let back = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_engine, &mut to_client).await;
                });
                let mut piece = [0; 16 << 10];
                while let Ok(bytes @ 1..) = from_client.read(&mut piece).await {
                    kept.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..bytes]));
                    if to_engine.write_all(&piece[..bytes]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    (json!({"type": "http", "host": "127.0.0.1", "port": at.port()}), record)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_usage_comes_ten_seconds_after_the_configuration_unless_it_is_turned_off() {
    let engine = engine_with(&["app"]).await;
    let mut silent = Worker::with(&[("SKIP_DF_COLLECTION", "1")]);
    silent.configure_socket(1, engine.socket()).await;
    silent.online(1).await;
    let mut worker = Worker::with(&[("SKIP_DF_COLLECTION", "")]);
    let begun = tokio::time::Instant::now();
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    let usage = worker.next_of("disk_usage", 1).await;
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(usage["data"]["LayersSize"].is_number(), "{usage}");
    assert!(usage["info"]["NCPU"].is_number(), "{usage}");
    let calls = engine.calls().iter().filter(|call| call.op == "df").count();
    assert_eq!(calls, 1, "only one of the two asks");
    assert!(!silent.told_within(WHILE).await.iter().any(|line| line["type"] == "disk_usage"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_interval_counts_for_all_environments_at_once() {
    let engine = engine_with(&["app"]).await;
    let mut worker = Worker::start().await;
    for env in [1, 2] {
        worker.configure_socket(env, engine.socket()).await;
        worker.next_of("metrics", env).await;
    }
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 100})).await;
    for env in [1, 2, 1, 2] {
        worker.next_of("metrics", env).await;
    }
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 0})).await;
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": -5})).await;
    worker.tell(json!({"type": "set_metrics_interval"})).await;
    for _ in 0..4 {
        worker.next_of("metrics", 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identical_configuration_opens_nothing_and_tells_nothing() {
    let engine = engine_with(&["app"]).await;
    let door = Door::to(engine.socket(), None).await;
    let mut worker = Worker::start().await;
    worker.configure(1, door.http()).await;
    worker.next_of("metrics", 1).await;
    let opened = door.opened();
    for _ in 0..20 {
        worker.configure(1, door.http()).await;
    }
    let told = worker.told_within(WHILE).await;
    assert!(told.iter().all(|line| line["type"] != "env_status"), "{told:?}");
    assert!(door.opened() <= opened + 1, "{} more", door.opened() - opened);
    worker
        .tell(json!({
            "type": "configure", "envId": 1, "name": "another name", "config": door.http(),
        }))
        .await;
    worker.online(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_messages_are_told_only_to_who_asked_for_them() {
    let engine = engine_with(&["app"]).await;
    let mut worker = Worker::start().await;
    worker.tell(json!({"type": "hello", "accept": ["container_metrics", "of_the_future"]})).await;
    let hello = worker.next().await;
    assert_eq!(hello["accept"], json!(["container_metrics"]), "{hello}");
    assert!(hello["version"].is_string(), "{hello}");
    worker.configure_socket(1, engine.socket()).await;
    let each = worker.next_of("container_metrics", 1).await;
    assert_eq!(each["containers"].as_array().unwrap().len(), 1, "{each}");
    assert_eq!(each["failed"], 0, "{each}");
    worker.tell(json!({"type": "hello"})).await;
    loop {
        let line = worker.next().await;
        if line["type"] == "hello" {
            assert_eq!(line["accept"], json!([]));
            break;
        }
    }
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 50})).await;
    worker.next_of("metrics", 1).await;
    worker.next_of("metrics", 1).await;
    let told = worker.told_within(WHILE).await;
    let further = told.iter().filter(|line| line["type"] == "container_metrics").count();
    assert!(further == 0, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_an_environment_is_told_after_it_was_removed() {
    let engine = engine_with(&["app"]).await;
    let door = Door::to(engine.socket(), None).await;
    let removals = [
        json!({"type": "remove", "envId": 1}),
        json!({"type": "configure", "envId": 1, "config": null}),
        json!({"type": "configure", "envId": 1}),
        json!({"type": "configure", "envId": 1, "config": door.http(), "connectionType": "hawser-edge"}),
    ];
    let mut worker = Worker::start().await;
    worker.tell(json!({"type": "set_metrics_interval", "intervalMs": 20})).await;
    for removal in removals {
        worker.configure(1, door.http()).await;
        worker.next_of("metrics", 1).await;
        worker.tell(removal).await;
        // An answer to what was said after it: everything before it has been written.
        worker.tell(json!({"type": "hello"})).await;
        while worker.next().await["type"] != "hello" {}
        engine.by_hand().create(ContainerSpec::named("after")).unwrap();
        engine.by_hand().remove("after").await.unwrap();
        let told = worker.told_within(Duration::from_millis(400)).await;
        assert!(told.is_empty(), "{told:?}");
        eventually("every connection is closed", || door.open_now() == 0).await;
    }
}
