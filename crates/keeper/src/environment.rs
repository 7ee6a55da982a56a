//! What the loop keeps of one environment: its adapter, its feed, and which target is whose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dormouse_core::fleet::Key;
use dormouse_core::{EnvironmentName, Timestamp};
use dormouse_providers::{FeedItem, Provider, Target};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// One environment of the loop.
pub(crate) struct Environment {
    pub(crate) provider: Arc<dyn Provider>,
    /// Forwards the feed into the loop; ends with this value.
    _feed: AbortOnDropHandle<()>,
    pub(crate) targets: BTreeMap<Target, Key>,
    pub(crate) reach: Reach,
    /// What the listing under way has named.
    pub(crate) listing: Option<BTreeSet<Target>>,
    pub(crate) resyncs: u64,
}

/// What is known of an environment's health.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// Nothing has been heard yet.
    Unheard,
    /// It answers, since then.
    Reached(Timestamp),
    /// It does not, since then, for this reason.
    Lost(Timestamp, String),
}

/// An item of a feed, with whose it is.
pub(crate) type Fed = (EnvironmentName, FeedItem);

impl Environment {
    pub(crate) fn new(
        name: EnvironmentName,
        provider: Arc<dyn Provider>,
        sink: mpsc::Sender<Fed>,
    ) -> Self {
        let mut feed = provider.feed();
        let forward = tokio::spawn(async move {
            while let Some(item) = feed.recv().await {
                if sink.send((name.clone(), item)).await.is_err() {
                    return;
                }
            }
        });
        Self {
            provider,
            _feed: AbortOnDropHandle::new(forward),
            targets: BTreeMap::new(),
            reach: Reach::Unheard,
            listing: None,
            resyncs: 0,
        }
    }

    /// The workloads that the listing that has just ended did not name.
    pub(crate) fn unlisted(&self, named: &BTreeSet<Target>) -> Vec<Key> {
        let missing = self.targets.iter().filter(|(target, _)| !named.contains(*target));
        missing.map(|(_, &key)| key).collect()
    }

    /// Tells the adapter whose details the feed should carry.
    pub(crate) fn follow_targets(&self) {
        self.provider.follow(self.targets.keys().cloned().collect());
    }
}
