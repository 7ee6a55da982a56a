//! What it takes to tell an event and a line of a story to a thousand readers: to nobody, to a
//! thousand that never read, and to a thousand that read everything, in turns. One JSON line for
//! each, in microseconds. `--rounds N` says how many turns.
//!
//! Telling is a part of the keeper's loop, which no reader may hold up. It is measured here and not
//! by the answers of the admin side: those wait for the disk and the network, too.

#![expect(clippy::unwrap_used, reason = "a bench ends where something is not as it should be")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::WorkloadId;
use dormouse_core::progress::{Step, StepKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

// Only the keeper's loop may write to them, so they are built in here.
#[expect(dead_code, unreachable_pub, reason = "a bench uses a part of it, and nobody uses a bench")]
#[path = "../src/journal.rs"]
mod journal;
#[expect(dead_code, unreachable_pub, reason = "a bench uses a part of it, and nobody uses a bench")]
#[path = "../src/story.rs"]
mod story;

use journal::{Journal, JournalKind};
use story::StoryBook;

const READERS: usize = 1_000;
const TOLD: usize = 4_000;
const ROUNDS: usize = 5;
/// Between two events: readers come to their turn meanwhile.
const EVERY: Duration = Duration::from_micros(500);
/// What waits at a client that does not read.
const UNREAD_BYTES: u32 = 4 << 10;

/// What the readers do.
#[derive(Clone, Copy)]
enum Readers {
    None,
    NeverRead,
    Read,
}

fn main() {
    let kinds = [Readers::None, Readers::NeverRead, Readers::Read];
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let rounds = rounds();
    let mut figures = kinds.map(|_| Vec::new());
    for _ in 0..rounds {
        for (kind, figures) in kinds.into_iter().zip(&mut figures) {
            figures.push(runtime.block_on(async { tokio::spawn(tell(kind)).await.unwrap() }));
        }
    }
    for (kind, figures) in kinds.into_iter().zip(&mut figures) {
        figures.sort_by(|one, other| one.1.total_cmp(&other.1));
        let (_, low, _) = figures[0];
        let (p50, p99, max) = figures[rounds / 2];
        let high = figures[rounds - 1].1;
        println!(
            r#"{{"readers":"{}","p50_us":{p50:.1},"p99_us":{p99:.1},"low":{low:.1},"high":{high:.1},"max_us":{max:.1}}}"#,
            kind.name()
        );
    }
}

fn rounds() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--rounds");
    at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(ROUNDS).max(1)
}

/// The median, the 99th percentile and the maximum of one round.
async fn tell(kind: Readers) -> (f64, f64, f64) {
    let (journal, story) = (Arc::new(Journal::default()), Arc::new(StoryBook::default()));
    let mut readers = JoinSet::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for _ in 0..kind.count() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(UNREAD_BYTES).unwrap();
        let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        readers.spawn(follow(server, Arc::clone(&journal), Arc::clone(&story)));
        readers.spawn(kind.behave(client));
    }
    let id = WorkloadId::parse("local/web").unwrap();
    let mut took = Vec::with_capacity(TOLD);
    for n in 0..TOLD {
        let step = step();
        let begun = Instant::now();
        journal.write(n as u64, Some(id.clone()), JournalKind::Pinned);
        story.tell(step, n as u64);
        took.push(begun.elapsed().as_secs_f64() * 1e6);
        tokio::time::sleep(EVERY).await;
    }
    took.sort_by(f64::total_cmp);
    (took[TOLD / 2], took[TOLD * 99 / 100], took[TOLD - 1])
}

fn step() -> Step {
    let message = "it is being probed".to_owned();
    Step { kind: StepKind::WaitingReady, message, dependency: None }
}

/// A stream of events as the admin side has one: what is told is written, and whoever has fallen
/// behind begins anew, so that a thousand remain.
async fn follow(mut stream: TcpStream, journal: Arc<Journal>, story: Arc<StoryBook>) {
    let (mut entries, mut lines) = (journal.listen(0).1, story.listen(None).1);
    loop {
        let text = tokio::select! {
            entry = entries.recv() => entry.map(|entry| format!("data: {entry:?}\n\n")),
            line = lines.recv() => line.map(|line| format!("data: {line:?}\n\n")),
        };
        match text {
            Ok(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => {
                (entries, lines) = (journal.listen(0).1, story.listen(None).1);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

impl Readers {
    fn name(self) -> &'static str {
        match self {
            Self::None => "nobody",
            Self::NeverRead => "never read",
            Self::Read => "read",
        }
    }

    fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::NeverRead | Self::Read => READERS,
        }
    }

    async fn behave(self, mut client: TcpStream) {
        let mut bytes = [0; 4096];
        if matches!(self, Self::Read) {
            while client.read(&mut bytes).await.is_ok_and(|amount| amount > 0) {}
        }
        std::future::pending::<()>().await;
    }
}
