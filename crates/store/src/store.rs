//! The door of this crate: what can be remembered, as verbs of the domain.

use std::collections::BTreeMap;

use dormouse_core::{Unused, WorkloadId};
use futures_util::future::BoxFuture;

use crate::StoreError;

/// Remembers what must survive a restart. Every method is bounded in time by the store itself; one
/// that answered `Ok` has been made durable as far as the store can.
pub trait Store: Send + Sync + 'static {
    /// Remembers the pin of a workload, in place of the one it had.
    fn save_pin<'a>(
        &'a self,
        workload: &'a WorkloadId,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Forgets the pin of a workload. One that has none is fine.
    fn remove_pin<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// All pins, those included that have expired: whether they have is a question to a clock.
    fn pins(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Pin>, StoreError>>;

    /// Remembers how long the runs of these workloads have gone unused by now, in whole
    /// milliseconds, in place of everything that was remembered of this kind. All or none are
    /// remembered.
    fn remember_unused<'a>(
        &'a self,
        unused: &'a BTreeMap<WorkloadId, Unused>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// How long the runs had gone unused, and forgets it: what is remembered counts once.
    fn take_unused(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Unused>, StoreError>>;

    /// Forgets everything about a workload that is gone from the configuration.
    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Ends connections and tasks; what was remembered is safe.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A moment on the wall clock, in milliseconds since 1970-01-01T00:00:00Z. Wall clocks jump: it is
/// for what must be compared across restarts, and for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// A reason to be awake that a person or a program gave, with its expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// When it ends; never when absent.
    pub until: Option<UnixMillis>,
    /// Why, in the words of whoever asked.
    pub reason: String,
    /// When it was asked for.
    pub made_at: UnixMillis,
}
