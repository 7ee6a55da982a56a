//! A subscriber to a feed that remembers what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_providers::{FeedItem, Found, Provider, Target};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::bench::PATIENCE;

/// How soon a change must be seen. The promise is a second; the rest is for a busy machine, and
/// still far less than the next unasked listing.
pub(super) const SEEN_WITHIN: Duration = Duration::from_secs(4);

/// One subscription, what it knows, and everything it was told.
pub(super) struct Watcher {
    feed: mpsc::Receiver<FeedItem>,
    known: BTreeMap<Target, Found>,
    story: Vec<FeedItem>,
    /// What the listing that is coming in has named so far.
    listing: Option<BTreeMap<Target, Found>>,
}

impl Watcher {
    /// Has the targets followed, subscribes, and waits for the first listing to be complete and for
    /// the targets to be known as they are. What was not followed before may be listed without its
    /// details, which come right after.
    pub(super) async fn of(provider: &Arc<dyn Provider>, targets: &[&Target]) -> Self {
        provider.follow(targets.iter().map(|target| (*target).clone()).collect());
        let mut watcher = Self::new(provider);
        watcher.until(PATIENCE, "a complete listing", Self::is_listed).await;
        for target in targets {
            let seen = provider.observe(target, Instant::now() + PATIENCE).await;
            let seen = seen.expect("a look succeeds").condition;
            watcher.sees(target, "is known as it is", |it| it == seen).await;
        }
        watcher
    }

    /// Subscribes, and waits for nothing.
    pub(super) fn new(provider: &Arc<dyn Provider>) -> Self {
        Self { feed: provider.feed(), known: BTreeMap::new(), story: Vec::new(), listing: None }
    }

    /// Whether a listing has been completed.
    pub(super) fn is_listed(&self) -> bool {
        self.story.contains(&FeedItem::ResyncDone)
    }

    /// Everything it was told since it was last asked this.
    pub(super) fn take_story(&mut self) -> Vec<FeedItem> {
        std::mem::take(&mut self.story)
    }

    /// Everything it was told and that nobody has taken.
    pub(super) fn story(&self) -> &[FeedItem] {
        &self.story
    }

    /// What it knows of a target; what no listing named is absent.
    pub(super) fn condition(&self, target: &Target) -> Condition {
        let known = self.known.get(target);
        known.map_or(Condition::Absent, |found| found.sighting.condition)
    }

    /// Waits until it knows that the target is so.
    pub(super) async fn sees(
        &mut self,
        target: &Target,
        what: &str,
        wanted: impl Fn(Condition) -> bool,
    ) {
        self.sees_within(SEEN_WITHIN, target, what, wanted).await;
    }

    /// Waits that long until it knows that the target is so.
    pub(super) async fn sees_within(
        &mut self,
        within: Duration,
        target: &Target,
        what: &str,
        wanted: impl Fn(Condition) -> bool,
    ) {
        let what = format!("{target} {what}");
        self.until(within, &what, |it| wanted(it.condition(target))).await;
    }

    /// Reads until something holds.
    pub(super) async fn until(
        &mut self,
        within: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) {
        let give_up_at = Instant::now() + within;
        while !holds(self) {
            match timeout_at(give_up_at, self.feed.recv()).await {
                Ok(Some(item)) => self.take(item),
                Ok(None) => panic!("the feed ended before {what}"),
                Err(_) => {
                    let last = &self.story[self.story.len().saturating_sub(3)..];
                    panic!("not seen within {within:?}: {what}; last told: {last:?}");
                }
            }
        }
    }

    /// Reads what is there, without waiting.
    pub(super) fn catch_up(&mut self) {
        while let Ok(item) = self.feed.try_recv() {
            self.take(item);
        }
    }

    fn take(&mut self, item: FeedItem) {
        match &item {
            FeedItem::Resync => self.listing = Some(BTreeMap::new()),
            FeedItem::Listed(found) => {
                let listing = self.listing.as_mut().expect("a listing begins with Resync");
                listing.insert(found.target.clone(), found.clone());
            }
            FeedItem::ResyncDone => {
                self.known = self.listing.take().expect("a listing begins with Resync");
            }
            FeedItem::Changed(found) => {
                self.known.insert(found.target.clone(), found.clone());
            }
            FeedItem::Lost { .. } => {
                self.known.clear();
                self.listing = None;
            }
        }
        self.story.push(item);
    }
}
