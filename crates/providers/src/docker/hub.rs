//! What is known of the engine's containers, and everybody who wants to be told: publishing never
//! waits, and whoever falls behind is given all of it anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use dormouse_core::limits;
use tokio::sync::{Notify, mpsc};

use super::looks::Tell;
use crate::{FeedItem, Found, Sighting, Target};

/// How much of a subscriber's backlog is in its channel already; the rest waits in its queue.
const CHANNEL: usize = 64;
const QUEUE: usize = limits::FEED_QUEUE - CHANNEL;

/// The table and its subscribers.
#[derive(Default)]
pub(super) struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    table: BTreeMap<Target, Arc<Found>>,
    standing: Standing,
    subscribers: Vec<Subscriber>,
    next_key: u64,
    resyncs: u64,
}

#[derive(Default)]
enum Standing {
    /// Nothing has been heard yet.
    #[default]
    Connecting,
    /// The table is the truth as far as events tell.
    Listed,
    /// The table is what was.
    Lost { reason: String },
}

struct Subscriber {
    key: u64,
    queue: VecDeque<FeedItem>,
    /// The whole table is to be sent before what is queued.
    resync: bool,
    bell: Arc<Notify>,
}

/// What a subscriber is to be sent next.
enum Parcel {
    Table(Vec<Arc<Found>>),
    Item(FeedItem),
}

impl Hub {
    /// Takes a complete listing for the truth and has everybody told.
    pub(super) fn install(&self, listing: Vec<Found>) {
        let mut state = self.state();
        state.table =
            listing.into_iter().map(|found| (found.target.clone(), Arc::new(found))).collect();
        state.standing = Standing::Listed;
        for subscriber in &mut state.subscribers {
            subscriber.owe_table();
        }
    }

    /// Takes one look for the truth; whether anybody had to be told.
    pub(super) fn publish(&self, mut found: Found, tell: Tell) -> bool {
        let mut state = self.state();
        let is_absent = found.sighting.condition == dormouse_core::Condition::Absent;
        let known = state.table.get(&found.target).cloned();
        if is_absent {
            state.table.remove(&found.target);
            // Whoever defines workloads by labels wants to know whose labels are gone.
            if let Some(known) = known.as_ref().filter(|_| found.labels.is_empty()) {
                found.labels.clone_from(&known.labels);
            }
        } else {
            state.table.insert(found.target.clone(), Arc::new(found.clone()));
        }
        let same = known.map_or(is_absent, |known| !is_absent && is_same(&known, &found));
        if same && tell == Tell::Differences {
            return false;
        }
        for subscriber in &mut state.subscribers {
            subscriber.queue(FeedItem::Changed(found.clone()));
        }
        true
    }

    /// Remembers what a caller was answered, so that a check finds out what has changed since even
    /// where the events of the call itself were lost. Nobody has to be told.
    pub(super) fn note(&self, target: &Target, sighting: &Sighting) {
        let is_absent = sighting.condition == dormouse_core::Condition::Absent;
        let mut state = self.state();
        let Some(known) = state.table.get(target).filter(|_| !is_absent) else { return };
        if known.sighting.as_of < sighting.as_of {
            let found = Found { sighting: sighting.clone(), ..Found::clone(known) };
            state.table.insert(target.clone(), Arc::new(found));
        }
    }

    /// Says once that nothing is known any more; whether that is news.
    pub(super) fn lose(&self, reason: &str) -> bool {
        let mut state = self.state();
        if matches!(state.standing, Standing::Lost { .. }) {
            return false;
        }
        state.standing = Standing::Lost { reason: reason.to_owned() };
        for subscriber in &mut state.subscribers {
            subscriber.owe_loss(reason);
        }
        true
    }

    pub(super) fn known(&self, target: &Target) -> Option<Arc<Found>> {
        self.state().table.get(target).cloned()
    }

    /// Every target that is known.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.state().table.keys().cloned().collect()
    }

    /// How many tables subscribers were sent, the first of each included.
    pub(super) fn resyncs(&self) -> u64 {
        self.state().resyncs
    }

    /// A new subscription, and the work of delivering to it, which ends with its receiver.
    pub(super) fn subscribe(
        self: &Arc<Self>,
    ) -> (mpsc::Receiver<FeedItem>, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let bell = Arc::new(Notify::new());
        let mut state = self.state();
        let key = state.next_key;
        state.next_key += 1;
        let mut subscriber =
            Subscriber { key, queue: VecDeque::new(), resync: false, bell: Arc::clone(&bell) };
        match &state.standing {
            Standing::Connecting => {}
            Standing::Listed => subscriber.owe_table(),
            Standing::Lost { reason } => subscriber.owe_loss(reason),
        }
        state.subscribers.push(subscriber);
        drop(state);
        let hub = Arc::clone(self);
        let delivery = async move {
            let seat = Seat { hub, key };
            tokio::select! {
                () = sender.closed() => {}
                () = seat.deliver(&bell, &sender) => {}
            }
        };
        (receiver, delivery)
    }

    fn next_parcel(&self, key: u64) -> Option<Parcel> {
        let mut state = self.state();
        let index = state.subscribers.iter().position(|subscriber| subscriber.key == key)?;
        if std::mem::take(&mut state.subscribers[index].resync) {
            state.resyncs += 1;
            return Some(Parcel::Table(state.table.values().cloned().collect()));
        }
        state.subscribers[index].queue.pop_front().map(Parcel::Item)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it is held")
    }
}

impl Subscriber {
    fn queue(&mut self, item: FeedItem) {
        if self.queue.len() == QUEUE {
            return self.owe_table();
        }
        self.queue.push_back(item);
        self.bell.notify_one();
    }

    fn owe_table(&mut self) {
        self.queue.clear();
        self.resync = true;
        self.bell.notify_one();
    }

    fn owe_loss(&mut self, reason: &str) {
        self.queue.clear();
        self.resync = false;
        self.queue.push_back(FeedItem::Lost { reason: reason.to_owned() });
        self.bell.notify_one();
    }
}

/// A subscriber's place in the hub, given back when its delivery ends.
struct Seat {
    hub: Arc<Hub>,
    key: u64,
}

impl Seat {
    async fn deliver(&self, bell: &Notify, sender: &mpsc::Sender<FeedItem>) {
        loop {
            let sent = match self.hub.next_parcel(self.key) {
                Some(Parcel::Item(item)) => sender.send(item).await,
                Some(Parcel::Table(table)) => send_table(table, sender).await,
                None => {
                    bell.notified().await;
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.state().subscribers.retain(|subscriber| subscriber.key != self.key);
    }
}

async fn send_table(
    table: Vec<Arc<Found>>,
    sender: &mpsc::Sender<FeedItem>,
) -> Result<(), mpsc::error::SendError<FeedItem>> {
    sender.send(FeedItem::Resync).await?;
    for found in table {
        sender.send(FeedItem::Listed(Found::clone(&found))).await?;
    }
    sender.send(FeedItem::ResyncDone).await
}

/// The same but for the moment of the look.
fn is_same(one: &Found, other: &Found) -> bool {
    let (a, b) = (&one.sighting, &other.sighting);
    one.labels == other.labels
        && (a.condition, &a.addresses, a.default_port)
            == (b.condition, &b.addresses, b.default_port)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dormouse_core::Condition;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn found(name: &str, exit_code: i32) -> Found {
        let mut sighting = Sighting::absent(Instant::now());
        sighting.condition = Condition::Stopped { exit_code: Some(exit_code) };
        Found { target: Target::new(name), labels: BTreeMap::new(), sighting }
    }

    fn subscribed(hub: &Arc<Hub>) -> mpsc::Receiver<FeedItem> {
        let (receiver, delivery) = hub.subscribe();
        tokio::spawn(delivery);
        receiver
    }

    async fn next(receiver: &mut mpsc::Receiver<FeedItem>) -> String {
        let item = timeout(Duration::from_secs(5), receiver.recv()).await.unwrap().unwrap();
        match item {
            FeedItem::Resync => "resync".to_owned(),
            FeedItem::Listed(found) => format!("listed {}", found.target),
            FeedItem::ResyncDone => "done".to_owned(),
            FeedItem::Changed(found) => {
                format!("changed {} {:?}", found.target, found.sighting.condition)
            }
            FeedItem::Lost { reason } => format!("lost {reason}"),
        }
    }

    #[tokio::test]
    async fn a_subscriber_that_comes_late_is_told_everything_first() {
        let hub = Arc::new(Hub::default());
        let mut early = subscribed(&hub);
        hub.install(vec![found("a", 0)]);
        for expected in ["resync", "listed a", "done"] {
            assert_eq!(next(&mut early).await, expected);
        }
        assert!(hub.publish(found("b", 1), Tell::Differences));
        assert_eq!(next(&mut early).await, "changed b Stopped { exit_code: Some(1) }");
        let mut late = subscribed(&hub);
        for expected in ["resync", "listed a", "listed b", "done"] {
            assert_eq!(next(&mut late).await, expected);
        }
    }

    #[tokio::test]
    async fn what_is_known_is_told_again_only_after_an_event() {
        let hub = Arc::new(Hub::default());
        hub.install(vec![found("a", 0)]);
        assert!(!hub.publish(found("a", 0), Tell::Differences));
        assert!(hub.publish(found("a", 0), Tell::Always));
        assert!(hub.publish(found("a", 1), Tell::Differences));
        let mut gone = found("a", 0);
        gone.sighting.condition = Condition::Absent;
        assert!(hub.publish(gone.clone(), Tell::Differences));
        assert!(!hub.publish(gone, Tell::Differences));
        assert!(hub.targets().is_empty());
    }

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_is_told_everything_anew() {
        let hub = Arc::new(Hub::default());
        hub.install(vec![]);
        let mut slow = subscribed(&hub);
        assert_eq!(next(&mut slow).await, "resync");
        assert_eq!(next(&mut slow).await, "done");
        for n in 0..(limits::FEED_QUEUE as i32 * 3) {
            hub.publish(found("a", n), Tell::Always);
        }
        let mut changes = 0;
        loop {
            match next(&mut slow).await.as_str() {
                "resync" => break,
                _ => changes += 1,
            }
        }
        assert!(changes <= limits::FEED_QUEUE, "{changes}");
        assert_eq!(next(&mut slow).await, "listed a");
        assert_eq!(next(&mut slow).await, "done");
    }

    #[tokio::test]
    async fn a_loss_is_said_once_and_to_whoever_comes_later() {
        let hub = Arc::new(Hub::default());
        let mut early = subscribed(&hub);
        assert!(hub.lose("gone"));
        assert!(!hub.lose("still gone"));
        assert_eq!(next(&mut early).await, "lost gone");
        let mut late = subscribed(&hub);
        assert_eq!(next(&mut late).await, "lost gone");
        hub.install(vec![]);
        for receiver in [&mut early, &mut late] {
            assert_eq!(next(receiver).await, "resync");
            assert_eq!(next(receiver).await, "done");
        }
    }

    #[tokio::test]
    async fn a_subscriber_that_leaves_is_forgotten() {
        let hub = Arc::new(Hub::default());
        let (receiver, delivery) = hub.subscribe();
        let delivery = tokio::spawn(delivery);
        drop(receiver);
        timeout(Duration::from_secs(5), delivery).await.unwrap().unwrap();
        assert!(hub.state().subscribers.is_empty());
    }

    #[tokio::test]
    async fn what_a_caller_was_answered_is_known_and_told_to_nobody() {
        let hub = Arc::new(Hub::default());
        hub.install(vec![found("a", 0)]);
        let mut later = found("a", 7).sighting;
        later.as_of += Duration::from_secs(1);
        hub.note(&Target::new("a"), &later);
        let known = || hub.known(&Target::new("a")).expect("it is known").sighting.condition;
        assert_eq!(known(), later.condition);
        hub.note(&Target::new("a"), &found("a", 0).sighting);
        assert_eq!(known(), later.condition, "an older look says nothing");
        hub.note(&Target::new("b"), &later);
        assert!(hub.known(&Target::new("b")).is_none(), "its labels are not known");
        assert!(hub.publish(found("a", 0), Tell::Differences), "going back is a difference");
    }
}
