//! Secrets stay inside: no log, no line of output and no error has them, whatever goes wrong.

use serde_json::{Value, json};

use crate::door::{Authority, Door};
use crate::worker::Worker;
use dormouse_testkit::engine::FakeEngine;

const CANARY: &str = "CANARY5f1e";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_and_no_pem_is_ever_written_anywhere() {
    let engine = FakeEngine::docker().await;
    let authority = Authority::new();
    let own = authority.identity("dashboard");
    let door = Door::to(engine.socket(), None).await;
    let mutual =
        Door::to(engine.socket(), Some(authority.acceptor(&authority.identity("127.0.0.1")))).await;
    let section = |inside: &str| {
        format!("-----BEGIN PRIVATE KEY-----\n{inside}\n-----END PRIVATE KEY-----\n")
    };
    let odd_begin = format!("-----BEGIN {CANARY} {CANARY}\nAAAA\n-----END {CANARY}-----\n");
    let with = |token: &str, config: Value| {
        json!({
            "type": "configure", "envId": 1, "name": "a", "connectionType": "direct",
            "hawserToken": token, "config": config,
        })
    };
    let lines = [
        with(&format!("{CANARY}-token"), door.http()),
        with(&format!("{CANARY}\nbad header"), door.http()),
        with(&format!("{CANARY}-token"), json!({"type": "http", "host": "127.0.0.1", "port": 1})),
        with(
            "",
            mutual.https(
                "127.0.0.1",
                json!({"ca": authority.pem(), "cert": own.cert, "key": own.key}),
            ),
        ),
        with("", door.https("127.0.0.1", json!({"cert": own.cert, "key": section(CANARY)}))),
        with(
            "",
            door.https("127.0.0.1", json!({"cert": own.cert, "key": section("Q0FOQVJZNWYxZQ==")})),
        ),
        with(
            "",
            door.https("127.0.0.1", json!({"ca": odd_begin, "cert": own.cert, "key": odd_begin})),
        ),
        with("", door.https("127.0.0.1", json!({"ca": CANARY, "cert": CANARY, "key": CANARY}))),
        json!({"type": "configure", "envId": CANARY}),
        json!({"type": "configure", "hawserToken": [CANARY], "config": {}}),
        json!({"type": "configure", "config": CANARY}),
        json!({"type": "configure", "config": {"type": "https", "key": {"a": CANARY}}}),
    ];
    let mut worker = Worker::with(&[("DORMOUSE_LOG", "trace"), ("RUST_BACKTRACE", "full")]);
    for line in lines {
        worker.tell(line).await;
    }
    worker.tell_raw(format!("{{\"hawserToken\":\"{CANARY}\n").as_bytes()).await;
    worker.tell_raw(format!("{CANARY}\n").as_bytes()).await;
    worker.configure_socket(9, engine.socket()).await;
    worker.online(9).await;
    worker.close_input();
    assert_eq!(worker.end().await.0.code(), Some(0));
    let key_line = own.key.lines().nth(1).unwrap();
    for secret in [CANARY, "Q0FOQVJZNWYxZQ", key_line] {
        assert!(!worker.log().contains(secret), "{secret}: {}", worker.log());
        assert!(!worker.seen().iter().any(|line| line.contains(secret)), "{:?}", worker.seen());
    }
    assert!(worker.log().contains("Configured"), "the log is there: {}", worker.log());
}
