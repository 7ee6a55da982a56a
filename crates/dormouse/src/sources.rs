//! Where labels meet the registry: follows what the runtimes show, and says when it has changed.
//!
//! What has been removed keeps its definition, so that its visitors are told that it is gone and
//! it is known again when it comes back; unless something else has taken its definition over, as
//! when Compose recreates a container under another name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_core::{Condition, EnvironmentName};
use dormouse_providers::{FeedItem, Found as Seen, Provider, Target};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::labels::Labels;
use crate::registry::Found;

/// Definitions of removed things that are remembered, by environment.
const DEPARTED_MAX: usize = 1000;

/// What all labels of ours begin with.
const PREFIX: &str = "dormouse.";

/// Everything that the runtimes show, kept up to date by one task an environment.
#[derive(Default)]
pub struct Sources {
    shelves: Arc<Mutex<BTreeMap<EnvironmentName, Shelf>>>,
    changed: Arc<Notify>,
    followers: BTreeMap<EnvironmentName, (Arc<dyn Provider>, AbortOnDropHandle<()>)>,
}

/// What one environment shows.
#[derive(Default)]
struct Shelf {
    present: BTreeMap<Target, Labels>,
    departed: BTreeMap<Target, Labels>,
    /// What the listing under way has named so far.
    listing: Option<BTreeSet<Target>>,
    /// Whether a listing has ever been complete.
    listed: bool,
}

impl Sources {
    /// Follows these environments, and no others.
    pub fn follow(&mut self, environments: Vec<(EnvironmentName, Arc<dyn Provider>)>) {
        let keep: BTreeSet<&EnvironmentName> = environments.iter().map(|(name, _)| name).collect();
        self.followers.retain(|name, _| keep.contains(name));
        lock(&self.shelves).retain(|name, _| keep.contains(name));
        for (name, provider) in environments {
            let same = self.followers.get(&name);
            if same.is_some_and(|(followed, _)| Arc::ptr_eq(followed, &provider)) {
                continue;
            }
            let task = tokio::spawn(follow_feed(
                name.clone(),
                Arc::clone(&provider),
                Arc::clone(&self.shelves),
                Arc::clone(&self.changed),
            ));
            self.followers.insert(name, (provider, AbortOnDropHandle::new(task)));
        }
    }

    /// What there is now, for the registry.
    pub fn found(&self) -> Found {
        let shelves = lock(&self.shelves);
        let listed = shelves.iter().filter(|(_, shelf)| shelf.listed);
        listed.map(|(name, shelf)| (name.clone(), shelf.definitions())).collect()
    }

    /// Whether every environment that is followed has been listed once.
    pub fn all_listed(&self) -> bool {
        let shelves = lock(&self.shelves);
        let listed = |name| shelves.get(name).is_some_and(|shelf: &Shelf| shelf.listed);
        self.followers.keys().all(listed)
    }

    /// Is told whenever [`Self::found`] may have another answer.
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

async fn follow_feed(
    name: EnvironmentName,
    provider: Arc<dyn Provider>,
    shelves: Arc<Mutex<BTreeMap<EnvironmentName, Shelf>>>,
    changed: Arc<Notify>,
) {
    let mut feed = provider.feed();
    while let Some(item) = feed.recv().await {
        let news = lock(&shelves).entry(name.clone()).or_default().take(item);
        if news {
            changed.notify_one();
        }
    }
}

impl Shelf {
    /// Puts an item where it belongs; says whether the definitions may have changed.
    fn take(&mut self, item: FeedItem) -> bool {
        match item {
            FeedItem::Resync => {
                self.listing = Some(BTreeSet::new());
                false
            }
            FeedItem::Listed(seen) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(seen.target.clone());
                }
                // A listing is believed as a whole, at its end; before the first one is complete
                // nothing is known.
                self.put(seen) && self.listed
            }
            FeedItem::ResyncDone => {
                let named = self.listing.take().unwrap_or_default();
                let missing: Vec<Target> =
                    self.present.keys().filter(|t| !named.contains(*t)).cloned().collect();
                let news = !missing.is_empty() || !self.listed;
                missing.into_iter().for_each(|target| self.depart(target));
                self.listed = true;
                news
            }
            FeedItem::Changed(seen) if seen.sighting.condition == Condition::Absent => {
                let known = self.present.contains_key(&seen.target);
                self.depart(seen.target);
                known
            }
            FeedItem::Changed(seen) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(seen.target.clone());
                }
                self.put(seen)
            }
            FeedItem::Lost { .. } => {
                self.listing = None;
                false
            }
        }
    }

    fn put(&mut self, seen: Seen) -> bool {
        self.departed.remove(&seen.target);
        let before = self.present.insert(seen.target.clone(), seen.labels.clone());
        before.as_ref() != Some(&seen.labels)
    }

    fn depart(&mut self, target: Target) {
        let Some(labels) = self.present.remove(&target) else { return };
        if ours(&labels).next().is_some() && self.departed.len() < DEPARTED_MAX {
            self.departed.insert(target, labels);
        }
    }

    fn definitions(&self) -> BTreeMap<Target, Labels> {
        let taken_over = |labels: &Labels| self.present.values().any(|now| same(now, labels));
        let departed = self.departed.iter().filter(|(_, labels)| !taken_over(labels));
        departed.chain(&self.present).map(|(t, labels)| (t.clone(), labels.clone())).collect()
    }
}

/// Whether both define the same thing.
fn same(one: &Labels, other: &Labels) -> bool {
    ours(one).eq(ours(other))
}

fn ours(labels: &Labels) -> impl Iterator<Item = (&String, &String)> {
    labels.iter().filter(|(key, _)| key.starts_with(PREFIX))
}

fn lock<T>(shelves: &Mutex<T>) -> MutexGuard<'_, T> {
    shelves.lock().expect("no panic while holding the lock")
}

#[cfg(test)]
mod tests {
    use dormouse_core::RunId;
    use dormouse_core::observation::Health;
    use dormouse_providers::Sighting;
    use tokio::time::Instant;

    use super::*;

    fn seen(name: &str, labels: &[(&str, &str)]) -> Seen {
        let condition = Condition::Running { run: RunId(1), health: Health::Undeclared };
        let sighting = Sighting { condition, ..Sighting::absent(Instant::now()) };
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Seen { target: Target::new(name), labels, sighting }
    }

    fn gone(name: &str) -> FeedItem {
        let sighting = Sighting::absent(Instant::now());
        let target = Target::new(name);
        FeedItem::Changed(Seen { target, labels: Labels::new(), sighting })
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        shelf.definitions().keys().map(|target| target.as_str().to_owned()).collect()
    }

    const BLOG: &[(&str, &str)] = &[("dormouse.host", "blog.test")];

    #[test]
    fn what_is_removed_keeps_its_definition() {
        let mut shelf = Shelf::default();
        assert!(shelf.take(FeedItem::Changed(seen("blog", BLOG))));
        assert!(shelf.take(gone("blog")));
        assert_eq!(names(&shelf), ["blog"]);
    }

    #[test]
    fn what_is_renamed_is_not_defined_twice() {
        let mut shelf = Shelf::default();
        shelf.take(FeedItem::Changed(seen("blog", BLOG)));
        shelf.take(FeedItem::Changed(seen("old_blog", BLOG)));
        shelf.take(gone("blog"));
        assert_eq!(names(&shelf), ["old_blog"]);
    }

    #[test]
    fn what_a_listing_does_not_name_has_gone() {
        let mut shelf = Shelf::default();
        shelf.take(FeedItem::Resync);
        shelf.take(FeedItem::Listed(seen("plain", &[])));
        assert!(shelf.take(FeedItem::ResyncDone));
        shelf.take(FeedItem::Resync);
        assert!(shelf.take(FeedItem::ResyncDone));
        assert!(names(&shelf).is_empty());
    }

    #[test]
    fn the_same_again_is_no_news() {
        let mut shelf = Shelf::default();
        shelf.take(FeedItem::Changed(seen("blog", BLOG)));
        assert!(!shelf.take(FeedItem::Changed(seen("blog", BLOG))));
    }
}
