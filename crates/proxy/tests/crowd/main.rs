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
const STREAMS_PER_CONNECTION: usize = 200;

async fn world() -> World {
    World::with(ProxySettings::default(), |site| {
        site.held.requests = CROWD;
        site.held.per_client = CROWD;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_held_http2_requests_are_all_answered() {
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
    world.gate.open(app.address);
    let opened = std::time::Instant::now();
    let answers = tokio::time::timeout(Duration::from_secs(60), calls.join_all()).await.unwrap();
    println!(
        "{CROWD} held over HTTP/2; the last answered after {:?}; {} connections",
        opened.elapsed(),
        app.connections()
    );
    assert_eq!(answers.len(), CROWD);
    assert!(answers.iter().all(|body| body == "ok"));
    until("every lease is given back", || world.gate.leases() == 0).await;
}

async fn wait_for(world: &World, waits: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.gate.waits() < waits as i64 {
        assert!(tokio::time::Instant::now() < deadline, "{} wait", world.gate.waits());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
