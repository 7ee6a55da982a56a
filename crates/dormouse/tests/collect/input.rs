//! Lines that make no sense, and configurations that cannot be used: each is answered clearly and
//! harms nothing else.

use std::time::Duration;

use dormouse_testkit::engine::FakeEngine;
use serde_json::{Value, json};

use crate::door::Authority;
use crate::worker::Worker;

/// Has a well environment answer, so that everything said before has been obeyed.
async fn still_works(worker: &mut Worker, env: i64) {
    let engine = FakeEngine::docker().await;
    worker.configure_socket(env, engine.socket()).await;
    worker.online(env).await;
    worker.tell(json!({"type": "remove", "envId": env})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_make_no_sense_are_named_in_the_log_and_passed_over() {
    let mut worker = Worker::start().await;
    let lines = [
        ("{\"type\":\"conf", "type must be a string"),
        ("[]", "it is no JSON object"),
        ("<html>", "it is no JSON object"),
        ("{\"type\":\"remove\",\"envId\":\"one\"}", "envId must be a whole number"),
        ("{\"type\":\"explode\\u001b[31m\\n\"}", r"unknown type"),
        ("{}", "unknown type"),
    ];
    for (line, _) in lines {
        worker.tell_raw(format!("{line}\n\n  \r\n").as_bytes()).await;
    }
    worker.tell_raw(b"\xff\xfe\x00\n").await;
    still_works(&mut worker, 9).await;
    for (line, logged) in lines {
        assert!(worker.log().contains(logged), "{line}: {}", worker.log());
    }
    assert!(!worker.log().contains("\u{1b}[31m"), "{:?}", worker.log());
    assert_eq!(worker.seen().len(), 2, "{:?}", worker.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_twenty_megabytes_costs_bounded_memory_and_is_not_the_end() {
    let mut worker = Worker::start().await;
    still_works(&mut worker, 8).await;
    let before = worker.memory_bytes();
    let piece = vec![b'x'; 1 << 20];
    worker.tell_raw(b"{\"type\":\"configure\",\"name\":\"").await;
    for _ in 0..20 {
        worker.tell_raw(&piece).await;
    }
    worker.tell_raw(b"\"}\n").await;
    still_works(&mut worker, 9).await;
    worker.logged("too long").await;
    let grown = worker.memory_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_nine_megabytes_is_obeyed() {
    let engine = FakeEngine::docker().await;
    let mut worker = Worker::start().await;
    worker
        .tell(json!({
            "unknown": "x".repeat(9 << 20),
            "type": "configure", "envId": 1, "name": "a",
            "config": {"type": "socket", "socketPath": engine.socket()},
        }))
        .await;
    worker.online(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_matched_without_regard_to_case() {
    let engine = FakeEngine::docker().await;
    let mut worker = Worker::start().await;
    worker
        .tell(json!({
            "TYPE": "configure", "EnvID": 3, "NAME": "a", "extra": [1, {"a": null}],
            "Config": {"Type": "socket", "SOCKETPATH": engine.socket(), "more": true},
        }))
        .await;
    worker.online(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_configured_is_answered_with_an_error_that_says_why() {
    let authority = Authority::new();
    let own = authority.identity("dashboard");
    let other = authority.identity("other");
    let https = |more: Value| {
        let mut config = json!({"type": "https", "host": "127.0.0.1", "port": 9});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let open = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let cases = [
        (json!({"type": "carrier-pigeon"}), "unsupported connection type: carrier-pigeon"),
        (json!({}), "unsupported connection type: "),
        (json!({"type": "http", "port": 1}), "host is missing"),
        (json!({"type": "http", "host": "a"}), "port 0 is not one from 1 to 65535"),
        (json!({"type": "http", "host": "a", "port": 65536}), "port 65536 is not one"),
        (json!({"type": "http", "host": "a b\r\n", "port": 1}), r#""a b\r\n:1" is no host"#),
        (https(json!({"ca": "no PEM"})), "ca has no certificate in it"),
        (https(json!({"ca": "no PEM", "skipVerify": true})), "ca has no certificate in it"),
        (https(json!({"ca": broken})), "ca cannot be used: it is not base64"),
        (https(json!({"ca": open})), "ca cannot be used: a section of it has no end"),
        (https(json!({"cert": own.cert})), "cert is of no use without key"),
        (https(json!({"key": own.key})), "key is of no use without cert"),
        (https(json!({"cert": own.cert, "key": "x"})), "key cannot be used: nothing of that kind"),
        (https(json!({"cert": own.cert, "key": other.key})), "cert and key cannot be used"),
    ];
    let mut worker = Worker::start().await;
    for (config, why) in cases {
        worker.configure(5, config.clone()).await;
        let line = worker.next().await;
        assert_eq!((&line["type"], &line["envId"]), (&json!("error"), &json!(5)), "{line}");
        let error = line["error"].as_str().unwrap();
        assert!(error.starts_with(&format!("configure: {why}")), "{config}: {error}");
    }
    still_works(&mut worker, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_cannot_be_used_ends_what_it_replaces() {
    let engine = FakeEngine::docker().await;
    let mut worker = Worker::start().await;
    worker.configure_socket(1, engine.socket()).await;
    worker.online(1).await;
    worker.configure(1, json!({"type": "smoke"})).await;
    worker.next_of("error", 1).await;
    engine.kill().await;
    assert!(worker.told_within(Duration::from_millis(500)).await.is_empty());
    assert_eq!(worker.descriptors(), Worker::start().await.descriptors());
}
