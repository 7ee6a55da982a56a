//! R23: input that is huge or odd: heads, targets, headers, chunks and HTTP/2 frames of every wrong
//! size and content. Each is answered with a 4xx or ended, and memory stays flat.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::client::{exchange, get};
use crate::harness::dice::Dice;
use crate::harness::house::House;
use crate::harness::local::process;
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::vitals::Vitals;

const ROUNDS: usize = 6;
/// Strings of drawn bytes in each round.
const DRAWN: usize = 60;
const HUGE: usize = 1 << 20;
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// What an allocator may keep after the first round.
const GROWS_KIB_MAX: u64 = 24 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r23_huge_and_odd_input_is_refused_and_costs_nothing() {
    let mut report = Report::of("R23");
    let mut dice = report.dice();
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    exchange(house.http, get("web.test", "/")).await.unwrap();
    let mut after_first = None;
    for _ in 0..ROUNDS * scale(UNNAMED) {
        for (what, input) in inputs() {
            let answer = send(&house, &input).await;
            report.case(check(what, &answer));
        }
        for _ in 0..DRAWN {
            let input = noise(&mut dice);
            let answer = send(&house, &input).await;
            let refused = check("noise", &answer);
            report.case(refused.map_err(|why| format!("{why}; it was {input:?}")));
        }
        after_first.get_or_insert(Vitals::of(&house).await);
    }
    let grown = Vitals::of(&house).await.beyond(after_first.unwrap());
    report.case(grown.within(Vitals { memory_kib: GROWS_KIB_MAX, files: 16, tasks: 16 }));
    let served = exchange(house.http, get("web.test", "/")).await.unwrap();
    report.case(if served.status == 200 { Ok(()) } else { Err(format!("{served:?}")) });
    report.finish(format_args!("inputs; after the first round it grew by {grown}"));
}

/// What is sent, and its name.
fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let huge = "x".repeat(HUGE);
    let get = |line: &str, headers: &str| format!("{line}\r\nHost: web.test\r\n{headers}\r\n");
    let post = |headers: &str, body: &str| {
        format!("POST /upload HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n{body}")
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut inputs: Vec<(&str, Vec<u8>)> = [
        ("a target", get(&format!("GET /{huge} HTTP/1.1"), "")),
        ("a method", get(&format!("{huge} / HTTP/1.1"), "")),
        ("a version", get(&format!("GET / HTTP/{huge}"), "")),
        ("a header's value", get("GET / HTTP/1.1", &format!("X: {huge}\r\n"))),
        ("a header's name", get("GET / HTTP/1.1", &format!("{huge}: x\r\n"))),
        ("many headers", get("GET / HTTP/1.1", &"X: y\r\n".repeat(100_000))),
        ("a head of one line", huge.clone()),
        ("a host", format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(20_000))),
        ("a cookie", get("GET / HTTP/1.1", &format!("Cookie: {huge}\r\n"))),
        ("a length beyond all", post("Content-Length: 99999999999999999999999\r\n", "")),
        ("a chunk beyond all", post(chunked, "ffffffffffffffffff\r\nx")),
        ("a chunk's extension", post(chunked, &format!("1;{huge}\r\nx\r\n0\r\n\r\n"))),
        ("a trailer", post(chunked, &format!("1\r\nx\r\n0\r\nX: {huge}\r\n\r\n"))),
        ("many trailers", post(chunked, &format!("0\r\n{}\r\n", "X: y\r\n".repeat(100_000)))),
        ("a chunk's size of zeros", post(chunked, &format!("{}1\r\nx\r\n", "0".repeat(HUGE)))),
    ]
    .map(|(what, text)| (what, text.into_bytes()))
    .into();
    inputs.extend([
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        (
            "bytes that are no text",
            b"GET /\xff\xfe\xfd HTTP/1.1\r\nHost: web.test\r\n\r\n".to_vec(),
        ),
        ("a NUL", b"GET / HTTP/1.1\r\nHost: web.test\r\nX: \0\r\n\r\n".to_vec()),
        ("a header in UTF-16", b"G\0E\0T\0 \0/\0\r\n\r\n".to_vec()),
        ("half a preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
    ]);
    inputs.extend(http2_inputs());
    inputs
}

/// After the preface and the settings, frames that no client may send.
fn http2_inputs() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let frames: [(&str, &[u8]); 7] = [
        ("a frame of 16 MiB", &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]),
        ("a frame of an unknown stream", &[0, 0, 1, 0, 0, 0, 0, 0, 9, b'x']),
        ("a head that is no HPACK", &[0, 0, 4, 1, 5, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]),
        ("a window of nothing", &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("settings of half an entry", &[0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 1, 0]),
        ("a stream of the server", &[0, 0, 1, 1, 5, 0, 0, 0, 2, 0x82]),
        ("a dynamic table of 4 GiB", &[0, 0, 5, 1, 5, 0, 0, 0, 1, 0x3f, 0xe1, 0xff, 0xff, 0x7f]),
    ];
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    frames.into_iter().map(|(what, frame)| (what, [&begin[..], frame].concat()))
}

/// Up to a few hundred bytes that begin like a request now and then.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let starts: [&[u8]; 4] =
        [b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: web.test\r\n", b"PRI "];
    let mut bytes = dice.pick(&starts).to_vec();
    // With it, no chance makes a request that is right.
    bytes.push(1);
    for _ in 0..dice.below(300) {
        bytes.push(u8::try_from(dice.below(256)).unwrap());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// Sends it, says that nothing more comes, and reads everything that comes back.
async fn send(house: &House, input: &[u8]) -> Result<Vec<u8>, &'static str> {
    let exchange = async {
        let mut stream = TcpStream::connect(house.http).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let write = async {
            // It may be refused before all of it is sent.
            let _ = writer.write_all(input).await;
            let _ = writer.shutdown().await;
        };
        let read = async {
            let mut answer = Vec::new();
            // A reset after the answer is as good an end.
            let _ = reader.read_to_end(&mut answer).await;
            answer
        };
        tokio::join!(write, read).1
    };
    timeout(ENDED_WITHIN, exchange).await.map_err(|_| "it was neither answered nor ended")
}

/// A 4xx, an HTTP/2 frame, or the end.
fn check(what: &str, answer: &Result<Vec<u8>, &'static str>) -> Result<(), String> {
    let answer = answer.as_ref().map_err(|why| format!("{what}: {why}"))?;
    let text = String::from_utf8_lossy(answer);
    let refused = text.is_empty()
        || text.starts_with("HTTP/1.1 4")
        || text.starts_with("HTTP/1.0 4")
        || !text.starts_with("HTTP/");
    if refused { Ok(()) } else { Err(format!("{what}: {text:?}")) }
}
