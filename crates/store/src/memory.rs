//! A store that forgets everything with its process: for tests, and for runs without a state folder.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_core::{Unused, WorkloadId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::{Pin, Store, StoreError};

/// Remembers in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pins: BTreeMap<WorkloadId, Pin>,
    unused: BTreeMap<WorkloadId, Unused>,
}

impl MemoryStore {
    /// A store that remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn save_pin<'a>(
        &'a self,
        workload: &'a WorkloadId,
        pin: &'a Pin,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            self.kept().pins.insert(workload.clone(), pin.clone());
            Ok(())
        }
        .boxed()
    }

    fn remove_pin<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            self.kept().pins.remove(workload);
            Ok(())
        }
        .boxed()
    }

    fn pins(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Pin>, StoreError>> {
        async { Ok(self.kept().pins.clone()) }.boxed()
    }

    fn remember_unused<'a>(
        &'a self,
        unused: &'a BTreeMap<WorkloadId, Unused>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            self.kept().unused.clone_from(unused);
            Ok(())
        }
        .boxed()
    }

    fn take_unused(&self) -> BoxFuture<'_, Result<BTreeMap<WorkloadId, Unused>, StoreError>> {
        async { Ok(std::mem::take(&mut self.kept().unused)) }.boxed()
    }

    fn forget<'a>(&'a self, workload: &'a WorkloadId) -> BoxFuture<'a, Result<(), StoreError>> {
        async {
            let mut kept = self.kept();
            kept.pins.remove(workload);
            kept.unused.remove(workload);
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
