//! What thousands of idle HTTP/1.1 connections take. Memory is the whole process's, so this test
//! is alone in its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../data_plane/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "this needs only a part of what the other tests stand on"
)]
mod support;

use http::Response;

use crate::support::{App, World, digest, full, until};

/// Two ends of each connection are in this process.
const CONNECTIONS: usize = 3_000;
/// Of both ends. With a parser's buffers our end alone takes more.
const EACH_KIB_MAX: f64 = 12.0;

const REQUESTS: [&str; 2] = [
    "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc",
];

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_have_had_their_answers_keep_no_buffers() {
    let app =
        App::new(|request| async move { Response::new(full(digest(request.into_body()).await)) })
            .await;
    let world = World::awake(&app).await;
    for request in REQUESTS {
        assert_eq!(world.send(request).await.status, 200);
    }
    let before_kib = resident_kib();
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for n in 0..CONNECTIONS {
        let mut raw = world.connect().await;
        raw.write(REQUESTS[n % REQUESTS.len()]).await;
        assert_eq!(raw.response().await.status, 200);
        clients.push(raw);
    }
    until("the last request is over", || world.gate.leases() == 0).await;
    let each_kib = (resident_kib() - before_kib) as f64 / CONNECTIONS as f64;
    println!("{CONNECTIONS} idle, {each_kib:.1} KiB each with both ends");
    assert!(each_kib < EACH_KIB_MAX, "{each_kib} KiB for each idle connection");
    for (n, raw) in clients.iter_mut().enumerate().step_by(100) {
        raw.write(REQUESTS[(n + 1) % REQUESTS.len()]).await;
        assert_eq!(raw.response().await.status, 200);
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
