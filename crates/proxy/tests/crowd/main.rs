//! Thousands of first requests at once.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../data_plane/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "a crowd needs only a part of what the other tests stand on"
)]
mod support;

use http::{Request, Response};
use http_body_util::BodyExt;
use std::time::Duration;

use dormouse_proxy::ProxySettings;

use crate::support::{App, World, full, http2_client, until};

const CROWD: usize = 10_000;
/// Two ends of each connection are in this process, which may have 20,000 files.
const HTTP1_CONNECTIONS: usize = 4_000;
const STREAMS_PER_CONNECTION: usize = 200;

/// Memory is measured, and is the whole process's.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn world() -> World {
    World::with(ProxySettings::default(), |site| {
        site.held.requests = CROWD;
        site.held.per_client = CROWD;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_held_http2_requests_are_all_answered() {
    let _alone = ALONE.lock().await;
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = world().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CROWD / STREAMS_PER_CONNECTION {
        let sender = http2_client(world.address).await;
        for _ in 0..STREAMS_PER_CONNECTION {
            let mut sender = sender.clone();
            calls.spawn(async move {
                let request = Request::get("http://app.test/").body(full("")).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.unwrap().to_bytes()
            });
        }
    }
    wait_for(&world, CROWD).await;
    let held_kib = resident_kib();
    world.gate.open(app.address);
    let opened = std::time::Instant::now();
    let answers = tokio::time::timeout(Duration::from_secs(60), calls.join_all()).await.unwrap();
    println!(
        "{CROWD} held over HTTP/2, {held_kib} KiB resident; the last answered after {:?}; {} connections",
        opened.elapsed(),
        app.connections()
    );
    assert_eq!(answers.len(), CROWD);
    assert!(answers.iter().all(|body| body == "ok"));
    until("every lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_held_http1_requests_are_all_answered() {
    let _alone = ALONE.lock().await;
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = world().await;
    let before_kib = resident_kib();
    let mut clients = Vec::with_capacity(HTTP1_CONNECTIONS);
    for _ in 0..HTTP1_CONNECTIONS {
        let mut raw = world.connect().await;
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        clients.push(raw);
    }
    wait_for(&world, HTTP1_CONNECTIONS).await;
    let each_kib = (resident_kib() - before_kib) as f64 / HTTP1_CONNECTIONS as f64;
    world.gate.open(app.address);
    let opened = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut raw in clients {
        tasks.spawn(async move { raw.response_unhurried().await.status });
    }
    let statuses = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.unwrap();
    println!(
        "{HTTP1_CONNECTIONS} held over HTTP/1.1, {each_kib:.1} KiB each with both ends; the last \
         answered after {:?}; {} connections",
        opened.elapsed(),
        app.connections()
    );
    assert!(statuses.iter().all(|status| *status == 200));
    assert!(each_kib < 40.0, "{each_kib} KiB for each held request");
}

async fn wait_for(world: &World, waits: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.gate.waits() < waits as i64 {
        assert!(tokio::time::Instant::now() < deadline, "{} wait", world.gate.waits());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
