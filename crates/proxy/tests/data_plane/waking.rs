//! Every kind of request may be the one that wakes a workload, and gets the app's own answer.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{App, Received, World, digest, full, http2_client, soon, streamed, until};

/// Sends a request to a sleeping workload and wakes it once the request waits.
async fn wake_by(app: &App, request: &str) -> Received {
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write(request).await;
    until("the request waits", || world.gate.waits() == 1).await;
    assert!(raw.is_silent(), "nothing is written before the real answer");
    world.gate.open(app.address);
    let received = raw.response().await;
    assert_eq!(received.header("x-dormouse-wake"), "cold");
    assert!(received.header("server-timing").starts_with("wake;dur="));
    until("the lease is given back", || world.gate.leases() == 0).await;
    received
}

async fn echo() -> App {
    App::new(|request: Request<Incoming>| async move {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        let method = request.method().to_string();
        let digest = digest(request.into_body()).await;
        let body = if status == 204 { full("") } else { full(format!("{method} {digest}")) };
        Response::builder()
            .status(status)
            .header("x-own", "yes")
            .header("location", "/elsewhere")
            .body(body)
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn statuses_and_headers_come_through_untouched() {
    let app = echo().await;
    for status in [204, 302, 304, 404, 418, 500, 503] {
        let request = format!("GET /{status} HTTP/1.1\r\nHost: app.test\r\nAccept: */*\r\n\r\n");
        let received = wake_by(&app, &request).await;
        assert_eq!(received.status, status);
        assert_eq!(received.header("x-own"), "yes");
        assert_eq!(received.header("location"), "/elsewhere");
    }
}

#[tokio::test]
async fn requests_without_an_accept_header_and_scripts_are_held() {
    let app = echo().await;
    for headers in ["", "Accept: */*\r\n", "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n"] {
        let received =
            wake_by(&app, &format!("GET / HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n")).await;
        assert_eq!(received.status, 200);
        assert!(received.text().starts_with("GET 0 "));
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_an_answer_without_chunks() {
    let app = App::new(|_| async {
        let frames =
            [Frame::data(Bytes::from_static(b"ab")), Frame::data(Bytes::from_static(b"cd"))];
        Response::new(streamed(stream::iter(frames)))
    })
    .await;
    let received = wake_by(&app, "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(received.version, "HTTP/1.0");
    assert_eq!(received.header("transfer-encoding"), "");
    assert_eq!(received.text(), "abcd");
}

#[tokio::test]
async fn head_gets_the_apps_own_length_and_no_body() {
    let app = App::new(|_| async { Response::new(full("0123456789")) }).await;
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write("HEAD / HTTP/1.1\r\nHost: app.test\r\nAccept: text/html\r\n\r\n").await;
    until("the request waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    let head = soon(raw.head()).await;
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
    // The connection goes on: nothing of a body was sent.
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(raw.response().await.text(), "0123456789");
}

#[tokio::test]
async fn a_post_of_64_mib_arrives_whole() {
    const SIZE: usize = 64 << 20;
    let app = echo().await;
    let body: Vec<u8> = (0..SIZE).map(|at| (at * 31 % 251) as u8).collect();
    let expected = {
        use std::hash::Hasher;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&body);
        format!("POST {SIZE} {:x}", hasher.finish())
    };
    for framing in [format!("Content-Length: {SIZE}"), "Transfer-Encoding: chunked".into()] {
        let world = World::new().await;
        let raw = world.connect().await;
        let (reads, mut writes) = tokio::io::split(raw.stream);
        let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n");
        let chunked = framing.starts_with("Transfer");
        let body = body.clone();
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            writes.write_all(head.as_bytes()).await.unwrap();
            for chunk in body.chunks(100_000) {
                if chunked {
                    writes.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
                }
                writes.write_all(chunk).await.unwrap();
                if chunked {
                    writes.write_all(b"\r\n").await.unwrap();
                }
            }
            if chunked {
                writes.write_all(b"0\r\n\r\n").await.unwrap();
            }
            writes
        });
        until("the request waits", || world.gate.waits() == 1).await;
        world.gate.open(app.address);
        let writes = tokio::time::timeout(std::time::Duration::from_secs(60), writer);
        let stream = reads.unsplit(writes.await.unwrap().unwrap());
        let mut raw = world.connect().await;
        raw.stream = stream;
        let received =
            tokio::time::timeout(std::time::Duration::from_secs(60), raw.response_unhurried());
        assert_eq!(received.await.unwrap().text(), expected);
    }
}

#[tokio::test]
async fn a_100_continue_comes_when_the_app_reads_and_not_before() {
    let app = App::new(|request: Request<Incoming>| async move {
        assert!(!request.headers().contains_key("expect"));
        Response::new(full(digest(request.into_body()).await))
    })
    .await;
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write(
        "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    )
    .await;
    until("the request waits", || world.gate.waits() == 1).await;
    assert!(raw.is_silent());
    world.gate.open(app.address);
    assert_eq!(soon(raw.head()).await.status, 100);
    raw.write("abc").await;
    let received = raw.response().await;
    assert_eq!(received.status, 200);
    assert!(received.text().starts_with("3 "));
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one_and_hold_the_lease() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let app = App::new(move |_| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async move {
            let frames = stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|frame| (frame, receiver))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(streamed(frames))
                .unwrap()
        }
    })
    .await;
    let world = World::new().await;
    let mut raw = world.connect().await;
    raw.write("GET / HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\n\r\n").await;
    until("the request waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    assert_eq!(soon(raw.head()).await.header("content-type"), "text/event-stream");
    for n in 0..5 {
        sender.send(Frame::data(Bytes::from(format!("data: {n}\n")))).await.unwrap();
        raw.line().await;
        assert_eq!(raw.line().await, format!("data: {n}\n"));
        raw.line().await;
        assert_eq!(world.gate.leases(), 1);
    }
    drop(sender);
    until("the lease is given back", || world.gate.leases() == 0).await;
}

/// Answers a WebSocket handshake and sends every message back.
async fn websocket_app() -> App {
    App::new(|mut request: Request<Incoming>| async move {
        let key = request.headers()["sec-websocket-key"].as_bytes();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = TokioIo::new(upgrade.await.unwrap());
            let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
            let mut socket =
                tokio_tungstenite::WebSocketStream::from_raw_socket(upgraded, role, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() || socket.send(message).await.is_err() {
                    break;
                }
            }
        });
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", accept)
            .body(full(""))
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn a_websocket_wakes_the_workload_and_holds_it_until_it_is_closed() {
    let app = websocket_app().await;
    let world = World::new().await;
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let connecting = tokio::spawn(tokio_tungstenite::client_async("ws://app.test/chat", stream));
    until("the handshake waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    let (mut socket, response) = soon(connecting).await.unwrap().unwrap();
    assert_eq!(response.headers()["x-dormouse-wake"], "cold");
    for size in [1, 1000, 1 << 20] {
        let message = Message::binary(vec![size as u8; size]);
        soon(socket.send(message.clone())).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), message);
        assert_eq!(world.gate.leases(), 1);
    }
    drop(socket);
    until("the lease is given back", || world.gate.leases() == 0).await;
}

/// gRPC as far as a proxy sees it: HTTP/2, a content type, messages back and forth, and trailers.
async fn grpc_app() -> App {
    App::http2(|request: Request<Incoming>| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        let echo = stream::unfold(Some(request.into_body()), |body| async move {
            let mut body = body?;
            if let Some(Ok(frame)) = body.frame().await {
                return Some((frame, Some(body)));
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            Some((Frame::trailers(trailers), None))
        });
        Response::builder().header("content-type", "application/grpc").body(streamed(echo)).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_grpc_stream_wakes_the_workload_and_keeps_its_trailers() {
    let app = grpc_app().await;
    let world = World::new().await;
    let mut sender = http2_client(world.address).await;
    let (messages, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
    let body = streamed(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    }));
    let request = Request::post("http://app.test/echo.Echo/Talk")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    until("the call waits", || world.gate.waits() == 1).await;
    world.gate.open(app.address);
    let response = soon(answer).await.unwrap().unwrap();
    assert_eq!(response.headers()["x-dormouse-wake"], "cold");
    let mut body = response.into_body();
    for n in 0..5u8 {
        let message = Bytes::from(vec![n; 1000]);
        messages.send(Frame::data(message.clone())).await.unwrap();
        let mut echoed = Vec::new();
        while echoed.len() < message.len() {
            echoed.extend(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(echoed, message);
        assert_eq!(world.gate.leases(), 1);
    }
    drop(messages);
    let trailers = soon(body.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn many_grpc_calls_share_few_connections() {
    let app = grpc_app().await;
    let world = World::awake(&app).await;
    let sender = http2_client(world.address).await;
    let calls = (0..150).map(|_| {
        let mut sender = sender.clone();
        let request = Request::post("http://app.test/echo.Echo/Once")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(full("hello"))
            .unwrap();
        async move {
            let response = sender.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    for body in soon(futures_util::future::join_all(calls)).await {
        assert_eq!(body, "hello");
    }
    assert!(app.connections() <= 2, "{}", app.connections());
}
