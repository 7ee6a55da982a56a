//! Who misbehaves until nobody holds the standard input open any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dormouse_testkit::abuse::{Flood, LazyReader, Manner, Pace};
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

const BYTE_EVERY: Duration = Duration::from_secs(5);
/// Before a client whose connection was ended comes back.
const BACK_AFTER: Duration = Duration::from_secs(1);
/// Connections that are opened at a time.
const OPENING_MAX: usize = 64;
const FLOODERS: usize = 4;
/// The manners that hold on without reading: a silent one is soon ended.
const MANNERS: [Manner; 3] = [Manner::Head, Manner::Body, Manner::Reader];

pub(crate) async fn slow(at: SocketAddr, host: &str, count: u32) {
    let (opening, there) = (Arc::new(Semaphore::new(OPENING_MAX)), Arc::new(Semaphore::new(0)));
    let mut clients = JoinSet::new();
    for n in 0..count {
        let manner = MANNERS[n as usize % MANNERS.len()];
        // Spread over the whole pace, so that they do not all come at once.
        let pace = Pace { delay: BYTE_EVERY * n / count, every: BYTE_EVERY };
        let (opening, there, host) = (Arc::clone(&opening), Arc::clone(&there), host.to_owned());
        clients.spawn(async move {
            let mut first = true;
            loop {
                let turn = opening.acquire().await;
                let begun = manner.begin(at, &host).await;
                drop(turn);
                if std::mem::take(&mut first) {
                    there.add_permits(1);
                }
                if let Ok(stream) = begun {
                    manner.go_on(stream, pace).await;
                }
                sleep(BACK_AFTER).await;
            }
        });
    }
    // The semaphore is never closed.
    let _ = there.acquire_many(count).await;
    until_told(clients).await;
}

/// Nothing where there is no such flood.
pub(crate) async fn flood(at: SocketAddr, kind: &str) -> Option<()> {
    let flood = Flood::ALL.into_iter().find(|flood| format!("{flood:?}") == kind)?;
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        flooders.spawn(async move {
            loop {
                // Whether it was ended in time is what a test judges.
                let _ = flood.send(at).await;
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    until_told(flooders).await;
    Some(())
}

pub(crate) async fn lazy(at: SocketAddr, host: &str, path: &str, count: u32) {
    let mut readers = Vec::new();
    for _ in 0..count {
        match LazyReader::open(at, host, path).await {
            Ok(reader) if reader.status == 200 => readers.push(reader),
            Ok(reader) => println!("a reader was answered {}", reader.status),
            Err(error) => println!("a reader was not answered: {error}"),
        }
    }
    until_told(JoinSet::new()).await;
}

/// Says that all are there, and ends them with the standard input.
async fn until_told(mut clients: JoinSet<()>) {
    println!("ready");
    let mut rest = Vec::new();
    // However it ends, it has ended.
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    clients.abort_all();
}
