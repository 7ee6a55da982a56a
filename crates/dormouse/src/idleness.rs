//! Where idleness meets the store: how long each workload has gone unused is written down when
//! dormouse ends in order, and counts after the next start.

use std::collections::BTreeMap;

use dormouse_core::{Unused, WorkloadId};
use dormouse_keeper::{Handle, WorkloadView};
use dormouse_store::Store;

/// Takes what was remembered. It counts once: after a crash nothing is known, and what runs has a
/// full idle period.
pub(crate) async fn recall(store: &dyn Store) -> BTreeMap<WorkloadId, Unused> {
    store.take_unused().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "Could not recall what went unused; it has a full idle period");
        BTreeMap::new()
    })
}

/// Writes down what goes unused now, in place of what was written before.
pub(crate) async fn remember(keeper: &Handle, store: &dyn Store) {
    let Ok(views) = keeper.views().await else { return };
    let now = keeper.clock().now();
    let unused = |view: &WorkloadView| {
        let run = view.explanation.condition?.run()?;
        // The time until then is what is left of the idle period.
        let left = view.explanation.idle_at?.since(now);
        let period = view.policy.idle_timeout?.checked_sub(left)?;
        Some(Unused { run, period })
    };
    let unused: BTreeMap<WorkloadId, Unused> = views
        .iter()
        .filter_map(|view| Some((view.explanation.id.clone(), unused(view)?)))
        .collect();
    let workloads = unused.len();
    match store.remember_unused(&unused).await {
        Ok(()) => tracing::debug!(workloads, "Remembered what goes unused"),
        Err(error) => tracing::warn!(%error, "Could not remember what goes unused"),
    }
}
