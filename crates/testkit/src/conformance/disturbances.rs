//! Checks of what a provider makes of a connection that fails it: cuts, restarts, lost events.

use std::time::Duration;

use dormouse_core::limits::RESYNC_EVERY;
use dormouse_providers::FeedItem;

use super::bench::{
    Bench, Disturbance, HandDeed, Kind, PATIENCE, Setting, is_paused, is_running, is_stopped,
};
use super::watcher::Watcher;
use super::{Verdict, applies};

/// What an unasked listing may take beyond its period.
const RESYNC_MARGIN: Duration = Duration::from_secs(5);

/// A stream that ends is opened again, and what happened in between is known.
pub async fn a_cut_stream_loses_nothing<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    for _ in 0..3 {
        applies!(bench.disturb(Disturbance::CutEvents).await, "there is no stream to cut");
        bench.by_hand(&target, HandDeed::Kill).await;
        watcher.sees(&target, "is stopped", is_stopped).await;
        bench.by_hand(&target, HandDeed::Start).await;
        applies!(bench.disturb(Disturbance::CutEvents).await, "there is no stream to cut");
        watcher.sees(&target, "runs", is_running).await;
    }
    Verdict::Holds
}

/// A runtime that is gone is `Lost`; when it is back there is a full listing.
pub async fn a_restarted_engine_is_lost_and_listed_again<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    watcher.take_story();
    applies!(bench.disturb(Disturbance::KillRuntime).await, "it cannot be killed");
    let lost = |it: &Watcher| it.story().iter().any(|it| matches!(it, FeedItem::Lost { .. }));
    watcher.until(PATIENCE, "the runtime is lost", lost).await;
    bench.disturb(Disturbance::RestartRuntime).await;
    watcher.until(PATIENCE, "it is listed again", Watcher::is_listed).await;
    assert_eq!(watcher.condition(&target).run(), run, "it went on meanwhile");
    let story = watcher.take_story();
    let after_lost = story.iter().skip_while(|it| !matches!(it, FeedItem::Lost { .. }));
    let after_lost: Vec<_> = after_lost.filter(|it| !matches!(it, FeedItem::Lost { .. })).collect();
    assert_eq!(after_lost.first(), Some(&&FeedItem::Resync), "nothing is said before a listing");
    Verdict::Holds
}

/// What ended while nobody could say so is known as soon as the runtime is back.
pub async fn a_target_is_seen_to_die_with_the_engine<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let restart = Disturbance::RestartRuntimeWithoutSurvivors;
    applies!(bench.disturb(restart).await, "it cannot be restarted");
    watcher.sees_within(PATIENCE, &target, "is stopped", is_stopped).await;
    Verdict::Holds
}

/// Events are hints: the truth comes without them too, within one period of unasked listings.
pub async fn lost_events_are_made_good_in_time<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    applies!(bench.disturb(Disturbance::LoseEvents).await, "there are no events to lose");
    let within = RESYNC_EVERY + RESYNC_MARGIN;
    bench.by_hand(&target, HandDeed::Restart).await;
    let anew = |it: dormouse_core::Condition| is_running(it) && it.run() != run;
    watcher.sees_within(within, &target, "runs anew", anew).await;
    bench.by_hand(&target, HandDeed::Kill).await;
    watcher.sees_within(within, &target, "is stopped", is_stopped).await;
    bench.disturb(Disturbance::Calm).await;
    Verdict::Holds
}

/// Doubled, late and swapped events, and lines that are none, change nothing of the truth.
pub async fn odd_events_do_no_harm<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    applies!(bench.disturb(Disturbance::GarbleEvents).await, "there are no events to garble");
    for _ in 0..5 {
        bench.by_hand(&target, HandDeed::Kill).await;
        watcher.sees(&target, "is stopped", is_stopped).await;
        bench.by_hand(&target, HandDeed::Start).await;
        watcher.sees(&target, "runs", is_running).await;
        bench.by_hand(&target, HandDeed::Pause).await;
        watcher.sees(&target, "is paused", is_paused).await;
        bench.by_hand(&target, HandDeed::Unpause).await;
        watcher.sees(&target, "runs again", is_running).await;
    }
    bench.disturb(Disturbance::Calm).await;
    Verdict::Holds
}

/// Who does not read for long holds nobody up, and learns how things are in the end.
pub async fn a_subscriber_that_falls_behind_learns_the_truth<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let provider = bench.provider();
    let mut reader = Watcher::of(&provider, &[&target]).await;
    let mut sleeper = Watcher::new(&provider);
    if bench.disturb(Disturbance::Calm).await.is_none() {
        return Verdict::DoesNotApply("thousands of changes take too long here");
    }
    for _ in 0..1500 {
        bench.by_hand(&target, HandDeed::Pause).await;
        bench.by_hand(&target, HandDeed::Unpause).await;
        reader.catch_up();
    }
    bench.by_hand(&target, HandDeed::Kill).await;
    reader.sees(&target, "is stopped", is_stopped).await;
    sleeper.sees(&target, "is stopped", is_stopped).await;
    Verdict::Holds
}
