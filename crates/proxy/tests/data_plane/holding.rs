//! The waiting room: who is held, for how long, and what those are told who are not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dormouse_core::failure::{Denial, Failure, FailureKind};
use dormouse_proxy::ProxySettings;
use http::{Request, Response};

use crate::support::{App, World, full, http2_client, soon, until};

fn denial(kind: FailureKind) -> Denial {
    let failure = Failure::new(kind, "it would not");
    Denial { failure, retry_after: Duration::from_secs(7) }
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_wait() {
    let world = World::new().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    ] {
        let mut raw = world.connect().await;
        raw.write(request).await;
        until("the request waits", || world.gate.waits() == 1).await;
        drop(raw);
        until(&format!("the wait is dropped: {request}"), || world.gate.waits() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_behind_a_long_body_drops_its_wait() {
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9000000\r\n\r\n").await;
    // More than is read ahead, and less than the kernel takes on its own: behind bytes that it
    // does not take, nobody can see an end.
    raw.write(vec![0; 100 << 10]).await;
    until("the request waits", || world.gate.waits() == 1).await;
    drop(raw);
    until("the wait is dropped", || world.gate.waits() == 0).await;
    assert_eq!(world.proxy.counters().held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_http2_client_that_leaves_drops_its_waits() {
    let world = World::new().await;
    let mut sender = http2_client(world.address).await;
    let request = || Request::get("http://app.test/").body(full("")).unwrap();
    let one = tokio::spawn(sender.send_request(request()));
    let other = tokio::spawn(sender.send_request(request()));
    until("both wait", || world.gate.waits() == 2).await;
    one.abort();
    until("one wait is dropped", || world.gate.waits() == 1).await;
    other.abort();
    drop(sender);
    until("the other is dropped", || world.gate.waits() == 0).await;
}

#[tokio::test]
async fn the_first_began_the_wake_and_the_others_joined_it() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::new().await;
    let mut clients = Vec::new();
    for n in 1..=3 {
        let mut raw = world.connect().await;
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        until("the request waits", || world.gate.waits() == n).await;
        clients.push(raw);
    }
    assert_eq!(world.proxy.counters().held.load(Ordering::Relaxed), 3);
    world.gate.open(app.address);
    let mut causes = Vec::new();
    for raw in &mut clients {
        causes.push(raw.response().await.header("x-dormouse-wake").to_owned());
    }
    assert_eq!(causes, ["cold", "joined", "joined"]);
    assert_eq!(world.proxy.counters().held.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_full_waiting_room_says_so_at_once() {
    let world = World::with(ProxySettings::default(), |site| site.held.requests = 2).await;
    let mut waiting = Vec::new();
    for n in 1..=2 {
        let mut raw = world.connect().await;
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        until("the request waits", || world.gate.waits() == n).await;
        waiting.push(raw);
    }
    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.status, 503);
    assert_eq!(received.header("retry-after"), "5");
    assert_eq!(received.header("content-type"), "application/problem+json");
    assert!(received.text().contains("waiting-room-full"));
    let counters = world.proxy.counters();
    assert_eq!(counters.held_rejected.requests.load(Ordering::Relaxed), 1);
    drop(waiting);
    until("the room is empty", || world.gate.waits() == 0).await;
    let mut raw = world.connect().await;
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    until("there is room again", || world.gate.waits() == 1).await;
}

#[tokio::test]
async fn one_client_cannot_fill_the_room() {
    let settings = ProxySettings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..Default::default()
    };
    let world = World::with(settings, |site| site.held.per_client = 1).await;
    let request = |client: &str| {
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: {client}\r\n\r\n")
    };
    let mut first = world.connect().await;
    first.write(request("192.0.2.1")).await;
    until("the first waits", || world.gate.waits() == 1).await;
    assert_eq!(world.send(&request("192.0.2.1")).await.status, 503);
    let mut other = world.connect().await;
    other.write(request("192.0.2.2")).await;
    until("the other waits", || world.gate.waits() == 2).await;
}

#[tokio::test]
async fn bodies_in_the_room_are_bounded_and_still_arrive() {
    let app = App::new(|request| async move {
        Response::new(full(crate::support::digest(request.into_body()).await))
    })
    .await;
    let world = World::with(ProxySettings::default(), |site| site.held.bytes = 1).await;
    let mut raws = Vec::new();
    for n in 1..=3 {
        let mut raw = world.connect().await;
        raw.write("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5000\r\n\r\n").await;
        raw.write([b'x'; 5000]).await;
        until("the request waits", || world.gate.waits() == n).await;
        raws.push(raw);
    }
    world.gate.open(app.address);
    for mut raw in raws {
        assert!(raw.response().await.text().starts_with("5000 "));
    }
}

#[tokio::test]
async fn a_failed_wake_is_told_to_everybody_who_waits() {
    let cases = [
        (FailureKind::StartRefused, 502, "start-refused"),
        (FailureKind::Crashed { exit_code: Some(1) }, 502, "crashed"),
        (FailureKind::NeverReady, 504, "never-ready"),
        (FailureKind::TimedOut, 504, "wake-timeout"),
        (FailureKind::Absent, 502, "absent"),
        (FailureKind::Unreachable, 502, "environment-unreachable"),
        (FailureKind::NeedFailed, 502, "need-failed"),
        (FailureKind::Misconfigured, 500, "misconfigured"),
    ];
    for (kind, status, slug) in cases {
        let world = World::new().await;
        let mut raw = world.connect().await;
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        until("the request waits", || world.gate.waits() == 1).await;
        world.gate.deny(denial(kind));
        let received = raw.response().await;
        assert_eq!(received.status, status, "{slug}");
        assert_eq!(received.header("retry-after"), "7");
        let problem: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
        assert_eq!(problem["slug"], slug);
        assert_eq!(problem["workload"], "test/app");
        assert_eq!(problem["retry_after"], 7);
        // And to who comes later, at once.
        assert_eq!(world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await.status, status);
        let page =
            world.send("GET / HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\n\r\n").await;
        assert_eq!(page.status, status);
        assert!(page.text().contains("it would not") && page.text().contains("<html"));
    }
}

#[tokio::test]
async fn grpc_callers_are_told_in_trailers() {
    for (kind, code) in [(FailureKind::TimedOut, "4"), (FailureKind::StartRefused, "14")] {
        let world = World::new().await;
        world.gate.deny(denial(kind));
        let mut sender = http2_client(world.address).await;
        let request = Request::post("http://app.test/a.B/C")
            .header("content-type", "application/grpc")
            .body(full("x"))
            .unwrap();
        let response = soon(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], code);
        assert_eq!(response.headers()["grpc-message"], "it would not");
        assert!(hyper::body::Body::is_end_stream(response.body()));
    }
}

#[tokio::test]
async fn a_reload_does_not_disturb_who_waits() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    until("the request waits", || world.gate.waits() == 1).await;
    world.proxy.routes().swap(Default::default());
    assert_eq!(world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await.status, 404);
    world.gate.open(app.address);
    assert_eq!(raw.response().await.text(), "ok");
}
