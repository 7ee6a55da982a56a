//! R21: thousands of clients that send their heads and bodies a byte at a time or do not read their
//! answers, and HTTP/2 clients that reset, ping, set and continue without end. Those who behave do
//! not feel it, and dormouse's memory stays bounded.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::house::House;
use crate::harness::load::{Load, Outcome};
use crate::harness::local::process;
use crate::harness::quiet;
use crate::harness::report::{Report, scale};
use crate::harness::vitals::Vitals;

const SLOW_CLIENTS: usize = 1_500;
/// Beyond it this process and dormouse together run out of open files.
const SLOW_CLIENTS_MAX: usize = 8_000;
const SLOW_BYTE_EVERY: Duration = Duration::from_secs(2);
/// Of a slow client, as a debug build has them, its answer's buffers included.
const SLOW_CLIENT_KIB_MAX: u64 = 160;
const GOOD_CLIENTS: usize = 4;
const GOOD_REQUESTS: usize = 2_000;
/// How often the good are measured beside the slow.
const ROUNDS: usize = 3;
const GOOD_EVERY: Duration = Duration::from_millis(1);
/// How much longer the good may wait. The mark is 2; a busy machine is not a place to hold it.
const SLOWER_MAX: f64 = 5.0;
/// Frames of one flood, if nobody ends it.
const FLOOD_FRAMES: usize = 20_000;
const FLOODERS: usize = 4;
const FLOOD_KIB_MAX: u64 = 64 << 10;
/// How long dormouse may take to end a connection that abuses it.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_slow_clients_slow_down_nobody_else() {
    let _quiet = quiet().await;
    let mut report = Report::of("R21");
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    good(&house).await;
    let alone = good(&house).await;
    let before = Vitals::of(&house).await;
    let count = (SLOW_CLIENTS * scale()).min(SLOW_CLIENTS_MAX);
    let mut dice = report.dice();
    let (mut slow, mut owing) = (JoinSet::new(), JoinSet::new());
    for n in 0..count {
        let manner = Manner::ALL[n % Manner::ALL.len()];
        let crowd = if manner.owes_a_head() { &mut owing } else { &mut slow };
        crowd.spawn(manner.behave(house.http, dice.period(SLOW_BYTE_EVERY)));
    }
    // As soon as they are all there.
    let open = async || {
        let open = Vitals::of(&house).await.files;
        open >= before.files + count as u64
    };
    crate::harness::eventually(Duration::from_secs(60), "all are connected", open).await;
    // Whoever slows the good down does so each time; a busy machine does not.
    let mut beside = good(&house).await;
    for _ in 1..ROUNDS {
        report.cases(outcomes(&beside));
        let again = good(&house).await;
        beside = if again.percentile(99) < beside.percentile(99) { again } else { beside };
    }
    let crowd = Vitals::of(&house).await.beyond(before);
    report.cases(outcomes(&beside));
    let slower = compare(&alone, &beside);
    report.case(if slower <= SLOWER_MAX { Ok(()) } else { Err(format!("{slower:.2} times")) });
    let bound_kib = SLOW_CLIENT_KIB_MAX * count as u64;
    report.case(crowd.within(Vitals { memory_kib: bound_kib, files: u64::MAX, tasks: u64::MAX }));
    let owed = owing.len();
    let ended = async { while owing.join_next().await.is_some() {} };
    let ended = timeout(ENDED_WITHIN * 2, ended).await;
    let left = owing.len();
    report.case(ended.map_err(|_| format!("{left} of {owed} that owe a head were not ended")));
    slow.shutdown().await;
    report.finish(format_args!(
        "requests beside {count} slow clients; p99 {:.1?}, alone {:.1?}, {slower:.2} times; {crowd}, \
         {:.1} KiB each",
        beside.percentile(99),
        alone.percentile(99),
        crowd.memory_kib as f64 / count as f64,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_abuse_of_http2_is_ended() {
    let _quiet = quiet().await;
    let mut report = Report::of("R21");
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    good(&house).await;
    let alone = good(&house).await;
    let before = Vitals::of(&house).await;
    let mut told = Vec::new();
    for flood in Flood::ALL {
        let mut flooders = JoinSet::new();
        for _ in 0..FLOODERS {
            flooders.spawn(flood.send(house.http));
        }
        let beside = good(&house).await;
        let ended = flooders.join_all().await;
        let slower = compare(&alone, &beside);
        report.cases(outcomes(&beside));
        report.case(if slower <= SLOWER_MAX {
            Ok(())
        } else {
            Err(format!("{flood:?}: {slower:.2} times slower"))
        });
        report.cases(ended.iter().map(|it| it.clone().map(drop)));
        let frames = ended.iter().flatten().max().copied().unwrap_or(0);
        told.push(format!("{flood:?} ended by {frames} frames, the good {slower:.2} times slower"));
    }
    let stays = Vitals::of(&house).await.beyond(before);
    report.case(stays.within(Vitals { memory_kib: FLOOD_KIB_MAX, files: 64, tasks: 64 }));
    good(&house).await;
    report.finish(format_args!("requests and floods; {}; {stays} stay", told.join("; ")));
}

async fn good(house: &House) -> Outcome {
    Load::on(house.http, "web.test", GOOD_CLIENTS).every(GOOD_EVERY).send(GOOD_REQUESTS).await
}

fn outcomes(outcome: &Outcome) -> impl Iterator<Item = Result<(), String>> + use<> {
    let (sent, failed, statuses) = (outcome.sent(), outcome.failed(), outcome.statuses.clone());
    (0..sent).map(move |n| if n < failed { Err(format!("{statuses:?}")) } else { Ok(()) })
}

fn compare(alone: &Outcome, beside: &Outcome) -> f64 {
    beside.percentile(99).as_secs_f64() / alone.percentile(99).as_secs_f64()
}

/// How a slow client is slow.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Head,
    Body,
    Reader,
    Silent,
}

impl Manner {
    const ALL: [Self; 4] = [Self::Head, Self::Body, Self::Reader, Self::Silent];

    /// Whether it has not even said what it wants.
    fn owes_a_head(self) -> bool {
        matches!(self, Self::Head | Self::Silent)
    }

    /// Until its connection is ended, where it owes a head, and for ever otherwise.
    async fn behave(self, at: SocketAddr, delay: Duration) {
        let socket = TcpSocket::new_v4().unwrap();
        if matches!(self, Self::Reader) {
            socket.set_recv_buffer_size(4 << 10).unwrap();
        }
        let Ok(mut stream) = socket.connect(at).await else { return };
        let start = match self {
            Self::Head => "GET /instance HTTP/1.1\r\nHost: web.test\r\nX: ",
            Self::Body => {
                "POST /upload HTTP/1.1\r\nHost: web.test\r\nContent-Length: 100000\r\n\r\n"
            }
            Self::Reader => "GET /download?bytes=400000 HTTP/1.1\r\nHost: web.test\r\n\r\n",
            Self::Silent => "",
        };
        if stream.write_all(start.as_bytes()).await.is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
        while matches!(self, Self::Head | Self::Body) && stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SLOW_BYTE_EVERY).await;
        }
        match self {
            Self::Head => {}
            // Nobody answers who was asked nothing, so that only its end is to be read.
            Self::Silent => drop(stream.read(&mut [0]).await),
            Self::Body | Self::Reader => std::future::pending().await,
        }
    }
}

/// How an HTTP/2 client abuses the protocol.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// Requests that are reset at once.
    RapidReset,
    /// A head that never ends.
    Continuation,
    Settings,
    Ping,
    /// Frames without content on a stream that is open.
    EmptyData,
}

impl Flood {
    const ALL: [Self; 5] =
        [Self::RapidReset, Self::Continuation, Self::Settings, Self::Ping, Self::EmptyData];

    /// How many frames were sent until the connection was ended or the flood was over; those that
    /// cannot be allowed to go on must have been ended.
    async fn send(self, at: SocketAddr) -> Result<usize, String> {
        let mut stream = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
        let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begin.extend(frame(4, 0, 0, &[]));
        stream.write_all(&begin).await.map_err(|error| error.to_string())?;
        let (mut reader, mut writer) = stream.split();
        let sent = AtomicUsize::new(0);
        let flood = async {
            for n in 0..FLOOD_FRAMES {
                if writer.write_all(&self.frames(n)).await.is_err() {
                    return;
                }
                sent.store(n + 1, Ordering::Relaxed);
            }
            // Whoever says nothing more is left alone or ended; neither hurts.
            let _ = writer.shutdown().await;
        };
        let drain = async {
            let mut answers = [0; 16 << 10];
            while reader.read(&mut answers).await.is_ok_and(|amount| amount > 0) {}
        };
        let over = timeout(ENDED_WITHIN, async { tokio::join!(flood, drain) }).await;
        let bounded = matches!(self, Self::Continuation | Self::RapidReset);
        match over {
            Err(_) => {
                Err(format!("{self:?}: still open after {} frames", sent.load(Ordering::Relaxed)))
            }
            Ok(_) if bounded && sent.load(Ordering::Relaxed) == FLOOD_FRAMES => {
                Err(format!("{self:?}: {FLOOD_FRAMES} frames were taken"))
            }
            Ok(_) => Ok(sent.load(Ordering::Relaxed)),
        }
    }

    fn frames(self, n: usize) -> Vec<u8> {
        let stream = u32::try_from(2 * n + 1).unwrap();
        match self {
            Self::RapidReset => {
                let mut both = frame(1, 0x5, stream, HEAD);
                both.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
                both
            }
            Self::Continuation if n == 0 => frame(1, 0x1, 1, HEAD),
            Self::Continuation => frame(9, 0, 1, &[0x00, 0x01, b'x', 0x01, b'y'].repeat(200)),
            Self::Settings => frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
            Self::Ping => frame(6, 0, 0, &[7; 8]),
            Self::EmptyData if n == 0 => frame(1, 0x4, 1, POST_HEAD),
            Self::EmptyData => frame(0, 0, 1, &[]),
        }
    }
}

/// GET, http, `/`, authority `web.test`; from the static table and as literals (RFC 7541).
const HEAD: &[u8] = b"\x82\x86\x84\x41\x08web.test";
/// POST, http, `/`, authority `web.test`.
const POST_HEAD: &[u8] = b"\x83\x86\x84\x41\x08web.test";

/// A frame as RFC 9113 has it: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
