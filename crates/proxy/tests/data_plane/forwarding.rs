//! An awake workload is proxied to without being changed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;

use crate::support::{App, Raw, World, digest, full, http2_client, soon, streamed, until};

#[tokio::test]
async fn a_request_reaches_the_app_and_its_answer_the_client() {
    let app = App::new(|request| async move {
        let headers = request.headers();
        let seen = format!(
            "{} {} {:?} {:?} {:?} {:?}",
            request.method(),
            request.uri(),
            headers["host"],
            headers["x-forwarded-for"],
            headers["x-forwarded-proto"],
            headers["x-forwarded-host"],
        );
        Response::builder().header("x-own", "1").header("x-own", "2").body(full(seen)).unwrap()
    })
    .await;
    let world = World::awake(&app).await;
    let received = world.send("GET /a?b=c HTTP/1.1\r\nHost: App.Test:81\r\n\r\n").await;
    assert_eq!(received.status, 200);
    assert_eq!(received.header("x-own"), "1 | 2");
    assert_eq!(received.header("x-dormouse-wake"), "");
    assert_eq!(
        received.text(),
        "GET /a?b=c \"App.Test:81\" \"127.0.0.1\" \"http\" \"App.Test:81\""
    );
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn one_upstream_connection_serves_request_after_request() {
    let app = App::new(|_| async { Response::new(full("x".repeat(100_000))) }).await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    for _ in 0..50 {
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert_eq!(raw.response().await.body.len(), 100_000);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app =
        App::new(|request| async move { Response::new(full(request.uri().to_string())) }).await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    let requests: String =
        (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: app.test\r\n\r\n")).collect();
    raw.write(requests).await;
    for n in 0..20 {
        assert_eq!(raw.response().await.text(), format!("/{n}"));
    }
}

#[tokio::test]
async fn the_lease_is_held_until_a_download_has_ended_or_the_client_has_left() {
    let app = App::new(|_| async {
        let frames = stream::iter(0..).map(|_| Frame::data(Bytes::from(vec![7; 64 << 10])));
        Response::new(streamed(frames.take(1000)))
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(raw.head().await.status, 200);
    assert_eq!(world.gate.leases(), 1);
    drop(raw);
    until("the lease of a client that left is given back", || world.gate.leases() == 0).await;

    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.body.len(), 64_000 << 10);
    until("the lease of a complete download is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn a_body_that_is_still_uploaded_after_its_answer_arrives_and_holds_the_lease() {
    let (done, finished) = tokio::sync::mpsc::channel(1);
    let app = App::new(move |request| {
        let done = done.clone();
        tokio::spawn(async move { done.send(first_bytes(request.into_body(), 6).await).await });
        async { Response::builder().status(202).body(full("early")).unwrap() }
    })
    .await;
    let mut finished = finished;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    raw.write("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\n\r\nabc").await;
    let received = raw.response().await;
    assert_eq!((received.status, received.text()), (202, "early"));
    assert_eq!(world.gate.leases(), 1);
    raw.write("def").await;
    assert_eq!(soon(finished.recv()).await.unwrap(), "abcdef");
    until("the lease is given back", || world.gate.leases() == 0).await;
}

/// The first bytes of a body. Its end is not waited for: a server of hyper that has answered already
/// may take a close right behind the last byte for a body that broke off.
async fn first_bytes(mut body: hyper::body::Incoming, enough: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < enough {
        let frame = body.frame().await.expect("there is more to come").expect("it does not break");
        bytes.extend(frame.into_data().expect("it is data"));
    }
    String::from_utf8(bytes).expect("it is text")
}

#[tokio::test]
async fn trailers_pass_to_those_who_want_them() {
    let app = App::new(|_| async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(trailers)];
        Response::builder().header("trailer", "x-sum").body(streamed(stream::iter(frames))).unwrap()
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n")
        .await;
    let answer = String::from_utf8(raw.rest().await).unwrap();
    assert!(answer.contains("\r\nx-sum: 42\r\n"), "{answer}");
}

#[tokio::test]
async fn a_broken_chunk_is_the_clients_fault() {
    let app =
        App::new(|request| async move { Response::new(full(digest(request.into_body()).await)) })
            .await;
    let world = World::awake(&app).await;
    let head = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab";
    let received = world.send(&format!("{head}cd\r\n")).await;
    assert_eq!(received.status, 400, "{}", received.text());
    let mut raw = world.connect().await;
    raw.write(head).await;
    until("the request is on its way", || world.gate.leases() == 1).await;
    raw.write("cd\r\n").await;
    let received = raw.response().await;
    assert_eq!((received.status, received.header("connection")), (400, "close"));
    assert!(received.text().contains("body-broken"), "{}", received.text());
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn an_app_that_closes_without_an_answer_is_a_bad_gateway() {
    let app = App::serve("127.0.0.1:0", |mut stream| async move {
        let mut bytes = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.ok();
    })
    .await;
    let world = World::awake(&app).await;
    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.status, 502);
    assert_eq!(received.header("content-type"), "application/problem+json");
    assert!(received.text().contains("upstream-closed"));
}

#[tokio::test]
async fn an_app_that_does_not_speak_http_is_a_bad_gateway() {
    let app = App::serve("127.0.0.1:0", |mut stream| async move {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ready\r\n").await.ok();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.ok();
    })
    .await;
    let world = World::awake(&app).await;
    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.status, 502);
    assert!(received.text().contains("upstream-"), "{}", received.text());
}

#[tokio::test]
async fn an_app_that_never_answers_ends_in_a_timeout() {
    let app = App::serve("127.0.0.1:0", |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let settings = dormouse_proxy::ProxySettings {
        answer_timeout: Duration::from_millis(100),
        ..Default::default()
    };
    let world = World::with(settings, |_| {}).await;
    world.gate.open(app.address);
    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.status, 504);
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn a_workload_that_died_is_asked_for_again() {
    let app = App::new(|_| async { Response::new(full("back")) }).await;
    let world = World::new().await;
    // Nobody listens there.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.gate.open(nobody);
    world.gate.shut_in.store(2, std::sync::atomic::Ordering::SeqCst);
    let mut raw = world.connect().await;
    raw.write("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi").await;
    until("the request waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    let received = raw.response().await;
    assert_eq!((received.status, received.text()), (200, "back"));
    assert_eq!(received.header("x-dormouse-wake"), "cold");
}

#[tokio::test]
async fn a_workload_that_stays_unreachable_is_a_bad_gateway() {
    let world = World::new().await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.gate.open(nobody);
    let received = world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.status, 502);
    assert!(received.text().contains("upstream-unreachable"));
}

#[tokio::test]
async fn the_connection_that_proved_readiness_serves_the_first_request() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::new().await;
    let warm = tokio::net::TcpStream::connect(app.address).await.unwrap();
    world.gate.open_with(app.address, Some(warm));
    assert_eq!(world.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await.text(), "ok");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn http2_clients_are_served_over_http1_upstreams() {
    let app = App::new(|request| async move {
        let host = format!("{:?} {:?}", request.headers()["host"], request.headers()["cookie"]);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::builder().header("x-host", host).body(full(body)).unwrap()
    })
    .await;
    let world = World::awake(&app).await;
    let mut sender = http2_client(world.address).await;
    let request = http::Request::post("http://app.test/x")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(full("hello"))
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-host"], "\"app.test\" \"a=1; b=2\"");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn a_preface_in_pieces_is_understood() {
    let app = App::new(|_| async { Response::new(full("ok")) }).await;
    let world = World::awake(&app).await;
    let mut raw = Raw::connect(world.address).await;
    for byte in b"PROPFIND / HTTP/1.1\r\nHost: app.test\r\n\r\n" {
        raw.write([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.response().await.text(), "ok");
    let mut raw = Raw::connect(world.address).await;
    raw.write("PR").await;
    tokio::task::yield_now().await;
    raw.write("I * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut frame = [0; 9];
    soon(tokio::io::AsyncReadExt::read_exact(&mut raw.stream, &mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "an HTTP/2 server begins with its settings");
}

#[tokio::test]
async fn a_shutdown_lets_open_requests_finish_and_ends_idle_connections() {
    let (release, released) = tokio::sync::watch::channel(false);
    let app = App::new(move |_| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            Response::new(full("done"))
        }
    })
    .await;
    let world = World::awake(&app).await;
    let mut idle = world.connect().await;
    idle.write("GET /nowhere HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(idle.response().await.status, 404);
    let mut busy = world.connect().await;
    busy.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    until("the request is open", || world.gate.leases() == 1).await;
    world.shutdown.cancel();
    assert!(idle.rest().await.is_empty());
    release.send(true).unwrap();
    let received = busy.response().await;
    assert_eq!((received.text(), received.header("connection")), ("done", "close"));
    soon(world.served).await.unwrap().unwrap();
}
