//! Bounds on heads, times and connections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dormouse_proxy::ProxySettings;
use http::Response;

use crate::support::{App, World, full, soon, until};

#[tokio::test]
async fn heads_that_are_too_large_or_too_many_are_refused() {
    let world = World::new().await;
    let large = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "X: y\r\n".repeat(200));
    for request in [large, many] {
        let mut raw = world.connect().await;
        raw.write(request).await;
        let answer = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let odd = world.connect().await;
    let mut odd = odd;
    odd.write("\x16\x03\x01\x02\0\x01\0\x01").await;
    odd.write("\r\n\r\n").await;
    let answer = odd.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_ended() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let settings = ProxySettings {
        header_timeout: Duration::from_millis(200),
        idle_connection_timeout: Duration::from_millis(400),
        ..Default::default()
    };
    let world = World::with(settings, |_| {}).await;
    world.gate.open(app.address);
    let mut silent = world.connect().await;
    let mut slow = world.connect().await;
    slow.write("GET / HTTP/1.1\r\nHo").await;
    let mut idle = world.connect().await;
    idle.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(idle.response().await.text(), "ok");
    assert!(silent.rest().await.is_empty());
    slow.rest().await;
    assert!(idle.rest().await.is_empty());
    let counters = world.proxy.counters();
    until("every connection has ended", || counters.connections_open.load(Ordering::Relaxed) == 0)
        .await;
}

#[tokio::test]
async fn a_connection_that_was_quiet_for_a_while_goes_on() {
    let app =
        App::new(|request| async move { Response::new(full(request.uri().to_string())) }).await;
    let settings =
        ProxySettings { header_timeout: Duration::from_millis(100), ..Default::default() };
    let world = World::with(settings, |_| {}).await;
    world.gate.open(app.address);
    let mut raw = world.connect().await;
    for round in 0..5 {
        raw.write(format!("GET /{round} HTTP/1.1\r\nHost: app.test\r\n\r\n")).await;
        assert_eq!(raw.response().await.text(), format!("/{round}"));
        // Long enough for its buffers to be given back.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    // A pipelined request whose end comes late.
    raw.write("GET /a HTTP/1.1\r\nHost: app.test\r\n\r\nGET /b HTTP/1.1\r\n").await;
    assert_eq!(raw.response().await.text(), "/a");
    raw.write("Host: app.test\r\n\r\n").await;
    assert_eq!(raw.response().await.text(), "/b");
}

#[tokio::test]
async fn a_slow_answer_outlasts_every_timeout_of_the_connection() {
    let app = App::new(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Response::new(full("ok"))
    })
    .await;
    let settings = ProxySettings {
        header_timeout: Duration::from_millis(80),
        idle_connection_timeout: Duration::from_millis(80),
        ..Default::default()
    };
    let world = World::with(settings, |_| {}).await;
    world.gate.open(app.address);
    assert_eq!(world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await.text(), "ok");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let settings = ProxySettings { connections_max: 2, ..Default::default() };
    let world = World::with(settings, |_| {}).await;
    world.gate.open(app.address);
    let first = world.connect().await;
    let second = world.connect().await;
    let counters = world.proxy.counters();
    until("two are open", || counters.connections_open.load(Ordering::Relaxed) == 2).await;
    let mut third = world.connect().await;
    third.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    tokio::task::yield_now().await;
    assert_eq!(counters.connections_open.load(Ordering::Relaxed), 2);
    drop(first);
    assert_eq!(soon(third.response()).await.text(), "ok");
    drop(second);
}
