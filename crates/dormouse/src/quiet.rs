//! Gives back what only busy moments took: free heap, and program text that nobody executes any more.

use std::time::Duration;

use tokio::time::Instant;

use crate::{heap, resident};

/// How long after a start or a change there is peace: what it set off has been answered by then.
pub(crate) const AFTER: Duration = Duration::from_secs(2);

/// Ends at that moment; never where there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Gives everything back that is not needed now, aside from whoever is served.
pub(crate) async fn give_back() {
    let all = || {
        heap::give_back();
        resident::give_back();
    };
    if tokio::task::spawn_blocking(all).await.is_err() {
        tracing::error!("Could not give memory back");
    }
}
