//! Checks of what a provider sees: its feed, and what hands do behind its back.

use dormouse_core::Condition;
use dormouse_core::policy::Rest;
use dormouse_providers::{FeedItem, Target};

use super::bench::{
    Bench, HandDeed, Kind, PATIENCE, Setting, comes_to, is_paused, is_running, is_stopped, observe,
    rest, run_of, start, try_start,
};
use super::watcher::Watcher;
use super::{Verdict, applies};

/// A subscription begins with `Resync`, names everything, and says when that is complete.
pub async fn a_feed_begins_with_a_full_listing<B: Bench>(bench: &B) -> Verdict {
    let running = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let stopped = applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
    let provider = bench.provider();
    provider.follow([running.clone(), stopped.clone()].into());
    let mut watcher = Watcher::new(&provider);
    watcher.until(PATIENCE, "a complete listing", Watcher::is_listed).await;
    assert!(is_running(watcher.condition(&running)), "{:?}", watcher.condition(&running));
    assert!(is_stopped(watcher.condition(&stopped)), "{:?}", watcher.condition(&stopped));
    let story = watcher.take_story();
    assert_eq!(story.first(), Some(&FeedItem::Resync));
    let before_done = story.iter().position(|item| *item == FeedItem::ResyncDone);
    let before_done = &story[1..before_done.expect("it is complete")];
    assert!(
        before_done.iter().all(|item| matches!(item, FeedItem::Listed(_))),
        "only listed things belong in a listing: {before_done:?}"
    );
    Verdict::Holds
}

/// What we do ourselves is seen like everything else.
pub async fn our_own_acts_are_seen<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = run_of(&start(bench, &target).await);
    watcher.sees(&target, "runs", |it| is_running(it) && it.run() == Some(run)).await;
    rest(bench, &target, Rest::Stop).await;
    watcher.sees(&target, "is stopped", is_stopped).await;
    Verdict::Holds
}

/// A stop by hand.
pub async fn a_hand_that_stops_is_seen<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    applies!(bench.by_hand(&target, HandDeed::Stop).await, "no hand can stop it");
    watcher.sees(&target, "is stopped", is_stopped).await;
    assert!(is_stopped(observe(bench, &target).await.condition));
    Verdict::Holds
}

/// A start by hand.
pub async fn a_hand_that_starts_is_seen<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    applies!(bench.by_hand(&target, HandDeed::Start).await, "no hand can start it");
    watcher.sees(&target, "runs", is_running).await;
    let seen = observe(bench, &target).await;
    assert_eq!(watcher.condition(&target).run(), Some(run_of(&seen)));
    Verdict::Holds
}

/// A pause by hand and its end, in one run.
pub async fn a_hand_that_pauses_and_unpauses_is_seen<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    applies!(bench.by_hand(&target, HandDeed::Pause).await, "no hand can pause it");
    watcher.sees(&target, "is paused", |it| is_paused(it) && it.run() == run).await;
    bench.by_hand(&target, HandDeed::Unpause).await;
    watcher.sees(&target, "runs again", |it| is_running(it) && it.run() == run).await;
    Verdict::Holds
}

/// A restart by hand, which may be over before anybody looks.
pub async fn a_hand_that_restarts_is_seen_as_another_run<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    applies!(bench.by_hand(&target, HandDeed::Restart).await, "no hand can restart it");
    watcher.sees(&target, "runs anew", |it| is_running(it) && it.run() != run).await;
    Verdict::Holds
}

/// An end by `KILL` is seen with 137, or without a code.
pub async fn a_crash_is_seen_with_its_exit_code<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    applies!(bench.by_hand(&target, HandDeed::Kill).await, "no hand can kill it");
    watcher.sees(&target, "is stopped", is_stopped).await;
    let seen = watcher.condition(&target);
    assert_eq!(seen, Condition::Stopped { exit_code: Some(137) });
    assert_eq!(observe(bench, &target).await.condition, seen);
    Verdict::Holds
}

/// A `HUP` makes many a program read its configuration again; it goes on.
pub async fn a_hup_is_not_a_stop<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    watcher.take_story();
    applies!(bench.by_hand(&target, HandDeed::HangUp).await, "no hand can send a signal");
    applies!(bench.by_hand(&target, HandDeed::Pause).await, "nothing can be paused");
    watcher.sees(&target, "is paused", is_paused).await;
    assert_eq!(watcher.condition(&target).run(), run);
    for item in watcher.take_story() {
        if let FeedItem::Changed(found) = item
            && found.target == target
        {
            assert_eq!(found.sighting.condition.run(), run, "{:?}", found.sighting.condition);
        }
    }
    bench.by_hand(&target, HandDeed::Unpause).await;
    let seen = comes_to(bench, &target, is_running).await;
    assert_eq!(seen.condition.run(), run);
    Verdict::Holds
}

/// Another container under the same name is the same target.
pub async fn a_recreated_target_is_the_same_with_another_run<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    let run = watcher.condition(&target).run();
    applies!(bench.by_hand(&target, HandDeed::Recreate).await, "nothing can be recreated");
    watcher.sees(&target, "runs anew", |it| is_running(it) && it.run() != run).await;
    let seen = observe(bench, &target).await;
    assert_eq!(seen.condition.run(), watcher.condition(&target).run());
    assert!(is_stopped(rest(bench, &target, Rest::Stop).await.condition));
    assert!(is_running(start(bench, &target).await.condition));
    Verdict::Holds
}

/// The old name is absent, the new one is there with the same run.
pub async fn a_renamed_target_is_known_by_its_new_name<B: Bench>(bench: &B) -> Verdict {
    let old = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let new = Target::new(&format!("{old}-renamed"));
    let mut watcher = Watcher::of(&bench.provider(), &[&old, &new]).await;
    let run = watcher.condition(&old).run();
    let rename = HandDeed::Rename(new.clone());
    applies!(bench.by_hand(&old, rename).await, "nothing can be renamed");
    watcher.sees(&new, "runs", |it| is_running(it) && it.run() == run).await;
    watcher.sees(&old, "is absent", |it| it == Condition::Absent).await;
    assert_eq!(observe(bench, &old).await.condition, Condition::Absent);
    assert_eq!(observe(bench, &new).await.condition.run(), run);
    Verdict::Holds
}

/// What is removed is absent everywhere, and comes back when it is created again.
pub async fn a_removed_target_is_seen_absent<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let mut watcher = Watcher::of(&bench.provider(), &[&target]).await;
    applies!(bench.by_hand(&target, HandDeed::Remove).await, "nothing can be removed");
    watcher.sees(&target, "is absent", |it| it == Condition::Absent).await;
    assert_eq!(observe(bench, &target).await.condition, Condition::Absent);
    assert!(try_start(bench, &target).await.is_err(), "what is removed cannot be started");
    applies!(bench.by_hand(&target, HandDeed::Recreate).await, "nothing can be created");
    watcher.sees(&target, "is back", is_running).await;
    Verdict::Holds
}

/// Nobody takes anything away from anybody else.
pub async fn two_subscribers_see_the_same<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let provider = bench.provider();
    let mut first = Watcher::of(&provider, &[&target]).await;
    let mut second = Watcher::new(&provider);
    second.until(PATIENCE, "a complete listing", Watcher::is_listed).await;
    assert_eq!(second.story().first(), Some(&FeedItem::Resync));
    applies!(bench.by_hand(&target, HandDeed::Kill).await, "no hand can kill it");
    first.sees(&target, "is stopped", is_stopped).await;
    second.sees(&target, "is stopped", is_stopped).await;
    drop(first);
    start(bench, &target).await;
    second.sees(&target, "runs", is_running).await;
    Verdict::Holds
}
