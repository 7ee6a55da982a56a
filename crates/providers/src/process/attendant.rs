//! Who attends to one run: reads what it writes, sees it launched, ends it when its grace is over.

use std::future::pending;
use std::sync::Arc;

use dormouse_core::RunId;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::output::Source;
use super::run::{Phase, SharedTail, take_in};
use super::table::Table;
use crate::provider::Target;

/// What attending to one run takes.
pub(super) struct Attendant {
    pub(super) run: RunId,
    pub(super) target: Target,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) word: Arc<UnixStream>,
    pub(super) output: Arc<pipe::Receiver>,
    pub(super) tail: SharedTail,
}

/// Attends to a run until it is over.
pub(super) async fn attend(table: Arc<Table>, mut attendant: Attendant) {
    let Attendant { run, target, phases, word, output, tail } = &mut attendant;
    let mut source = Source::Open;
    let mut answered = false;
    let mut killed = false;
    loop {
        let kill_at = overdue_at(*phases.borrow_and_update());
        tokio::select! {
            changed = phases.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = word.readable(), if !answered => {
                answered = true;
                table.look_after(target);
            }
            _ = output.readable(), if source == Source::Open => {
                source = take_in(tail, target, |buffer| output.try_read(buffer));
            }
            () = until(kill_at), if !killed => {
                killed = true;
                table.kill_overdue(target, *run);
            }
        }
    }
}

fn overdue_at(phase: Phase) -> Option<Instant> {
    match phase {
        Phase::Stopping { kill_at } => Some(kill_at),
        Phase::Launching | Phase::Running | Phase::Paused => None,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
