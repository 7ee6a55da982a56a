//! Plain requests pass as bytes, and nobody can tell: answers end where they end, what is odd is
//! refused, and what is not plain goes the full way on the same connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{App, World, digest, full, soon, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// The head of the next request; empty when there is none.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// An app that answers each request with the same bytes, and closes where it is told to.
async fn answering(answer: &'static [u8], closes: bool) -> App {
    App::serve("127.0.0.1:0", move |mut stream| async move {
        while !head(&mut stream).await.is_empty() {
            stream.write_all(answer).await.ok();
            if closes {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn plain_requests_and_others_take_turns_on_one_connection() {
    let app = App::serve("127.0.0.1:0", |mut stream| async move {
        loop {
            let seen = head(&mut stream).await;
            if seen.is_empty() {
                return;
            }
            if seen.to_ascii_lowercase().contains("content-length: 3") {
                let mut body = [0; 3];
                stream.read_exact(&mut body).await.unwrap();
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{seen}", seen.len());
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    for round in 0..20 {
        raw.write("GET / HTTP/1.1\r\nHost: app.test\r\nX-Case: y\r\n\r\n").await;
        let seen = raw.response().await.text().to_owned();
        // Only a parser makes names lower case.
        assert!(seen.contains("\r\nX-Case: y\r\n"), "round {round}: {seen}");
        let post = "POST / HTTP/1.1\r\nHost: app.test\r\nX-Case: y\r\nContent-Length: 3\r\n\r\nabc";
        raw.write(post).await;
        let seen = raw.response().await.text().to_owned();
        assert!(seen.contains("\r\nx-case: y\r\n"), "round {round}: {seen}");
    }
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn every_way_to_end_an_answer_is_understood() {
    let cases: [(&[u8], bool, &str); 6] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", false, "ok"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", true, "ok"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", true, "ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", false, ""),
    ];
    for (answer, closes, body) in cases {
        let app = answering(answer, closes).await;
        let world = World::awake(&app).await;
        let mut raw = world.connect().await;
        for _ in 0..3 {
            raw.write(GET).await;
            let text = String::from_utf8_lossy(answer);
            assert_eq!(raw.response().await.text(), body, "{text}");
        }
        assert_eq!(app.connections(), if closes { 3 } else { 1 });
        until("the leases are given back", || world.gate.leases() == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let cases: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ];
    for answer in cases {
        let app = answering(answer, true).await;
        let world = World::awake(&app).await;
        let mut raw = world.connect().await;
        raw.write(GET).await;
        let seen = String::from_utf8(raw.rest().await).unwrap();
        let whole = seen.ends_with("0\r\n\r\n") || seen.contains("content-length: 2\r\n");
        assert!(!whole, "{seen}");
        until("the lease is given back", || world.gate.leases() == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_understood_is_told_as_such() {
    let cases: [(&[u8], &str); 5] = [
        (b"SSH-2.0-OpenSSH\r\n", "upstream-garbled"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            "upstream-garbled",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx", "upstream-garbled"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "unasked-upgrade"),
        (b"", "upstream-closed"),
    ];
    for (answer, slug) in cases {
        let app = answering(answer, true).await;
        let world = World::awake(&app).await;
        let mut raw = world.connect().await;
        for _ in 0..2 {
            raw.write(GET).await;
            let received = raw.response().await;
            assert_eq!(received.status, 502, "{slug}");
            assert!(received.text().contains(slug), "{}", received.text());
        }
        until("the leases are given back", || world.gate.leases() == 0).await;
        let answers = world.proxy.counters().answers.read();
        assert_eq!(answers.map(|(_, count)| count), [0, 0, 0, 0, 2], "{slug}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_unasked_is_nobodys_answer() {
    let said = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&said);
    let app = App::serve("127.0.0.1:0", move |mut stream| {
        let said = Arc::clone(&counted);
        async move {
            while !head(&mut stream).await.is_empty() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.ok();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(late).await.ok();
                said.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    for round in 0..5 {
        raw.write(GET).await;
        assert_eq!(raw.response().await.status, 200, "round {round}");
        until("it has spoken", || said.load(Ordering::SeqCst) > round).await;
        // The runtime of this test hears of it when it looks for events the next time.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(app.connections(), 5);
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything_and_keeps_nothing_else_waiting() {
    let body = "0123456789abcdef".repeat(500_000);
    let sent = body.clone();
    let app = App::new(move |_| {
        let body = sent.clone();
        async move { Response::new(full(body)) }
    })
    .await;
    let world = World::awake(&app).await;
    let mut slow = world.connect().await;
    slow.write(GET).await;
    until("the answer is on its way", || world.gate.leases() == 1).await;
    assert_eq!(world.send(GET).await.body.len(), body.len());
    assert_eq!(world.gate.leases(), 1);
    assert!(slow.response().await.body == body.as_bytes());
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_drops_the_lease() {
    let app = App::serve("127.0.0.1:0", |mut stream| async move {
        while !head(&mut stream).await.is_empty() {}
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    raw.write(GET).await;
    until("the request is on its way", || world.gate.leases() == 1).await;
    drop(raw);
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn an_open_answer_says_at_the_drain_that_it_is_the_last() {
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let gone = Arc::new(tokio::sync::Mutex::new(Some(gone)));
    let app = App::new(move |request| {
        let gone = Arc::clone(&gone);
        async move {
            let gone = gone.lock().await.take();
            if let Some(gone) = gone {
                gone.await.ok();
            }
            Response::new(full(digest(request.into_body()).await))
        }
    })
    .await;
    let world = World::awake(&app).await;
    let mut raw = world.connect().await;
    raw.write(GET).await;
    until("the request is on its way", || world.gate.leases() == 1).await;
    world.shutdown.cancel();
    let address = world.address;
    until("nobody is accepted", || std::net::TcpStream::connect(address).is_err()).await;
    go.send(()).unwrap();
    let received = raw.response().await;
    assert_eq!((received.status, received.header("connection")), (200, "close"));
    assert!(raw.rest().await.is_empty());
    soon(world.served).await.unwrap().unwrap();
}
