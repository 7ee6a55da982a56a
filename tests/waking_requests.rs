//! Whatever wakes a workload gets the app's own answer: its status, its headers, its body, as if it
//! had been awake all the time. Each kind of client, for a workload that was stopped and for one
//! that was paused.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use dormouse_wire::Phase;
use futures_util::{SinkExt, StreamExt};
use harness::client::{Answer, curl, fetch, get};
use harness::docker::{App, Docker};
use harness::grpc;
use harness::house::House;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;

const RESTS: [&str; 2] = ["stop", "pause"];
const UPLOAD_BYTES: usize = 64 << 20;
/// Of anything that follows a wake.
const SOON: Duration = Duration::from_secs(20);

/// One app and the house in front of it.
struct Bed {
    docker: Docker,
    app: App,
    house: House,
    rest: &'static str,
}

#[tokio::test]
async fn a_post_of_64_mib_arrives_whole() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        let file = upload_file();
        let data = format!("@{}", file.path().display());
        let plain = ["--data-binary", &*data, "-H", "Expect:"];
        let expecting = ["--data-binary", &*data, "-H", "Expect: 100-continue"];
        let patient = [&expecting[..], &["--expect100-timeout", "60"]].concat();
        let chunked =
            ["--data-binary", &*data, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"];
        for arguments in [&plain[..], &expecting, &patient, &chunked] {
            let answer = bed.woken_by_curl("/upload", arguments).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.json()["bytes"], UPLOAD_BYTES, "{rest} {arguments:?}");
            assert_eq!(answer.json()["fnv64"], *UPLOAD_DIGEST, "{rest} {arguments:?}");
            if arguments == patient {
                assert_eq!(answer.before, [100], "{rest}: a client that asks is told to go on");
            } else if arguments == plain || arguments == chunked {
                assert_eq!(answer.before, [0_u16; 0], "{rest}: nobody asked");
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_is_opened_and_echoes() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        bed.fall_asleep().await;
        let stream = tokio::net::TcpStream::connect(bed.house.http).await.unwrap();
        let url = format!("ws://{}/ws", bed.app.host());
        let opened = tokio_tungstenite::client_async(url, stream);
        let (mut socket, response) = timeout(SOON, opened).await.unwrap().unwrap();
        assert_eq!(response.status(), 101);
        for message in [Message::text("good morning"), Message::binary(vec![7; 200_000])] {
            socket.send(message.clone()).await.unwrap();
            let echo = timeout(SOON, socket.next()).await.unwrap();
            assert_eq!(echo.unwrap().unwrap(), message, "{rest}");
        }
        socket.close(None).await.unwrap();
        bed.assert_woken_once().await;
    }
}

#[tokio::test]
async fn a_unary_grpc_call_is_answered_with_its_outcome() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        bed.fall_asleep().await;
        let mut client = grpc::Client::of(bed.house.http, "grpc.test");
        let message = Bytes::from(vec![9; 100_000]);
        let call = client.unary("/test.Echo/Unary", message.clone());
        let answer = timeout(SOON, call).await.unwrap().unwrap();
        assert_eq!(answer.into_inner(), message, "{rest}");
        bed.assert_woken_once().await;

        bed.fall_asleep().await;
        let mut client = grpc::Client::of(bed.house.http, "grpc.test");
        let refused = client.unary("/test.Nothing/Here", Bytes::new());
        let status = timeout(SOON, refused).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{rest}: {status}");
        bed.assert_woken_once().await;
    }
}

#[tokio::test]
async fn a_grpc_stream_flows_both_ways_and_ends_with_trailers() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        bed.fall_asleep().await;
        let mut client = grpc::Client::of(bed.house.http, "grpc.test");
        let (sender, receiver) = mpsc::channel(1);
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        let call = client.streaming("/test.Echo/Stream", ReceiverStream::new(receiver));
        let mut answers = timeout(SOON, call).await.unwrap().unwrap();
        assert_eq!(timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap(), "one");
        sender.send(Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap(), "two");
        drop(sender);
        assert_eq!(timeout(SOON, answers.message()).await.unwrap().unwrap(), None, "{rest}");
        let trailers = answers.trailers().await.unwrap();
        assert!(trailers.is_some(), "{rest}: the outcome came in trailers");
        bed.assert_woken_once().await;
    }
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        let arguments = ["-H", "Accept: text/event-stream", "-H", "Sec-Fetch-Mode: cors"];
        let whole = bed.woken_by_curl("/sse?n=3&every_ms=1", &arguments).await;
        assert_eq!(whole.header("content-type"), "text/event-stream");
        assert_eq!(whole.text(), "012".chars().map(tick).collect::<String>(), "{rest}");

        bed.fall_asleep().await;
        let mut events = harness::client::Stream::open(
            bed.house.http,
            get(&bed.app.host(), "/sse?n=0&every_ms=150"),
        )
        .await;
        for number in "012".chars() {
            let event = timeout(SOON, events.next()).await.unwrap().unwrap();
            assert_eq!(event, tick(number), "{rest}: each event comes when it is sent");
        }
        drop(events);
        bed.assert_woken_once().await;
    }
}

#[tokio::test]
async fn a_client_that_is_no_navigation_gets_the_answer_itself() {
    let xhr = ["-H", "Accept: */*", "-H", "Sec-Fetch-Mode: cors", "-H", "Origin: http://a.test"];
    let kinds: [(&str, &[&str]); 6] = [
        ("XHR", &xhr),
        ("no Accept", &["-H", "Accept:"]),
        ("JSON", &["-H", "Accept: application/json"]),
        ("image", &["-H", "Accept: image/*", "-H", "Sec-Fetch-Mode: no-cors"]),
        ("form", &["--data", "a=b", "-H", "Sec-Fetch-Mode: navigate", "-H", "Accept: text/html"]),
        ("HTTP/2", &["--http2-prior-knowledge"]),
    ];
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        for (kind, arguments) in kinds {
            let answer = bed.woken_by_curl("/", arguments).await;
            assert_eq!(answer.status, 200, "{rest} {kind}");
            assert!(answer.text().contains("hello web"), "{rest} {kind}: {}", answer.text());
            let direct = fetch(bed.upstream().await, get(&bed.app.host(), "/")).await;
            assert_eq!(own(&answer.headers), own(&direct.headers), "{rest} {kind}");
        }
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        let answer = bed.woken_by_curl("/download?bytes=12345", &["--head"]).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{rest}");
        assert_eq!(answer.header("content-length"), "12345", "{rest}");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{rest}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_that_ends_with_the_connection() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        let path = "/download?bytes=300000&chunked=1";
        let answer = bed.woken_by_curl(path, &["--http1.0"]).await;
        assert_eq!(answer.status, 200, "{rest}");
        assert_eq!(answer.header("transfer-encoding"), "", "{rest}: 1.0 knows no chunks");
        let expected: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        assert!(answer.body == expected, "{rest}: {} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn statuses_and_headers_are_the_apps_own() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        for status in [204, 302, 404, 500] {
            let path = format!("/status/{status}");
            let answer = bed.woken_by_curl(&path, &[]).await;
            let direct = fetch(bed.upstream().await, get(&bed.app.host(), &path)).await;
            assert_eq!((answer.status, direct.status), (status, status), "{rest}");
            assert_eq!(answer.body, direct.body, "{rest} {status}");
            assert_eq!(own(&answer.headers), own(&direct.headers), "{rest} {status}");
        }
    }
}

#[tokio::test]
async fn the_app_sees_the_request_as_it_was_sent() {
    for rest in RESTS {
        let Some(bed) = Bed::made(rest).await else { return };
        let arguments = ["-X", "PATCH", "-H", "X-One: 1", "-H", "X-One: 2", "-H", "Accept: x/y"];
        let seen = bed.woken_by_curl("/headers?a=b%20c&d", &arguments).await.json();
        assert_eq!(seen["method"], "PATCH", "{rest}");
        assert_eq!(seen["uri"], "/headers?a=b%20c&d", "{rest}");
        let values = |name: &str| -> Vec<String> {
            let pairs = seen["headers"].as_array().unwrap().iter();
            let named = pairs.filter(|pair| pair[0] == name);
            named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(values("host"), [bed.app.host()], "{rest}");
        assert_eq!(values("x-one"), ["1", "2"], "{rest}");
        assert_eq!(values("accept"), ["x/y"], "{rest}");
        assert_eq!(values("x-forwarded-for"), ["127.0.0.1"], "{rest}");
        assert_eq!(values("x-forwarded-proto"), ["http"], "{rest}");
    }
}

impl Bed {
    /// An app that rests as `rest` says; nothing where the machine has no engine.
    async fn made(rest: &'static str) -> Option<Self> {
        let docker = Docker::of_machine().await?;
        // A stopped one takes a while to listen: whoever comes first has to wait.
        let app = docker.app("web", &["START_DELAY_MS=150"]).await;
        let routes = r#"routes = [{ host = "grpc.test", port = 8080, scheme = "h2c" }]"#;
        let workload = app.workload(&format!("rest = \"{rest}\"\n{routes}"));
        let house = House::start(&(docker.environment() + &workload)).await;
        house.admin.until("web", Phase::Asleep).await;
        if rest == "pause" {
            // Only what was once started can be paused.
            fetch(house.http, get(&app.host(), "/health")).await;
        }
        Some(Self { docker, app, house, rest })
    }

    async fn fall_asleep(&self) {
        self.house.admin.sleep_by_force("web").await;
        self.house.admin.until("web", Phase::Asleep).await;
        let state = self.docker.state(&self.app).await;
        let resting = if self.rest == "pause" { &["paused"][..] } else { &["exited", "created"] };
        assert!(resting.contains(&&*state), "{} left it {state}", self.rest);
        self.docker.forget_calls();
    }

    /// Puts the app to sleep, and wakes it with one request of curl's.
    async fn woken_by_curl(&self, path: &str, arguments: &[&str]) -> Answer {
        self.fall_asleep().await;
        let url = format!("http://{}{path}", self.app.host());
        let through = format!("::{}", self.house.http);
        let answer = curl(&[arguments, &["--connect-to", &through, &url]].concat()).await;
        assert_eq!(answer.header("x-dormouse-wake"), "cold", "{} {arguments:?}", self.rest);
        assert!(answer.header("server-timing").starts_with("wake;dur="), "{:?}", answer.headers);
        self.assert_woken_once().await;
        answer
    }

    async fn assert_woken_once(&self) {
        let op = if self.rest == "pause" { "unpause" } else { "start" };
        let calls = ["start", "unpause", "restart"].map(|op| self.docker.calls_of(&self.app, op));
        assert_eq!(calls.iter().sum::<usize>(), 1, "{calls:?}");
        assert_eq!(self.docker.calls_of(&self.app, op), 1, "one {op}");
    }

    /// Where the app itself listens.
    async fn upstream(&self) -> SocketAddr {
        let inspect = self.docker.engine.inspect(&self.app.id).await.unwrap();
        let address = inspect["NetworkSettings"]["IPAddress"].as_str().unwrap();
        SocketAddr::new(address.parse().unwrap(), 8080)
    }
}

/// What an app says with its headers: without the moment, and without what dormouse adds.
fn own(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in ["date", "x-dormouse-wake", "server-timing"] {
        headers.remove(name);
    }
    headers
}

fn tick(number: char) -> String {
    format!("id: {number}\nevent: tick\ndata: {{\"n\":{number}}}\n\n")
}

fn upload_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&UPLOAD).unwrap();
    file
}

static UPLOAD: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..UPLOAD_BYTES).map(|at| (at * 31 % 253) as u8).collect());

/// FNV-1a, as the app computes it.
static UPLOAD_DIGEST: LazyLock<String> = LazyLock::new(|| {
    let digest = UPLOAD.iter().fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{digest:016x}")
});
