//! What thousands of held HTTP/1.1 requests take. Memory is the whole process's, so this test is
//! alone in its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../data_plane/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "this needs only a part of what the other tests stand on"
)]
mod support;

use http::Response;
use std::time::Duration;

use dormouse_proxy::ProxySettings;

use crate::support::{App, World, full};

/// Two ends of each connection are in this process, which may have 20,000 files.
const HTTP1_CONNECTIONS: usize = 4_000;
/// Of both ends. With a parser's buffers our end alone takes more.
const EACH_KIB_MAX: f64 = 16.0;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_held_http1_requests_are_all_answered() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::with(ProxySettings::default(), |site| {
        site.held.requests = HTTP1_CONNECTIONS;
        site.held.per_client = HTTP1_CONNECTIONS;
    })
    .await;
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
    assert!(each_kib < EACH_KIB_MAX, "{each_kib} KiB for each held request");
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
