//! What every story stands on: the real binary, the machine's engine, real clients, and waits that
//! end.
//!
//! A story starts containers of the test application with [`Docker`](docker::Docker), writes a
//! configuration, starts a [`House`](house::House) with it, and looks at three things: what its
//! clients were answered, what the admin API says ([`Admin`](admin::Admin)), and what the engine
//! itself saw.
#![expect(dead_code, reason = "every story uses a part of the harness")]

pub(crate) mod admin;
pub(crate) mod binary;
pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod datagrams;
pub(crate) mod dice;
pub(crate) mod docker;
pub(crate) mod grpc;
pub(crate) mod house;
pub(crate) mod load;
pub(crate) mod local;
pub(crate) mod report;
pub(crate) mod testapp;
pub(crate) mod vitals;

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true where a story names no deadline of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `holds`.
///
/// # Panics
/// When it does not hold within `deadline`.
pub(crate) async fn eventually(deadline: Duration, what: &str, holds: impl AsyncFn() -> bool) {
    let look = async || holds().await.then_some(());
    eventually_some(deadline, what, look).await;
}

/// Waits for something to be there, and answers it.
///
/// # Panics
/// When it is not there within `deadline`.
pub(crate) async fn eventually_some<T>(
    deadline: Duration,
    what: &str,
    look: impl AsyncFn() -> Option<T>,
) -> T {
    let give_up_at = Instant::now() + deadline;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up_at, "not true within {deadline:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Lets one test of a binary run at a time: for those that measure, or that fill the machine.
pub(crate) async fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::const_new(());
    QUIET.lock().await
}
