//! What the loop keeps of one environment: its adapter, its feed, its watch, and which target is
//! whose.
//!
//! The feed says what is there, and is believed about whether the environment is. The watch asks
//! when something else gives reason to doubt: a call that failed, or a feed that was lost. What it
//! finds makes the feed look at once, and it shows an environment as down whose feed has not
//! noticed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dormouse_core::fleet::Key;
use dormouse_core::watch::{Settings, State};
use dormouse_core::{EnvironmentName, Timestamp, limits};
use dormouse_providers::{FeedItem, Provider, Target};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::watch::{Manager, Spec, Watch};

/// One environment of the loop.
pub(crate) struct Environment {
    pub(crate) provider: Arc<dyn Provider>,
    /// Forwards the feed into the loop; ends with this value.
    _feed: AbortOnDropHandle<()>,
    /// Follows whether it answers; absent where there are too many.
    watch: Option<Watch>,
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

/// Whether an environment answers, since when, and why not.
pub(crate) struct Standing {
    pub(crate) reachable: Option<bool>,
    pub(crate) last_error: Option<String>,
    pub(crate) since_ms: u64,
}

impl Standing {
    fn unheard(clock: Clock) -> Self {
        Self { reachable: None, last_error: None, since_ms: clock.unix_ms(Timestamp::ZERO) }
    }
}

/// An item of a feed, with whose it is.
pub(crate) type Fed = (EnvironmentName, FeedItem);

impl Environment {
    pub(crate) fn new(
        name: EnvironmentName,
        provider: Arc<dyn Provider>,
        sink: mpsc::Sender<Fed>,
        watches: &Manager,
    ) -> Self {
        let watch = watches.watch(watch_of(&name, &provider)).ok();
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
            watch,
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

    /// Notes that a call was not answered, or that the feed was lost.
    pub(crate) fn doubt(&self, error: &str) {
        if let Some(watch) = &self.watch {
            watch.report_failure(error);
        }
    }

    /// Notes that it has answered.
    pub(crate) fn trust(&self) {
        if let Some(watch) = &self.watch {
            watch.report_success();
        }
    }

    /// Whether it answers, as far as is known.
    pub(crate) fn standing(&self, clock: Clock) -> Standing {
        let status = self.watch.as_ref().map(Watch::status);
        match (&self.reach, status) {
            (Reach::Unheard, _) => Standing::unheard(clock),
            (Reach::Lost(since, reason), _) => Standing {
                reachable: Some(false),
                last_error: Some(reason.clone()),
                since_ms: clock.unix_ms(*since),
            },
            (Reach::Reached(_), Some(status)) if status.state == State::Down => Standing {
                reachable: Some(false),
                last_error: status.last_error.as_deref().map(str::to_owned),
                since_ms: status.since_unix_ms,
            },
            (Reach::Reached(since), status) => {
                let watched_ms = status.map_or(0, |status| status.since_unix_ms);
                let since_ms = clock.unix_ms(*since).max(watched_ms);
                Standing { reachable: Some(true), last_error: None, since_ms }
            }
        }
    }

    /// Tells the adapter whose details the feed should carry.
    pub(crate) fn follow_targets(&self) {
        self.provider.follow(self.targets.keys().cloned().collect());
    }
}

/// A watch whose probe is the cheapest call there is, and whose findings the feed looks into.
fn watch_of(name: &EnvironmentName, provider: &Arc<dyn Provider>) -> Spec {
    let settings = Settings {
        initial_delay: limits::ENGINE_RETRY_DELAY_MIN,
        max_delay: limits::ENGINE_RETRY_DELAY_LOCAL_MAX,
        probe_timeout: limits::ENGINE_PING_MAX,
        ..Settings::default()
    };
    let policy =
        settings.validated().expect("the limits fit together; every test starts with them");
    let (probed, up, down) = (Arc::clone(provider), Arc::clone(provider), Arc::clone(provider));
    Spec::new(name.as_str(), move || {
        let provider = Arc::clone(&probed);
        async move { provider.alive(Instant::now() + limits::ENGINE_PING_MAX).await }
    })
    .policy(policy)
    .silent()
    .on_ready(move |_| {
        up.check_now();
        std::future::ready(())
    })
    .on_down(move |_| {
        down.check_now();
        std::future::ready(())
    })
}
