//! A runtime in memory: it keeps the contract of a provider, and does what a test orders.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dormouse_core::observation::Health;
use dormouse_core::{Condition, RunId};
use dormouse_providers::{
    Abilities, Address, FeedItem, Found, Provider, ProviderError, RestOrder, Sighting, StartOrder,
    Target, Via,
};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A runtime whose targets are all in this process.
#[derive(Default)]
pub(super) struct Runtime(Mutex<State>);

#[derive(Default)]
struct State {
    targets: BTreeMap<Target, Thing>,
    runs: u64,
    feeds: Vec<mpsc::Sender<FeedItem>>,
}

#[derive(Clone)]
struct Thing {
    condition: Condition,
    start_takes: Duration,
    refuses: Option<&'static str>,
    log: Vec<String>,
}

impl Runtime {
    /// A runtime with these targets, all stopped.
    pub(super) fn with(names: &[&str]) -> Arc<Self> {
        let runtime = Self::default();
        for name in names {
            let thing = Thing {
                condition: Condition::Stopped { exit_code: None },
                start_takes: Duration::ZERO,
                refuses: None,
                log: vec![format!("{name} says hello")],
            };
            runtime.state().targets.insert(Target::new(name), thing);
        }
        Arc::new(runtime)
    }

    /// From now on a start of this target takes so long.
    pub(super) fn slow_down(&self, name: &str, start_takes: Duration) {
        self.thing(name, |thing| thing.start_takes = start_takes);
    }

    /// From now on a start of this target is refused.
    pub(super) fn refuse(&self, name: &str, why: &'static str) {
        self.thing(name, |thing| thing.refuses = Some(why));
    }

    /// Everybody is told that the runtime cannot be reached.
    pub(super) async fn lose(&self, reason: &str) {
        let feeds = self.state().feeds.clone();
        for feed in feeds {
            let _ = feed.send(FeedItem::Lost { reason: reason.to_owned() }).await;
        }
    }

    fn thing(&self, name: &str, change: impl FnOnce(&mut Thing)) {
        change(self.state().targets.get_mut(&Target::new(name)).expect("the test named it"));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn found(&self, target: &Target) -> Option<Found> {
        let thing = self.state().targets.get(target).cloned()?;
        let sighting = sighting(thing.condition);
        Some(Found { target: target.clone(), labels: BTreeMap::new(), sighting })
    }

    fn set(&self, target: &Target, condition: Condition) -> Sighting {
        let feeds = {
            let mut state = self.state();
            if let Some(thing) = state.targets.get_mut(target) {
                thing.condition = condition;
            }
            state.feeds.clone()
        };
        if let Some(found) = self.found(target) {
            for feed in feeds {
                // A feed that is full would be given a resync; none of these tests fills one.
                let _ = feed.try_send(FeedItem::Changed(found.clone()));
            }
        }
        sighting(condition)
    }

    async fn start_it(&self, target: &Target) -> Result<Sighting, ProviderError> {
        let absent = || ProviderError::Absent(target.clone());
        let thing = self.state().targets.get(target).cloned().ok_or_else(absent)?;
        tokio::time::sleep(thing.start_takes).await;
        if let Some(why) = thing.refuses {
            return Err(ProviderError::Refused(why.to_owned()));
        }
        if let Condition::Running { .. } = thing.condition {
            return Ok(sighting(thing.condition));
        }
        let run = {
            let mut state = self.state();
            state.runs += 1;
            RunId(state.runs)
        };
        Ok(self.set(target, Condition::Running { run, health: Health::Undeclared }))
    }
}

impl Provider for Runtime {
    fn abilities(&self) -> Abilities {
        Abilities { pause: false, labels: false, health: false }
    }

    fn list(&self, _deadline: Instant) -> BoxFuture<'_, Result<Vec<Found>, ProviderError>> {
        let targets: Vec<Target> = self.state().targets.keys().cloned().collect();
        let found = targets.iter().filter_map(|target| self.found(target)).collect();
        Box::pin(async { Ok(found) })
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        let found = self.found(target).map(|found| found.sighting);
        Box::pin(async { Ok(found.unwrap_or_else(|| Sighting::absent(Instant::now()))) })
    }

    fn start<'a>(
        &'a self,
        target: &'a Target,
        _order: &'a StartOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let started = tokio::time::timeout_at(deadline, self.start_it(target)).await;
            started.unwrap_or(Err(ProviderError::Timeout("start")))
        })
    }

    fn rest<'a>(
        &'a self,
        target: &'a Target,
        _order: &'a RestOrder,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async { Ok(self.set(target, Condition::Stopped { exit_code: Some(0) })) })
    }

    fn feed(&self) -> mpsc::Receiver<FeedItem> {
        let (feed, items) = mpsc::channel(1024);
        let targets: Vec<Target> = self.state().targets.keys().cloned().collect();
        let listed = targets.iter().filter_map(|target| self.found(target)).map(FeedItem::Listed);
        let listing = std::iter::once(FeedItem::Resync).chain(listed).chain([FeedItem::ResyncDone]);
        for item in listing {
            feed.try_send(item).expect("a new feed has room");
        }
        self.state().feeds.push(feed);
        items
    }

    fn follow(&self, _targets: BTreeSet<Target>) {}

    fn log_tail<'a>(
        &'a self,
        target: &'a Target,
        lines: usize,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<String>, ProviderError>> {
        let absent = || ProviderError::Absent(target.clone());
        let log = self.state().targets.get(target).map(|thing| thing.log.clone());
        let log = log.ok_or_else(absent);
        Box::pin(async move {
            let log = log?;
            Ok(log[log.len().saturating_sub(lines)..].to_vec())
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn sighting(condition: Condition) -> Sighting {
    let is_running = matches!(condition, Condition::Running { .. });
    let own = Address::Own { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), via: Via::Direct };
    Sighting {
        condition,
        as_of: Instant::now(),
        addresses: if is_running { vec![own] } else { Vec::new() },
        default_port: Some(80),
    }
}
