//! Connections that the upstream has closed are never seen by a client.

use http::Response;

use crate::support::{App, World, digest, full, until};

const REQUESTS: [&str; 2] = [
    "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc",
];

#[tokio::test]
async fn a_thousand_restarts_of_the_app_fail_no_request() {
    let answer = |request: http::Request<hyper::body::Incoming>| async move {
        Response::new(full(digest(request.into_body()).await))
    };
    let mut app = App::new(answer).await;
    let address = app.address.to_string();
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    for round in 0..1000 {
        raw.write(REQUESTS[round % 2]).await;
        let received = raw.response().await;
        assert_eq!(received.status, 200, "round {round}: {}", received.text());
        app.stop().await;
        app = App::at(&address, answer).await;
    }
}

#[tokio::test]
async fn an_app_that_closes_without_a_word_after_each_answer_fails_no_request() {
    let app = App::serve("127.0.0.1:0", |mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut bytes = [0; 4096];
        if stream.read(&mut bytes).await.is_ok_and(|amount| amount > 0) {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.ok();
        }
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    for round in 0..1000 {
        raw.write(REQUESTS[0]).await;
        assert_eq!(raw.response().await.status, 200, "round {round}");
    }
}

#[tokio::test]
async fn a_new_start_gets_new_connections_although_its_address_is_the_same() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::awake(&app).await;
    let mut epochs = Vec::new();
    for round in 1..=5 {
        assert_eq!(world.send(REQUESTS[0]).await.status, 200);
        assert_eq!(app.connections(), round);
        world.gate.shut();
        epochs.push(world.gate.open(app.address));
    }
    for epoch in epochs {
        world.proxy.retire(epoch);
    }
    assert_eq!(world.send(REQUESTS[0]).await.status, 200);
    assert_eq!(app.connections(), 6);
}

#[tokio::test]
async fn what_one_thread_has_left_idle_serves_the_clients_of_the_other() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::awake(&app).await;
    // The full way and the direct way keep their connections apart.
    let requests = ["GET / HTTP/1.1\r\nHost: app.test\r\nTe: trailers\r\n\r\n", REQUESTS[0]];
    for (round, request) in requests.into_iter().enumerate() {
        let mut clients = [world.connect().await, world.connect().await];
        for turn in 0..100 {
            let client = &mut clients[turn % 2];
            client.write(request).await;
            assert_eq!(client.response().await.status, 200, "{request:?}, turn {turn}");
            until("the request is over", || world.gate.leases() == 0).await;
        }
        assert_eq!(app.connections(), round + 1, "{request:?}");
    }
}

#[tokio::test]
async fn retiring_a_start_closes_its_connections() {
    let (ended, mut endings) = tokio::sync::mpsc::channel(1);
    let app = App::serve("127.0.0.1:0", move |stream| {
        let ended = ended.clone();
        async move {
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(Response::new(full("ok")))
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await
                .ok();
            ended.send(()).await.ok();
        }
    })
    .await;
    let world = World::new().await;
    let epoch = world.gate.open(app.address);
    assert_eq!(world.send(REQUESTS[0]).await.status, 200);
    until("the request is over", || world.gate.leases() == 0).await;
    world.proxy.retire(epoch);
    crate::support::soon(endings.recv()).await.unwrap();
}
