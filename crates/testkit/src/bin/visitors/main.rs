//! Visitors as a process of their own, for benches: some ask at a fixed rate and say how long it
//! took, others misbehave for as long as their standard input is open.
//!
//! | order | meaning |
//! |---|---|
//! | `steady AT HOST RATE CONNECTIONS SECONDS` | requests over kept connections, each at its moment |
//! | `crowd AT HOST RATE SECONDS` | the same, each over a connection of its own |
//! | `pins AT NAME COUNT` | a workload is pinned and unpinned so often |
//! | `slow AT HOST COUNT` | slow clients of every manner; one that is ended comes back |
//! | `flood AT KIND` | HTTP/2 floods, one after the other over a few connections |
//! | `lazy AT HOST PATH COUNT` | readers of events that never read |
//!
//! The first three end by themselves and print one line of JSON. The others print `ready` once all
//! are there.

mod asking;
mod misbehaving;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if obey(&words).await.is_some() {
        return ExitCode::SUCCESS;
    }
    println!("usage: visitors steady|crowd|pins|slow|flood|lazy AT …; see its source");
    ExitCode::FAILURE
}

/// Nothing where the words are not an order.
async fn obey(words: &[&str]) -> Option<()> {
    let (order, rest) = words.split_first()?;
    let (at, rest) = rest.split_first()?;
    let at: SocketAddr = at.parse().ok()?;
    match (*order, rest) {
        ("steady", [host, rate, connections, seconds]) => {
            let plan = asking::Plan::new(rate, seconds)?;
            println!("{}", asking::steady(at, host, plan, connections.parse().ok()?).await);
        }
        ("crowd", [host, rate, seconds]) => {
            println!("{}", asking::crowd(at, host, asking::Plan::new(rate, seconds)?).await);
        }
        ("pins", [name, count]) => {
            println!("{}", asking::pins(at, name, count.parse().ok()?).await);
        }
        ("slow", [host, count]) => misbehaving::slow(at, host, count.parse().ok()?).await,
        ("flood", [kind]) => misbehaving::flood(at, kind).await?,
        ("lazy", [host, path, count]) => {
            misbehaving::lazy(at, host, path, count.parse().ok()?).await;
        }
        _ => return None,
    }
    Some(())
}

/// A whole number of seconds.
fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs)
}
