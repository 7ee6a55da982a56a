//! R22: a corpus of requests that two parsers could read differently, through the real binary to a
//! server that counts by its own strict reading. It never counts more or other requests than the
//! client sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::corpus::CORPUS;
use crate::harness::house::{House, free_address};
use crate::harness::local::{take_over, understudy};
use crate::harness::report::Report;

/// A client that hears nothing for so long has heard everything.
const SILENCE: Duration = Duration::from_millis(400);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r22_the_workload_counts_the_requests_that_were_sent() {
    let mut report = Report::of("R22");
    let port = free_address().port();
    let house = House::start(&understudy("app", port, "")).await;
    let counted = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn(accept(take_over(&house, "app", port).await, Arc::clone(&counted)));
    for (input, expected) in CORPUS {
        counted.lock().unwrap().clear();
        let answers = exchange(&house, input).await;
        let seen = counted.lock().unwrap().clone();
        let whole = seen.iter().filter(|it| matches!(it, Seen::Whole(_))).count();
        let good = answers.matches("HTTP/1.1 200").count();
        let smuggled = seen.iter().any(|it| format!("{it:?}").contains("smuggled"));
        let right = whole == *expected && good == *expected && !smuggled;
        // A body that breaks off may have begun; nothing else may.
        let begun = seen.len() - whole;
        let right = right && (begun == 0 || *expected == 0 && begun == 1);
        let right = right && !seen.iter().any(|it| matches!(it, Seen::Wrong(_)));
        report.case(if right {
            Ok(())
        } else {
            Err(format!("{input:?}: counted {seen:?}, expected {expected}, answered {answers:?}"))
        });
    }
    server.abort();
    report.finish("inputs, each with the number of requests that the workload must count");
}

async fn exchange(house: &House, input: &str) -> String {
    let mut stream = TcpStream::connect(house.http).await.unwrap();
    stream.write_all(input.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    while let Ok(Ok(amount)) = timeout(SILENCE, stream.read_buf(&mut answers)).await {
        if amount == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&answers).into_owned()
}

/// What the server reads on one connection.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// A request, whole, with its first line.
    Whole(String),
    /// One that broke off.
    Begun(String),
    /// Something that no strict reader takes.
    Wrong(String),
}

async fn accept(listener: TcpListener, counted: Arc<Mutex<Vec<Seen>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(converse(stream, Arc::clone(&counted)));
    }
}

async fn converse(mut stream: TcpStream, counted: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    loop {
        match strict(&bytes) {
            Reading::More => {
                let read = stream.read_buf(&mut bytes).await;
                if read.map_or(0, |amount| amount) == 0 {
                    if !bytes.is_empty() {
                        counted.lock().unwrap().push(Seen::Begun(first_line(&bytes)));
                    }
                    return;
                }
            }
            Reading::Whole(length) => {
                counted.lock().unwrap().push(Seen::Whole(first_line(&bytes)));
                bytes.drain(..length);
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
            Reading::Wrong(why) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                counted.lock().unwrap().push(Seen::Wrong(format!("{why}: {text:?}")));
                return;
            }
        }
    }
}

/// What a strict reader makes of the bytes so far.
enum Reading {
    More,
    /// A request of this many bytes.
    Whole(usize),
    Wrong(&'static str),
}

/// Reads RFC 9112 to the letter: every line ends in CR LF, one Host, exactly one way to say how
/// long the body is.
fn strict(bytes: &[u8]) -> Reading {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Reading::More };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Reading::Wrong("not ASCII") };
    if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Reading::Wrong("a bare CR, LF or NUL");
    }
    let mut lines = head.split("\r\n");
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    if request.len() != 3 || request[2] != "HTTP/1.1" {
        return Reading::Wrong("its first line");
    }
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Reading::Wrong("a header without a colon");
        };
        if name.is_empty() || name.contains([' ', '\t']) {
            return Reading::Wrong("a header's name");
        }
        match name.to_lowercase().as_str() {
            "host" => hosts += 1,
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_owned()),
            _ => {}
        }
    }
    match (hosts, &lengths[..], &codings[..]) {
        (1, [], []) => Reading::Whole(end + 4),
        (1, [length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let whole = length.parse::<usize>().map(|length| end + 4 + length);
            match whole {
                Ok(whole) if bytes.len() >= whole => Reading::Whole(whole),
                Ok(_) => Reading::More,
                Err(_) => Reading::Wrong("its length"),
            }
        }
        (1, [], [coding]) if coding == "chunked" => chunked(bytes, end + 4),
        _ => Reading::Wrong("its framing or its host"),
    }
}

/// Reads the chunks that begin at `at`; no extensions and no trailers are expected.
fn chunked(bytes: &[u8], mut at: usize) -> Reading {
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Reading::More };
        let Ok(size) = std::str::from_utf8(&bytes[at..at + line]) else {
            return Reading::Wrong("a chunk's size");
        };
        let is_hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = usize::from_str_radix(size, 16).ok().filter(|_| is_hex) else {
            return Reading::Wrong("a chunk's size");
        };
        let end = at + line + 2 + size;
        let Some(close) = bytes.get(end..end + 2) else { return Reading::More };
        if close != b"\r\n" {
            return Reading::Wrong("the end of a chunk");
        }
        at = end + 2;
        if size == 0 {
            return Reading::Whole(at);
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}
