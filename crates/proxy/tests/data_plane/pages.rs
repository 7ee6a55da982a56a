//! What dormouse itself answers: the loading page, and the reserved prefix.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dormouse_core::progress::{Step, StepKind};
use dormouse_proxy::{ProxySettings, Story};
use http::Response;

use crate::support::{App, World, full, soon, until};

const NAVIGATION: &str =
    "GET /a HTTP/1.1\r\nHost: app.test\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n\r\n";

#[tokio::test]
async fn a_navigation_to_a_sleeper_gets_the_loading_page_at_once_and_wakes_it() {
    for status in [503, 202, 200] {
        let world = World::with(ProxySettings::default(), |site| {
            Arc::make_mut(&mut site.loading).status = status
        })
        .await;
        let page = world.send(NAVIGATION).await;
        assert_eq!(page.status, status);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("retry-after"), "2");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-dormouse-state"), "waking");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.body.len() <= 8 << 10);
        assert!(page.text().contains("http-equiv=\"refresh\""));
        assert_eq!(world.gate.wakes.load(Ordering::SeqCst), 1);
        until("nobody waits", || world.gate.waits() == 0).await;
    }
}

#[tokio::test]
async fn a_navigation_to_an_awake_workload_gets_the_workload() {
    let app = App::new(|_| async { Response::new(full("own page")) }).await;
    let world = World::awake(&app).await;
    assert_eq!(world.send(NAVIGATION).await.text(), "own page");
}

#[tokio::test]
async fn without_a_loading_page_navigations_are_held() {
    let app = App::new(|_| async { Response::new(full("own page")) }).await;
    let world =
        World::with(ProxySettings::default(), |site| Arc::make_mut(&mut site.loading).page = false)
            .await;
    let mut raw = world.connect().await;
    raw.write(NAVIGATION).await;
    until("the navigation waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    assert_eq!(raw.response().await.text(), "own page");
}

#[tokio::test]
async fn what_no_route_leads_to_says_so() {
    let world = World::new().await;
    let received = world.send("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(received.status, 404);
    assert!(received.text().contains("no-route"));
    let page = world.send("GET / HTTP/1.1\r\nHost: other.test\r\nAccept: text/html\r\n\r\n").await;
    assert_eq!(page.status, 404);
    assert!(page.text().contains("<html") && page.text().contains("no-route"));
}

#[tokio::test]
async fn health_and_status_neither_wake_nor_count() {
    let world = World::new().await;
    let health = world.send("GET /.dormouse/health HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!((health.status, health.text()), (200, "asleep\n"));
    world.gate.healthy.store(false, Ordering::SeqCst);
    let health = world.send("GET /.dormouse/health HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!((health.status, health.text()), (503, "failed\n"));
    let status = world.send("GET /.dormouse/status HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    assert_eq!(status["workload"], "test/app");
    assert_eq!(status["phase"], "failed");
    assert_eq!(world.gate.wakes.load(Ordering::SeqCst), 0);
    assert_eq!(world.gate.leases(), 0);
}

#[tokio::test]
async fn the_reserved_prefix_is_never_proxied_and_nothing_else_is_reserved() {
    let app =
        App::new(|request| async move { Response::new(full(request.uri().to_string())) }).await;
    let world = World::awake(&app).await;
    let status = async |path: &str| {
        world.send(&format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n")).await.status
    };
    assert_eq!(status("/.dormouse/else").await, 404);
    assert_eq!(status("/.dormouse").await, 404);
    assert_eq!(status("/favicon.ico").await, 200);
    assert_eq!(status("/.dormouses").await, 200);
    let post = "POST /.dormouse/health HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(world.send(post).await.status, 405);
}

fn story(seq: u64, kind: StepKind) -> Story {
    let step = Step { kind, message: format!("step {seq}"), dependency: None };
    Story { seq, at_ms: 1_700_000_000_000, step, error: None }
}

#[tokio::test]
async fn progress_is_told_from_its_beginning_then_live_and_resumes() {
    let world = World::new().await;
    world.gate.tell(story(1, StepKind::Starting));
    world.gate.tell(story(2, StepKind::Started));
    let request =
        |last: &str| format!("GET /.dormouse/events HTTP/1.1\r\nHost: app.test\r\n{last}\r\n");
    let mut raw = world.connect().await;
    raw.write(request("")).await;
    let head = raw.head().await;
    assert_eq!(head.header("content-type"), "text/event-stream");
    assert_eq!(event(&mut raw).await.0, 1);
    let (id, data) = event(&mut raw).await;
    assert_eq!((id, &data["seq"]), (2, &serde_json::json!(2)));
    assert_eq!(
        data,
        serde_json::json!({
            "workload": "test/app", "seq": 2, "at": "2023-11-14T22:13:20Z",
            "type": "started", "message": "step 2",
        })
    );
    world.gate.tell(story(3, StepKind::Ready));
    assert_eq!(event(&mut raw).await.1["type"], "ready");

    let mut again = world.connect().await;
    again.write(request("Last-Event-ID: 2\r\n")).await;
    again.head().await;
    assert_eq!(event(&mut again).await.0, 3);
    assert_eq!(world.gate.wakes.load(Ordering::SeqCst), 0);

    world.shutdown.cancel();
    soon(world.served).await.unwrap().unwrap();
    assert!(String::from_utf8(again.rest().await).unwrap().ends_with("0\r\n\r\n"));
}

/// The next progress event of a chunked stream.
async fn event(raw: &mut crate::support::Raw) -> (u64, serde_json::Value) {
    let mut id = 0;
    loop {
        let line = raw.line().await;
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.trim().parse().unwrap();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_of_events_says_every_15_seconds_that_it_lives() {
    let world = World::here().await;
    let mut raw = world.connect().await;
    raw.write("GET /.dormouse/events HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    raw.head().await;
    let before = tokio::time::Instant::now();
    for _ in 0..2 {
        while raw.line_unhurried().await != "event: ping\n" {}
    }
    let took = before.elapsed();
    assert!((Duration::from_secs(29)..Duration::from_secs(32)).contains(&took), "{took:?}");
}
