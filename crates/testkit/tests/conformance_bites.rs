//! The conformance suite bites: for each way of not keeping the contract there is a check that
//! fails. The liar is the Docker provider on a fake engine, with one lie in between.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod fake_bench;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::policy::Rest;
use dormouse_core::{Condition, RunId};
use dormouse_providers::{
    Abilities, FeedItem, Found, Provider, ProviderError, RestOrder, Sighting, StartOrder, Target,
};
use dormouse_testkit::conformance::{self, Bench, Disturbance, HandDeed, Kind, Setting};
use dormouse_testkit::engine::EngineConfig;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use fake_bench::FakeBench;

/// One way of not keeping the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    StartsNothing,
    StartsAnew,
    LooksBeforeItActs,
    SaysNoAddress,
    KnowsOneRun,
    GrantsNoGrace,
    ForgetsTheDeadline,
    RestsOnlyOnce,
    TakesAbsenceForAnError,
    ListsNothing,
    SaysNoChange,
    BeginsWithAChange,
}

/// Makes a test of each lie and the check that catches it.
macro_rules! bites {
    ($($name:ident: $lie:ident is caught by $check:ident;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let bench = LyingBench::with(Lie::$lie).await;
            let check = AssertUnwindSafe(conformance::$check(&bench)).catch_unwind();
            assert!(check.await.is_err(), "nothing was noticed");
        })*
    };
}

bites! {
    a_start_that_starts_nothing: StartsNothing is caught by a_start_brings_up_what_is_stopped;
    a_start_that_starts_anew: StartsAnew is caught by a_second_start_changes_nothing;
    an_old_look: LooksBeforeItActs is caught by a_start_brings_up_what_is_stopped;
    a_missing_address: SaysNoAddress is caught by a_start_brings_up_what_is_paused;
    a_run_that_never_changes: KnowsOneRun is caught by a_run_survives_a_pause_and_not_a_stop;
    a_missing_grace: GrantsNoGrace is caught by a_rest_with_grace_kills_what_does_not_listen;
    a_late_answer: ForgetsTheDeadline is caught by a_rest_that_outlasts_its_deadline_is_a_timeout;
    a_rest_that_minds_a_second_one: RestsOnlyOnce is caught by a_second_stop_changes_nothing;
    an_absence_that_is_an_error:
        TakesAbsenceForAnError is caught by a_look_at_what_is_absent_shows_it_absent;
    an_empty_listing: ListsNothing is caught by a_feed_begins_with_a_full_listing;
    a_silent_feed: SaysNoChange is caught by a_hand_that_stops_is_seen;
    a_feed_without_a_beginning: BeginsWithAChange is caught by a_feed_begins_with_a_full_listing;
}

/// A fake bench whose provider lies.
struct LyingBench {
    honest: FakeBench,
    liar: Arc<Liar>,
}

struct Liar {
    honest: Arc<dyn Provider>,
    lie: Lie,
}

impl LyingBench {
    async fn with(lie: Lie) -> Self {
        let honest = FakeBench::with(EngineConfig::docker_20_10()).await;
        let liar = Arc::new(Liar { honest: honest.provider(), lie });
        Self { honest, liar }
    }
}

impl Bench for LyingBench {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.liar) as Arc<dyn Provider>
    }

    async fn set_up(&self, kind: Kind, setting: Setting) -> Option<Target> {
        self.honest.set_up(kind, setting).await
    }

    fn start_order(&self, target: &Target) -> StartOrder {
        self.honest.start_order(target)
    }

    async fn by_hand(&self, target: &Target, deed: HandDeed) -> Option<()> {
        self.honest.by_hand(target, deed).await
    }

    async fn real_starts(&self, target: &Target) -> Option<usize> {
        self.honest.real_starts(target).await
    }

    async fn disturb(&self, disturbance: Disturbance) -> Option<()> {
        self.honest.disturb(disturbance).await
    }
}

impl Liar {
    fn bend(&self, mut seen: Sighting, asked_at: Instant) -> Sighting {
        match (self.lie, seen.condition) {
            (Lie::LooksBeforeItActs, _) => seen.as_of = asked_at - Duration::from_secs(1),
            (Lie::SaysNoAddress, _) => seen.addresses.clear(),
            (Lie::KnowsOneRun, Condition::Running { health, .. }) => {
                seen.condition = Condition::Running { run: RunId(1), health };
            }
            (Lie::KnowsOneRun, Condition::Paused { .. }) => {
                seen.condition = Condition::Paused { run: RunId(1) };
            }
            (_, _) => {}
        }
        seen
    }
}

impl Provider for Liar {
    fn abilities(&self) -> Abilities {
        self.honest.abilities()
    }

    fn list(&self, deadline: Instant) -> BoxFuture<'_, Result<Vec<Found>, ProviderError>> {
        self.honest.list(deadline)
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let seen = self.honest.observe(target, deadline).await?;
            if self.lie == Lie::TakesAbsenceForAnError && seen.condition == Condition::Absent {
                return Err(ProviderError::Absent(target.clone()));
            }
            Ok(self.bend(seen, Instant::now()))
        })
    }

    fn start<'a>(
        &'a self,
        target: &'a Target,
        order: &'a StartOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let asked_at = Instant::now();
            if self.lie == Lie::StartsNothing {
                return self.honest.observe(target, deadline).await;
            }
            if self.lie == Lie::StartsAnew {
                let kill = RestOrder { rest: Rest::Kill, signal: None, grace: Duration::ZERO };
                self.honest.rest(target, &kill, deadline).await?;
            }
            let seen = self.honest.start(target, order, deadline).await?;
            Ok(self.bend(seen, asked_at))
        })
    }

    fn rest<'a>(
        &'a self,
        target: &'a Target,
        order: &'a RestOrder,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Sighting, ProviderError>> {
        Box::pin(async move {
            let asked_at = Instant::now();
            let mut order = order.clone();
            let mut deadline = deadline;
            match self.lie {
                Lie::GrantsNoGrace => order.grace = Duration::ZERO,
                Lie::ForgetsTheDeadline => {
                    order.grace = Duration::from_secs(2);
                    deadline += Duration::from_secs(10);
                }
                Lie::RestsOnlyOnce => {
                    let seen = self.honest.observe(target, deadline).await?;
                    if matches!(seen.condition, Condition::Stopped { .. }) {
                        return Err(ProviderError::Refused("it rests already".to_owned()));
                    }
                }
                _ => {}
            }
            let seen = self.honest.rest(target, &order, deadline).await?;
            Ok(self.bend(seen, asked_at))
        })
    }

    fn feed(&self) -> mpsc::Receiver<FeedItem> {
        let (sender, receiver) = mpsc::channel(64);
        let (mut honest, lie) = (self.honest.feed(), self.lie);
        // It ends with the subscriber, or with the honest provider.
        tokio::spawn(async move {
            let mut held_back = None;
            while let Some(item) = honest.recv().await {
                let dropped = match (lie, &item) {
                    (Lie::ListsNothing, FeedItem::Listed(_))
                    | (Lie::SaysNoChange, FeedItem::Changed(_)) => true,
                    (Lie::BeginsWithAChange, FeedItem::Resync) if held_back.is_none() => {
                        held_back = Some(FeedItem::Resync);
                        true
                    }
                    (_, _) => false,
                };
                let mut items = Vec::from_iter((!dropped).then_some(item));
                if let (Lie::BeginsWithAChange, [FeedItem::Listed(found)]) = (lie, &items[..])
                    && let Some(resync) = held_back.replace(FeedItem::ResyncDone)
                    && resync == FeedItem::Resync
                {
                    let change = FeedItem::Changed(found.clone());
                    items.splice(0..0, [change, resync]);
                }
                for item in items {
                    if sender.send(item).await.is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }

    fn follow(&self, targets: BTreeSet<Target>) {
        self.honest.follow(targets);
    }

    fn log_tail<'a>(
        &'a self,
        target: &'a Target,
        lines: usize,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Vec<String>, ProviderError>> {
        self.honest.log_tail(target, lines, deadline)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.honest.shutdown()
    }
}
