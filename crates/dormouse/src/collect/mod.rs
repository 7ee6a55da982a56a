//! `dormouse collect`: the collection worker of a dashboard, JSON lines in and out.
//!
//! ```text
//! stdin ─▶ input ─▶ the loop here ─▶ environments ─▶ one task each ─┐
//!                                                                   ▼
//! stdout ◀──────────── writer's thread ◀── outbox (queue) ◀─────────┘
//! ```
//! One thread does the work; one each waits for standard input, standard output and the log,
//! because whoever is at the other end may never read or write. The end of the process waits for
//! none of them for long.

mod connect;
mod cycle;
mod disk;
mod environment;
mod environments;
pub(crate) mod input;
mod log;
mod outbox;
mod pace;
mod queue;
mod settings;
mod standing;
mod stdio;

pub use self::log::LogDoor;

use std::io;
use std::time::Duration;

use dormouse_core::limits;
use dormouse_wire::{CollectCommand, CollectReport};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::environments::Environments;
use self::input::Input;
use self::outbox::Outbox;
use crate::quiet;

/// What turns disk checks off, when it is not empty.
const SKIP_DISKS: &str = "SKIP_DF_COLLECTION";
/// How much of an unknown type the log repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// Threads that look up names and read counters; a name that nobody looks up holds one.
const BLOCKING_THREADS_MAX: usize = 64;

/// Why the worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InputEnded,
    NobodyReads,
    Shutdown,
    Sigterm,
    Sigint,
}

/// Collects until standard input ends, the parent says so, or a signal comes.
///
/// # Errors
/// When the system gives no threads, no signals or no runtime.
pub fn run() -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    let outbox = Outbox::open(stdio::output())?;
    let ended = runtime.block_on(serve(&outbox));
    outbox.finish(limits::COLLECT_END_MAX);
    // A name that nobody looks up must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn serve(outbox: &Outbox) -> io::Result<()> {
    outbox.push(CollectReport::Ready);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut inputs = input::open(stdio::input())?;
    let collects_disks = std::env::var_os(SKIP_DISKS).is_none_or(|value| value.is_empty());
    let mut environments =
        Environments::new(Box::new(connect::meter), outbox.clone(), collects_disks);
    // What it took to begin is given back once, when everybody has done with it.
    let mut quiet_at = Some(Instant::now() + quiet::AFTER);
    let end = loop {
        let input = tokio::select! {
            Some(input) = inputs.recv() => input,
            () = quiet::until(quiet_at) => {
                quiet::give_back().await;
                quiet_at = None;
                continue;
            }
            Some(()) = terminate.recv() => break End::Sigterm,
            Some(()) = interrupt.recv() => break End::Sigint,
            () = outbox.closed() => break End::NobodyReads,
            else => break End::InputEnded,
        };
        if let Some(end) = take(input, &mut environments, outbox).await {
            break end;
        }
        quiet_at = Some(Instant::now() + quiet::AFTER);
    };
    tracing::info!(reason = ?end, "Ending");
    environments.end().await;
    Ok(())
}

async fn take(input: Input, environments: &mut Environments, outbox: &Outbox) -> Option<End> {
    match input {
        Input::Command(command) => return obey(command, environments, outbox).await,
        Input::Bad(why) => tracing::warn!(%why, "Passed over a line that is no command"),
        Input::TooLong(bytes) => {
            let bytes_max = limits::COLLECT_LINE_BYTES_MAX;
            tracing::warn!(bytes, bytes_max, "Passed over a line that is too long");
        }
        Input::Ended => return Some(End::InputEnded),
        Input::Broken(error) => {
            tracing::warn!(%error, "Lost standard input");
            return Some(End::InputEnded);
        }
    }
    None
}

async fn obey(
    command: CollectCommand,
    environments: &mut Environments,
    outbox: &Outbox,
) -> Option<End> {
    match command {
        CollectCommand::Configure(configure) => environments.configure(configure).await,
        CollectCommand::Remove(env) => environments.remove(env).await,
        CollectCommand::SetMetricsInterval(ms) => {
            environments.set_metrics_interval(millis(ms).unwrap_or_default());
        }
        CollectCommand::SetEventMode { mode, poll_interval_ms } => {
            environments.set_event_mode(mode, poll_interval_ms.and_then(millis));
        }
        CollectCommand::Hello(names) => {
            outbox.push(CollectReport::Hello(environments.accept(&names)));
        }
        CollectCommand::Shutdown => return Some(End::Shutdown),
        CollectCommand::Unknown(kind) => {
            let kind: String = kind.chars().take(SHOWN_CHARS_MAX).collect();
            tracing::warn!(r#type = ?kind, "Passed over a message of an unknown type");
        }
    }
    None
}

/// A time that the parent named, if it is one, and a day at most.
fn millis(ms: i64) -> Option<Duration> {
    let ms = u64::try_from(ms).ok().filter(|ms| *ms > 0)?;
    Some(Duration::from_millis(ms).min(limits::COLLECT_INTERVAL_MAX))
}

#[cfg(test)]
mod tests;
