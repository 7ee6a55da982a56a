//! What becomes of the Docker provider when its engine, or the way to it, misbehaves.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod place;

use std::time::Duration;

use dormouse_core::policy::Rest;
use dormouse_core::{Condition, limits};
use dormouse_providers::docker::DockerEndpoint;
use dormouse_providers::{FeedItem, Provider, ProviderError, Target};
use dormouse_testkit::engine::{
    ApiVersion, ContainerSpec, EngineConfig, EventFaults, FakeEngine, Fault, OnTerm, Rule,
    Survivors, stock,
};
use tokio::time::Instant;

use place::{
    Place, is_absent, is_paused, is_running, is_stopped, provider_at, soon, targets, until,
};

fn own(name: &str) -> ContainerSpec {
    stock::obedient(name).label("dormouse.enable", "true")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_the_events_loses_nothing_and_costs_a_listing() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let mut feed = place.feed();
    feed.resync().await;
    // A connection that has just been opened is not tried again in silence.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        place.as_fake().faults().cut_events();
        place.start_by_hand(&target).await;
        feed.until(&target, is_running).await;
        place.stop_by_hand(&target).await;
        feed.until(&target, is_stopped).await;
    }
    until("it has listed again", async || place.provider.stats().listings >= 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_is_lost_once_and_found_within_a_second_of_its_return() {
    let place = Place::fake().await;
    let engine = place.as_fake();
    let target = place.create(own("app")).await;
    let mut feed = place.feed();
    assert_eq!(targets(&feed.resync().await).len(), 1);
    for survivors in [Survivors::Live, Survivors::Die] {
        place.start_by_hand(&target).await;
        feed.until(&target, is_running).await;
        engine.kill().await;
        feed.until_lost().await;
        let refused = place.provider.observe(&target, soon()).await;
        assert!(matches!(refused, Err(ProviderError::Unreachable(_))), "{refused:?}");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(feed.arrived(), [], "a loss is said once");

        engine.restart(survivors).await;
        let back = Instant::now();
        let listing = feed.resync().await;
        assert!(back.elapsed() < Duration::from_millis(1500), "{:?}", back.elapsed());
        assert_eq!(listing[0].target, target);
        let lives = is_running(listing[0].sighting.condition);
        assert_eq!(lives, survivors == Survivors::Live);
        place.stop_by_hand(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_there_yet_is_found_when_it_comes() {
    let place = Place::fake().await;
    place.as_fake().kill().await;
    let mut feed = place.feed();
    let reason = feed.until_lost().await;
    assert!(reason.contains("docker.sock: No such file"), "{reason}");
    let mut late = place.feed();
    late.until_lost().await;
    place.as_fake().restart(Survivors::Live).await;
    feed.resync().await;
    late.resync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_accepts_and_never_answers_is_lost() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let mut feed = place.feed();
    feed.resync().await;
    place.as_fake().faults().add(Rule::any(Fault::Hang));
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(200);
    let slow = place.provider.observe(&target, deadline).await;
    assert_eq!(slow.unwrap_err(), ProviderError::Timeout("observe"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let reason = feed.until_lost().await;
    assert!(reason.contains("not answered"), "{reason}");
    let bound = limits::RESYNC_EVERY + limits::ENGINE_PING_MAX + Duration::from_secs(2);
    assert!(begun.elapsed() < bound, "{:?}", begun.elapsed());

    place.as_fake().faults().clear();
    feed.resync().await;
    place.start(&target).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_ping_is_a_sign_of_life() {
    let place = Place::fake().await;
    let engine = place.as_fake();
    place.create(own("app")).await;
    let mut feed = place.feed();
    feed.resync().await;
    let refusal = Fault::Answer { status: 403, body: String::new() };
    engine.faults().add(Rule::any(refusal).path("/_ping"));
    until("it has been refused, and lists all the same", async || {
        let calls = engine.calls();
        let pinged = calls.iter().position(|call| call.op == "_ping");
        pinged.is_some_and(|at| {
            calls[at..].iter().any(|call| call.path.ends_with("/containers/json"))
        })
    })
    .await;
    assert!(!feed.arrived().iter().any(|item| matches!(item, FeedItem::Lost { .. })));
    assert_eq!(place.provider.stats().losses, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_never_come_are_made_up_for() {
    let place = Place::fake().await;
    let lost = EventFaults { lost: 1.0, ..EventFaults::default() };
    place.as_fake().faults().set_events(lost);
    let target = place.create(own("app")).await;
    let other = place.create(stock::obedient("other")).await;
    let mut feed = place.feed();
    feed.resync().await;
    place.start_by_hand(&target).await;
    place.remove_by_hand(&other).await;
    let begun = Instant::now();
    let mut missing = vec![&target, &other];
    while !missing.is_empty() {
        let found = feed.news_of_any(&missing).await;
        let condition = found.sighting.condition;
        assert!(if found.target == target { is_running(condition) } else { is_absent(condition) });
        missing.retain(|target| **target != found.target);
    }
    assert!(begun.elapsed() < limits::RESYNC_EVERY + Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_no_event_told_is_seen() {
    let place = Place::fake().await;
    let target = place.running(own("app")).await;
    let mut feed = place.feed();
    feed.resync().await;
    let first = place.condition(&target).await.run();
    let lost = EventFaults { lost: 1.0, ..EventFaults::default() };
    place.as_fake().faults().set_events(lost);
    place.as_fake().by_hand().restart(target.as_str()).await.unwrap();
    // Whatever ran before may be said once more first.
    feed.until(&target, |condition| condition.run().is_some_and(|run| Some(run) != first)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_lost_late_doubled_and_among_garbage_lead_to_the_truth() {
    let place = Place::fake().await;
    place.as_fake().faults().set_events(EventFaults {
        seed: 7,
        lost: 0.3,
        doubled: 0.5,
        reordered: 0.5,
        delay: Duration::from_millis(20),
        garbage: 0.5,
        long: 0.05,
        long_bytes: limits::ENGINE_EVENT_BYTES_MAX + 10,
    });
    let mut created = Vec::new();
    for n in 0..5 {
        created.push(place.create(own(&format!("app{n}"))).await);
    }
    let mut feed = place.feed();
    feed.resync().await;
    for round in 0..10 {
        for (n, target) in created.iter().enumerate() {
            if (round + n) % 2 == 0 {
                place.start_by_hand(target).await;
            } else {
                place.stop_by_hand(target).await;
            }
        }
    }
    for (n, target) in created.iter().enumerate() {
        place.stop_by_hand(target).await;
        if n.is_multiple_of(2) {
            place.start_by_hand(target).await;
        }
    }
    let mut conditions = std::collections::BTreeMap::new();
    let give_up_at = soon();
    loop {
        for item in feed.arrived() {
            if let FeedItem::Changed(found) | FeedItem::Listed(found) = item {
                conditions.insert(found.target, found.sighting.condition);
            }
        }
        let is_true = |(n, target): (usize, &_)| match conditions.get(target) {
            Some(condition) if n.is_multiple_of(2) => is_running(*condition),
            Some(condition) => is_stopped(*condition),
            None => false,
        };
        if created.iter().enumerate().all(is_true) {
            break;
        }
        assert!(Instant::now() < give_up_at, "{conditions:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stats = place.provider.stats();
    assert!(stats.lines_skipped > 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_keeps_nobody_waiting() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let _never_read = place.feed();
    let mut feed = place.feed();
    feed.resync().await;
    for _ in 0..20 {
        place.start_by_hand(&target).await;
        feed.until(&target, is_running).await;
        place.stop_by_hand(&target).await;
        feed.until(&target, is_stopped).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_feed_serves_every_subscriber() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let mut feeds: Vec<_> = (0..10).map(|_| place.feed()).collect();
    for feed in &mut feeds {
        assert_eq!(feed.resync().await.len(), 1);
    }
    place.start_by_hand(&target).await;
    for feed in &mut feeds {
        feed.until(&target, is_running).await;
    }
    let streams = place.as_fake().calls().iter().filter(|call| call.op == "events").count();
    assert_eq!(streams, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_gone_stale_is_noticed_by_nobody() {
    let place = Place::fake().await;
    let target = place.running(own("app")).await;
    for _ in 0..5 {
        place.condition(&target).await;
        place.as_fake().restart(Survivors::Live).await;
        assert!(is_running(place.condition(&target).await));
        place.rest(&target, Rest::Pause, Duration::ZERO).await.unwrap();
        place.start(&target).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_answer_is_lost_is_not_done_twice() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let faults = place.as_fake().faults();
    for fault in [Fault::Drop, Fault::DropAfterDeed, Fault::Truncate] {
        let before = place.as_fake().starts(target.as_str());
        faults.add(Rule::any(fault.clone()).method("POST").path("/start").times(1));
        let started = place.start(&target).await.unwrap();
        assert!(is_running(started.condition));
        assert_eq!(place.as_fake().starts(target.as_str()), before + 1, "{fault:?}");
        place.rest(&target, Rest::Stop, Duration::ZERO).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_at_any_moment_of_a_stop_ends_in_a_container_that_stays() {
    let places = [Place::fake().await, Place::podman().await, Place::newest().await];
    let races = places.iter().flat_map(|place| (0..60).map(move |n| start_during_stop(place, n)));
    futures_util::future::join_all(races).await;
}

/// Half of the stops are waited for, half are given up when the start is ordered.
async fn start_during_stop(place: &Place, n: u32) {
    let after = Duration::from_millis(100);
    let slow = own(&format!("app{n}")).behaving(|it| it.on_term = OnTerm::Exit { after, code: 0 });
    let target = place.running(slow).await;
    let offset = Duration::from_millis(u64::from(n) * 3);
    let stop = place.rest(&target, Rest::Stop, Duration::from_secs(1));
    let started = if n.is_multiple_of(2) {
        let start = async {
            tokio::time::sleep(offset).await;
            place.start(&target).await
        };
        tokio::join!(stop, start).1
    } else {
        let _ = tokio::time::timeout(offset, stop).await;
        place.start(&target).await
    };
    let started = started.unwrap().condition;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let now = place.condition(&target).await;
    // A start that came before the stop was ordered is answered, and then stopped: nobody lied.
    let was_first = n.is_multiple_of(2) && n < 20;
    assert!(now == started || was_first, "{target} at {offset:?}: {started:?}, then {now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_whose_answer_is_lost_is_seen_through() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let faults = place.as_fake().faults();
    for fault in [Fault::Drop, Fault::DropAfterDeed] {
        place.start(&target).await.unwrap();
        faults.add(Rule::any(fault.clone()).method("POST").path("/stop").times(1));
        let rested = place.rest(&target, Rest::Stop, Duration::from_secs(1)).await.unwrap();
        assert!(is_stopped(rested.condition), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_never_believed() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let faults = place.as_fake().faults();
    let lie = |status| Fault::Answer { status, body: String::new() };
    for status in [204, 304] {
        faults.add(Rule::any(lie(status)).path("/start").times(3));
        assert!(is_running(place.start(&target).await.unwrap().condition));
        faults.add(Rule::any(lie(status)).path("/stop").times(3));
        let rested = place.rest(&target, Rest::Stop, Duration::ZERO).await.unwrap();
        assert!(is_stopped(rested.condition));
    }
    place.feed().resync().await;
    for status in [204, 304, 404, 500] {
        assert!(is_running(place.start(&target).await.unwrap().condition));
        place.rest(&target, Rest::Pause, Duration::ZERO).await.unwrap();
        faults.add(Rule::any(lie(status)).path("/unpause").times(1));
        assert!(is_running(place.start(&target).await.unwrap().condition), "{status}");
    }
    place.rest(&target, Rest::Stop, Duration::ZERO).await.unwrap();
    faults.add(Rule::any(lie(204)).path("/start"));
    let deadline = Instant::now() + Duration::from_millis(300);
    let never = place.provider.start(&target, &Default::default(), deadline).await;
    assert_eq!(never.unwrap_err(), ProviderError::Timeout("start"));
}

/// An engine whose events are lost: what its provider knows is what it was answered.
async fn without_events(place: &Place) -> Target {
    let lost = EventFaults { lost: 1.0, ..EventFaults::default() };
    place.as_fake().faults().set_events(lost);
    let target = place.create(own("app")).await;
    place.feed().resync().await;
    place.start(&target).await.unwrap();
    target
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_from_pause_is_an_unpause_and_one_look() {
    for place in [Place::fake().await, Place::podman().await, Place::newest().await] {
        let target = without_events(&place).await;
        place.rest(&target, Rest::Pause, Duration::ZERO).await.unwrap();
        let before = place.as_fake().calls().len();
        let woken = place.start(&target).await.unwrap();
        assert!(is_running(woken.condition) && !woken.addresses.is_empty());
        let calls = place.as_fake().calls().split_off(before);
        let calls: Vec<&str> = calls.iter().map(|call| call.op.as_str()).collect();
        assert_eq!(calls, ["unpause", "inspect"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paused_and_is_not_any_more_is_started_all_the_same() {
    for place in [Place::fake().await, Place::podman().await, Place::newest().await] {
        let target = without_events(&place).await;
        let other = place.target("other");
        for change in 0..4 {
            place.rest(&target, Rest::Pause, Duration::ZERO).await.unwrap();
            let paused = place.condition(&target).await;
            match change {
                0 => place.unpause_by_hand(&target).await,
                1 => place.kill_by_hand(&target, "KILL").await,
                2 => {
                    place.remove_by_hand(&target).await;
                    place.create(own("app")).await;
                }
                _ => {
                    place.rename_by_hand(&target, &other).await;
                    place.create(own("app")).await;
                }
            }
            let started = place.start(&target).await.unwrap().condition;
            assert!(is_running(started), "after change {change}: {started:?}");
            assert_eq!(started.run() == paused.run(), change == 0);
        }
        assert!(is_paused(place.condition(&other).await), "nobody asked for it");
        place.remove_by_hand(&target).await;
        let gone = place.start(&target).await;
        assert_eq!(gone.unwrap_err(), ProviderError::Absent(target));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_do_not_matter_do_not() {
    let place = Place::fake().await;
    let target = place.create(own("app")).await;
    let faults = place.as_fake().faults();
    let refusal = Fault::Answer { status: 500, body: r#"{"message":"out of cheese"}"#.into() };
    faults.add(Rule::any(refusal.clone()).path("/start").times(1));
    let refused = place.start(&target).await.unwrap_err();
    assert_eq!(refused, ProviderError::Refused("out of cheese".into()));
    place.start(&target).await.unwrap();

    faults.add(Rule::any(refusal.clone()).path("/stop"));
    let refused = place.rest(&target, Rest::Stop, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused, ProviderError::Refused("out of cheese".into()));
    // It can be started at once: the order to stop is known to have come to nothing.
    assert!(is_running(place.start(&target).await.unwrap().condition));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_make_no_sense_are_errors_and_hurt_one_call() {
    let place = Place::fake().await;
    let target = place.running(own("app")).await;
    let faults = place.as_fake().faults();
    for fault in [Fault::Garbage, Fault::CutAfter(100), Fault::Truncate] {
        // A look whose connection broke is taken once more.
        faults.add(Rule::any(fault.clone()).path("/json").times(2));
        let spoilt = place.provider.observe(&target, soon()).await;
        assert!(matches!(spoilt, Err(ProviderError::Unreachable(_))), "{fault:?}: {spoilt:?}");
        faults.clear();
        assert!(is_running(place.condition(&target).await), "{fault:?}");
    }
    let huge = "x".repeat(limits::ENGINE_ANSWER_BYTES_MAX + 1);
    faults.add(Rule::any(Fault::Answer { status: 200, body: huge }).path("/json").times(1));
    let Err(ProviderError::Unreachable(reason)) = place.provider.observe(&target, soon()).await
    else {
        panic!("nobody reads that much")
    };
    assert!(reason.contains("longer than"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_container_that_cannot_be_shown_hides_no_other() {
    let place = Place::fake().await;
    let bad = place.running(own("bad")).await;
    let good = place.running(own("good").exposing(80)).await;
    let refusal = Fault::Answer { status: 500, body: "{}".into() };
    place.as_fake().faults().add(Rule::any(refusal).path(&format!("/{bad}/json")));
    let listing = place.provider.list(soon()).await.unwrap();
    assert_eq!(listing.len(), 2);
    let good = listing.iter().find(|found| found.target == good).unwrap();
    assert!(!good.sighting.addresses.is_empty());
    let bad = listing.iter().find(|found| found.target == bad).unwrap();
    assert!(is_running(bad.sighting.condition));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_on_its_way_out_is_absent() {
    let place = Place::fake().await;
    let slow = own("app").behaving(|it| it.remove_delay = Duration::from_millis(500));
    let target = place.create(slow).await;
    let engine = place.as_fake();
    let removal = async {
        engine.by_hand().remove(target.as_str()).await.unwrap();
    };
    let look = async {
        until("it is removing", async || engine.state_of(target.as_str()) == Some("removing"))
            .await;
        assert_eq!(place.condition(&target).await, Condition::Absent);
        let absent = ProviderError::Absent(target.clone());
        assert_eq!(place.start(&target).await.unwrap_err(), absent);
        assert_eq!(place.provider.list(soon()).await.unwrap(), []);
    };
    tokio::join!(removal, look);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_speaks_no_known_version_is_told() {
    let engine = FakeEngine::with(EngineConfig {
        min_api_version: ApiVersion::new(1, 90),
        api_version: ApiVersion::new(1, 99),
        ..EngineConfig::docker_29()
    })
    .await;
    let provider = provider_at(DockerEndpoint::parse(&engine.endpoint()).unwrap());
    let Err(ProviderError::Misconfigured(reason)) = provider.list(soon()).await else {
        panic!("no version is common")
    };
    assert!(reason.contains("1.90") && reason.contains("1.99"), "{reason}");
}
