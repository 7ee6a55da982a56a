//! Servers that are no engine, or no good one: the error is clear, and a healthy environment beside
//! them notices nothing.

use std::time::Duration;

use dormouse_testkit::engine::{ContainerSpec, FakeEngine};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::door::{Answer, Authority, Door, Then};
use crate::worker::Worker;

const GOOD: i64 = 1;
const BAD: i64 = 2;

/// The bad environment is offline for this reason, and the good one goes on.
async fn is_offline_because(config: Value, why: &str) -> String {
    let engine = FakeEngine::docker().await;
    let mut worker = Worker::start().await;
    worker.configure_socket(GOOD, engine.socket()).await;
    worker.online(GOOD).await;
    worker.configure(BAD, config).await;
    let mut refused = String::new();
    let error = loop {
        let line = worker.next().await;
        assert!(line["type"] != "env_status" || line["envId"] == BAD, "{line}");
        if line["type"] == "error" {
            refused = line["error"].as_str().unwrap().to_owned();
        }
        if line["type"] == "env_status" {
            assert_eq!(line["online"], false, "{line}");
            break line["error"].as_str().unwrap().to_owned();
        }
    };
    assert!(error.starts_with("Docker not reachable: "), "{error}");
    assert!(error.contains(why), "{error}");
    engine.by_hand().create(ContainerSpec::named("after")).unwrap();
    let event = worker.next_of("container_event", GOOD).await;
    assert_eq!(event["event"]["Action"], "create");
    let told = worker.told_within(Duration::from_secs(1)).await;
    let again: Vec<&Value> = told.iter().filter(|line| line["type"] == "env_status").collect();
    assert!(again.is_empty(), "it is said once: {again:?}");
    refused
}

async fn answers(head: &'static str, then: Then) -> Value {
    Door::to_nonsense(Answer { head, then }).await.http()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_host() {
    let config = json!({"type": "http", "host": "nowhere.invalid", "port": 2375});
    is_offline_because(config, "connect to http://nowhere.invalid:2375").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = json!({"type": "http", "host": "127.0.0.1", "port": port});
    is_offline_because(config, "refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_not_there() {
    let config = json!({"type": "socket", "socketPath": "/nowhere/docker.sock"});
    is_offline_because(config, "unix:///nowhere/docker.sock").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_to_a_server_that_speaks_tls() {
    let engine = FakeEngine::docker().await;
    let identity = Authority::new().identity("127.0.0.1");
    let door = Door::to(engine.socket(), Some(identity.open_acceptor())).await;
    is_offline_because(door.http(), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_server_that_speaks_plain_http() {
    let engine = FakeEngine::docker().await;
    let door = Door::to(engine.socket(), None).await;
    is_offline_because(door.https("127.0.0.1", json!({})), "https://127.0.0.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name() {
    let engine = FakeEngine::docker().await;
    let authority = Authority::new();
    let acceptor = authority.identity("elsewhere.test").open_acceptor();
    let door = Door::to(engine.socket(), Some(acceptor)).await;
    let config = door.https("127.0.0.1", json!({"ca": authority.pem()}));
    is_offline_because(config, "certificate not valid for name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_authority_that_is_not_trusted() {
    let engine = FakeEngine::docker().await;
    let acceptor = Authority::new().identity("127.0.0.1").open_acceptor();
    let door = Door::to(engine.socket(), Some(acceptor)).await;
    let config = door.https("127.0.0.1", json!({"ca": Authority::new().pem()}));
    is_offline_because(config, "certificate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_a_certificate_and_gets_none() {
    let engine = FakeEngine::docker().await;
    let authority = Authority::new();
    let acceptor = authority.acceptor(&authority.identity("127.0.0.1"));
    let door = Door::to(engine.socket(), Some(acceptor)).await;
    let config = door.https("127.0.0.1", json!({"ca": authority.pem()}));
    is_offline_because(config, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_html() {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>";
    is_offline_because(answers(head, Then::Stall).await, "makes no sense").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_body_and_then_nothing() {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Api";
    is_offline_because(answers(head, Then::Stall).await, "in time").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let more = "                                                                ";
    is_offline_because(answers(head, Then::Repeat(more)).await, "longer than").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_end() {
    let config = answers("HTTP/1.1 200 OK\r\n", Then::Repeat("X-More: and more\r\n")).await;
    is_offline_because(config, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence() {
    is_offline_because(answers("", Then::Stall).await, "in time").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_after_the_headers() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    is_offline_because(answers(head, Then::Close).await, "broke").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_with_401_and_403_are_errors_of_credentials() {
    let heads = [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "401"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 25\r\n\r\n{\"message\":\"not for you\"}  ",
            "not for you",
        ),
    ];
    for (head, why) in heads {
        let refused = is_offline_because(answers(head, Then::Close).await, why).await;
        assert!(refused.starts_with("the credentials are refused: "), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_500() {
    let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let refused = is_offline_because(answers(head, Then::Close).await, "500").await;
    assert_eq!(refused, "");
}
