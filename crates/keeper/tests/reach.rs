//! Probes against real servers: pages, ports, sockets, names, programs and gRPC services.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dormouse_keeper::probe::{Probe, Target, Unreached, webhook};
use dormouse_providers::{Pem, TlsOptions};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A web server: `/ok`, `/moved`, `/sick`; elsewhere it tells what it was asked.
async fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(page)),
            );
        }
    });
    at
}

async fn page(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.uri().path() {
        "/ok" => (200, "all is well".to_owned()),
        "/moved" => (302, String::new()),
        "/sick" => (503, "all is well".to_owned()),
        "/large" => (200, "x".repeat(3 << 20) + "the end"),
        _ => (200, format!("{} {:?}", request.uri(), request.headers())),
    };
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

fn probe(target: impl std::fmt::Display) -> Probe {
    Probe::new(target.to_string().parse().unwrap())
}

async fn run(probe: &Probe) -> Result<(), Unreached> {
    timeout(PATIENCE, probe.run()).await.expect("a probe ends")
}

async fn refusal(probe: &Probe) -> String {
    run(probe).await.unwrap_err().to_string()
}

/// A port that nobody has.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_page_is_judged_by_its_status() {
    let at = web().await;
    run(&probe(format!("http://{at}/ok"))).await.unwrap();
    run(&probe(format!("http://{at}/moved"))).await.unwrap();
    let sick = probe(format!("http://{at}/sick"));
    assert_eq!(refusal(&sick).await, "answered 503, not 200 to 399");
    run(&sick.expect_status(500..=599)).await.unwrap();
    let only_204 = probe(format!("http://{at}/ok")).expect_status(204..=204);
    assert_eq!(refusal(&only_204).await, "answered 200, not 204 to 204");
}

#[tokio::test]
async fn a_page_is_judged_by_its_body() {
    let at = web().await;
    run(&probe(format!("http://{at}/ok")).expect_body("is well")).await.unwrap();
    let ill = probe(format!("http://{at}/ok")).expect_body("is ill");
    assert_eq!(refusal(&ill).await, "the answer has no \"is ill\" in its first 11 bytes");
    // What comes after a mebibyte is not looked at.
    let large = probe(format!("http://{at}/large")).expect_body("the end");
    assert_eq!(refusal(&large).await, "the answer has no \"the end\" in its first 1048576 bytes");
}

#[tokio::test]
async fn a_page_is_asked_for_as_it_was_written() {
    let at = web().await;
    let port = at.port();
    let asked = |text: &str| {
        let text = text.to_owned();
        let target = format!("http://localhost:{port}/a/b?c=d");
        async move { run(&probe(target).expect_body(text)).await }
    };
    asked("/a/b?c=d").await.unwrap();
    asked(&format!("\"host\": \"localhost:{port}\"")).await.unwrap();
    asked("dormouse-probe/").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_something_else_is_not_reached() {
    let at = nobody().await;
    for scheme in ["http", "https", "tcp", "grpc"] {
        let said = refusal(&probe(format!("{scheme}://{at}"))).await;
        assert!(said.starts_with(&format!("{at}: ")) && said.contains("refused"), "{said}");
    }
    let plain = web().await;
    let said = refusal(&probe(format!("https://{plain}"))).await;
    assert!(said.starts_with(&format!("TLS with {plain}: ")), "{said}");
    let said = refusal(&probe(format!("grpc://{plain}"))).await;
    assert!(said.contains("does not speak HTTP"), "{said}");
    let said = refusal(&probe("tcp://no-such-host.invalid:1")).await;
    assert!(said.starts_with("no-such-host.invalid:1: "), "{said}");
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_bear_the_name() {
    let (at, ca) = secure_web(&["dormouse.test"]).await;
    let untrusted = probe(format!("https://{at}/ok"));
    let said = refusal(&untrusted).await;
    assert!(said.starts_with(&format!("TLS with {at}: ")), "{said}");
    let own = TlsOptions { ca: Some(Pem::Text(ca)), ..TlsOptions::default() };
    let misnamed = probe(format!("https://{at}/ok")).with_tls(&own).unwrap();
    assert!(refusal(&misnamed).await.starts_with(&format!("TLS with {at}: ")));
    let named = TlsOptions { server_name: Some("dormouse.test".into()), ..own };
    run(&probe(format!("https://{at}/ok")).with_tls(&named).unwrap()).await.unwrap();
    let sick = probe(format!("https://{at}/sick")).with_tls(&named).unwrap();
    assert_eq!(refusal(&sick).await, "answered 503, not 200 to 399");
    let anyone = TlsOptions { insecure: true, ..TlsOptions::default() };
    run(&probe(format!("https://{at}/ok")).with_tls(&anyone).unwrap()).await.unwrap();
}

async fn secure_web(names: &[&str]) -> (SocketAddr, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let served = http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), service_fn(page)).await;
                }
            });
        }
    });
    (at, cert.pem())
}

#[tokio::test]
async fn a_port_and_a_socket_are_reached_when_they_accept() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    run(&probe(format!("tcp://{}", listener.local_addr().unwrap()))).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let target = format!("unix://{}", path.display());
    let said = refusal(&probe(&target)).await;
    assert!(said.contains("x.sock: No such file"), "{said}");
    let socket = UnixListener::bind(&path).unwrap();
    run(&probe(&target)).await.unwrap();
    drop(socket);
    assert!(refusal(&probe(&target)).await.contains("refused"));
}

/// A DNS server that ignores the first question, knows `known.test` and refuses `hidden.test`.
async fn names() -> (SocketAddr, Arc<AtomicU32>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                continue;
            }
            let question = &buffer[12..length];
            let code = if question.starts_with(b"\x05known\x04test\x00") {
                0
            } else if question.starts_with(b"\x06hidden") {
                5
            } else {
                3
            };
            let address_asked = question.ends_with(&[0, 1, 0, 1]);
            let answers = u8::from(code == 0 && address_asked);
            let mut answer =
                [&buffer[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]].concat();
            answer.extend(question);
            if answers == 1 {
                answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01");
            }
            // An answer to somebody else's question comes first.
            let mut stray = answer.clone();
            stray[0] ^= 0xFF;
            socket.send_to(&stray, from).await.unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (at, asked)
}

#[tokio::test]
async fn a_name_is_reached_when_its_server_knows_it() {
    let (at, asked) = names().await;
    // The first datagram is lost.
    run(&probe(format!("dns://{at}/known.test"))).await.unwrap();
    assert!(asked.load(Ordering::SeqCst) >= 2);
    for (name, said) in [
        ("unknown.test", "unknown.test: no such name (NXDOMAIN)"),
        ("hidden.test", "hidden.test: the server refuses (REFUSED)"),
        ("known.test?type=AAAA", "known.test has no such record"),
    ] {
        assert_eq!(refusal(&probe(format!("dns://{at}/{name}"))).await, said);
    }
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(refusal(&probe(format!("dns://{gone}/a"))).await.contains("refused"));
}

#[tokio::test]
async fn a_name_without_a_server_is_asked_of_this_machine() {
    run(&probe("dns://localhost")).await.unwrap();
    let said = refusal(&probe("dns://no-such-host.invalid")).await;
    assert!(said.starts_with("no-such-host.invalid: "), "{said}");
}

fn command(words: &[&str]) -> Probe {
    Probe::new(Target::Command(words.iter().map(|&word| word.to_owned()).collect()))
}

#[tokio::test]
async fn a_program_is_judged_by_its_exit_code_and_quoted() {
    run(&command(&["true"])).await.unwrap();
    assert_eq!(refusal(&command(&["false"])).await, "false ended with exit status: 1");
    let talks = "echo first >&2; echo 'no route' >&2; exit 3";
    assert_eq!(
        refusal(&command(&["sh", "-c", talks])).await,
        "sh ended with exit status: 3: no route"
    );
    assert!(refusal(&command(&["/no/such/program"])).await.contains("cannot be run"));
    // More than a pipe holds.
    let floods = "i=0; while [ $i -lt 3000 ]; do echo 'a line that is rather long by itself, so that the pipe fills up' >&2; i=$((i+1)); done; exit 1";
    assert!(refusal(&command(&["sh", "-c", floods])).await.ends_with("fills up"));
}

#[tokio::test]
async fn a_program_that_is_abandoned_ends_with_everything_it_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {0}.part; mv {0}.part {0}; wait", note.display());
    let probe = command(&["sh", "-c", &script]);
    let attempt = tokio::spawn(async move { probe.run().await });
    let child = timeout(PATIENCE, written(&note)).await.unwrap();
    attempt.abort();
    timeout(PATIENCE, ended(&child)).await.expect("the grandchild ends");
}

async fn written(path: &Path) -> String {
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text.trim().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ended(pid: &str) {
    let is_alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while is_alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A gRPC server whose health is `state`.
async fn healthy(state: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |_: Request<Incoming>| async move {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, state]);
                let frames = [Frame::data(message), Frame::trailers(trailers)];
                let frames = frames.map(Ok::<_, Infallible>);
                let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
                Ok::<_, Infallible>(Response::new(body))
            });
            let served = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(served.serve_connection(TokioIo::new(stream), answer));
        }
    });
    at
}

#[tokio::test]
async fn a_grpc_service_is_reached_when_it_serves() {
    run(&probe(format!("grpc://{}", healthy(1).await))).await.unwrap();
    let said = refusal(&probe(format!("grpc://{}/pkg.Service", healthy(2).await))).await;
    assert_eq!(said, "its gRPC health is NOT_SERVING");
}

/// Somebody who wants to know, and refuses the first `refusals` times.
async fn listener(refusals: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heard = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            let answer = service_fn(move |request: Request<Incoming>| {
                let count = Arc::clone(&count);
                async move {
                    assert_eq!(request.method(), "POST");
                    assert_eq!(request.headers()["content-type"], "application/json");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(&body[..], b"{\"a\":1}");
                    let heard = count.fetch_add(1, Ordering::SeqCst);
                    let status = if heard < refusals { 500 } else { 204 };
                    let answer = Response::builder().status(status);
                    Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (at, heard)
}

#[tokio::test]
async fn a_webhook_is_sent_again_a_few_times_and_then_given_up() {
    let json = Bytes::from_static(b"{\"a\":1}");
    for (refusals, sent, outcome) in
        [(0, 1, Ok(())), (1, 2, Ok(())), (9, 3, Err("answered 500, not 200 to 299".to_owned()))]
    {
        let (at, heard) = listener(refusals).await;
        let to = probe(format!("http://{at}/hook")).expect_status(200..=299);
        let told = timeout(PATIENCE, webhook::post(&to, json.clone())).await.unwrap();
        assert_eq!(told.map_err(|error| error.to_string()), outcome);
        assert_eq!(heard.load(Ordering::SeqCst), sent);
    }
}
