//! The raw events: each once, as the engine wrote it, however often the connection is cut.

use std::time::Duration;

use dormouse_providers::docker::DockerMeter;
use dormouse_providers::{EventMode, Gap, GapCause, MeterError, RawEvent, RawItem, RunChange};
use dormouse_testkit::engine::{Event, EventFaults, FakeEngine, Fault, Rule, Survivors, stock};
use serde_json::Value;

use crate::lab::{PATIENCE, Subscription, meter_of, newest};

const POLL: EventMode = EventMode::Poll { every: Duration::from_millis(300) };

fn is_event(item: &RawItem) -> bool {
    matches!(item, RawItem::Event(_))
}

fn event(item: &RawItem) -> Option<&RawEvent> {
    match item {
        RawItem::Event(event) => Some(event),
        RawItem::Listening | RawItem::Gap(_) | RawItem::Lost(_) => None,
    }
}

/// What the engine has said of its containers so far, as it says it.
fn written(engine: &FakeEngine) -> Vec<Value> {
    let of_containers = engine.events().into_iter().filter(|event| event.kind == "container");
    of_containers.map(|event| serde_json::to_value(Event::clone(&event)).unwrap()).collect()
}

/// Reads until as many events as the engine has written have come, and checks that they are those,
/// each once and in order; answers with everything else that was said.
async fn expect_all(subscription: &mut Subscription, engine: &FakeEngine) -> Vec<RawItem> {
    let written = written(engine);
    let mut heard = Vec::new();
    let mut others = Vec::new();
    while heard.len() < written.len() {
        let item = subscription.next().await;
        match event(&item) {
            Some(event) => heard.push(value(event)),
            None => others.push(item),
        }
    }
    assert_eq!(heard, written);
    others
}

async fn churn(engine: &FakeEngine, name: &str, rounds: usize) {
    for _ in 0..rounds {
        engine.by_hand().start(name).await.unwrap();
        engine.by_hand().kill(name, "KILL").await.unwrap();
    }
}

async fn subscribed(
    engine: &FakeEngine,
    mode: EventMode,
) -> (std::sync::Arc<DockerMeter>, Subscription) {
    let meter = meter_of(engine);
    let mut subscription = Subscription::new(&meter, mode);
    subscription.until_listening().await;
    (meter, subscription)
}

#[tokio::test]
async fn every_event_of_a_container_comes_once_and_as_it_was_written() {
    for engine in [FakeEngine::docker().await, newest().await, FakeEngine::podman().await] {
        let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
        engine.by_hand().create(stock::obedient("app").label("a\"b\n", "ü\u{1F600}")).unwrap();
        churn(&engine, "app", 3).await;
        engine.by_hand().rename("app", "other").unwrap();
        engine.by_hand().remove("other").await.unwrap();
        let others = expect_all(&mut subscription, &engine).await;
        assert_eq!(others, []);
        subscription.leave().await;
    }
}

#[tokio::test]
async fn a_run_begins_with_its_start_and_ends_with_its_death() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    let id = engine.by_hand().create(stock::obedient("app")).unwrap();
    churn(&engine, "app", 1).await;
    let items = subscription
        .until(|item| event(item).is_some_and(|event| event.change == Some(RunChange::Ended)));
    let changes: Vec<Option<RunChange>> = items
        .await
        .iter()
        .filter_map(event)
        .map(|event| {
            assert_eq!(*event.id, *id);
            event.change
        })
        .collect();
    assert_eq!(changes, [None, Some(RunChange::Began), None, Some(RunChange::Ended)]);
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_by_cuts() {
    let engine = newest().await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    let mut items = Vec::new();
    for round in 0..10 {
        churn(&engine, "app", 3).await;
        engine.faults().cut_events();
        // Some cuts fall behind events that have come, and some before they have.
        if round % 3 == 0 {
            items.extend(subscription.until(is_event_of_last(&engine)).await);
            engine.faults().cut_events();
        }
    }
    let written = written(&engine);
    assert!(written.len() >= 90, "{}", written.len());
    assert!(!items.iter().any(|item| matches!(item, RawItem::Gap(_))));
    assert_eq!(items.iter().filter_map(event).map(value).collect::<Vec<_>>(), written);
}

fn value(event: &RawEvent) -> Value {
    serde_json::from_slice(&event.line).unwrap()
}

/// Whether an item is the last event that was written by now.
fn is_event_of_last(engine: &FakeEngine) -> impl Fn(&RawItem) -> bool {
    let last = written(engine).pop().unwrap();
    move |item| event(item).is_some_and(|event| value(event) == last)
}

#[tokio::test]
async fn under_cuts_doubles_and_wrong_order_every_event_still_comes_once() {
    let engine = newest().await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    engine.faults().set_events(EventFaults {
        seed: 7,
        doubled: 0.3,
        reordered: 0.3,
        ..EventFaults::default()
    });
    for _ in 0..8 {
        churn(&engine, "app", 4).await;
        engine.faults().cut_events();
    }
    let written = written(&engine);
    let mut heard = Vec::new();
    while heard.len() < written.len() {
        let item = subscription.next().await;
        assert!(!matches!(item, RawItem::Gap(_)), "{item:?}");
        heard.extend(event(&item).map(|event| event.time_nanos));
    }
    heard.sort_unstable();
    let mut expected: Vec<i64> =
        written.iter().map(|it| it["timeNano"].as_i64().unwrap()).collect();
    expected.sort_unstable();
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn polling_misses_nothing_and_doubles_nothing() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, POLL).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    for _ in 0..4 {
        churn(&engine, "app", 10).await;
        subscription.until(is_event).await;
    }
    // The first of each round were read above.
    let items = subscription.until(is_event_of_last(&engine)).await;
    assert!(!items.iter().any(|item| matches!(item, RawItem::Gap(_) | RawItem::Lost(_))));
    let polls = engine.calls().iter().filter(|call| call.op == "events").count();
    assert!(polls >= 3, "{polls} polls");
    assert!(
        engine.calls().iter().filter(|it| it.op == "events").all(|it| it.query.contains("until="))
    );
}

#[tokio::test]
async fn all_that_is_polled_is_what_was_written() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, POLL).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    churn(&engine, "app", 20).await;
    let others = expect_all(&mut subscription, &engine).await;
    assert_eq!(others, []);
}

#[tokio::test]
async fn another_mode_counts_at_once() {
    let engine = newest().await;
    let never = EventMode::Poll { every: Duration::from_secs(86_400) };
    let (_meter, mut subscription) = subscribed(&engine, never).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    subscription.mode.send_replace(EventMode::Stream);
    let others = expect_all(&mut subscription, &engine).await;
    assert!(others.iter().all(|item| *item == RawItem::Listening), "{others:?}");
    subscription.mode.send_replace(POLL);
    subscription.until_listening().await;
    churn(&engine, "app", 1).await;
    subscription.until(is_event_of_last(&engine)).await;
}

#[tokio::test]
async fn an_engine_that_was_started_anew_leaves_a_gap_that_is_said() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    engine.by_hand().start("app").await.unwrap();
    subscription.until(is_event_of_last(&engine)).await;
    let last = written(&engine).pop().unwrap()["timeNano"].as_i64();
    engine.kill().await;
    let lost = subscription.until(|item| matches!(item, RawItem::Lost(_))).await;
    assert!(matches!(lost.last(), Some(RawItem::Lost(MeterError::Unreachable(_)))), "{lost:?}");
    engine.restart(Survivors::Live).await;
    let items = subscription.until(|item| matches!(item, RawItem::Gap(_))).await;
    assert!(items.contains(&RawItem::Listening), "{items:?}");
    let gap = Gap { since_nanos: last, cause: GapCause::Forgotten };
    assert_eq!(items.last(), Some(&RawItem::Gap(gap)));
}

#[tokio::test]
async fn more_events_than_the_engine_remembers_leave_a_gap_that_is_said() {
    for mode in [EventMode::Stream, POLL] {
        let engine = newest().await;
        let (_meter, mut subscription) = subscribed(&engine, mode).await;
        engine.by_hand().create(stock::obedient("app")).unwrap();
        subscription.until(is_event).await;
        engine.faults().add(Rule::any(Fault::Drop).path("/events"));
        engine.faults().cut_events();
        churn(&engine, "app", 120).await;
        engine.faults().clear();
        let items = subscription.until(is_event_of_last(&engine)).await;
        let gaps = items
            .iter()
            .filter(|it| matches!(it, RawItem::Gap(gap) if gap.cause == GapCause::Forgotten));
        assert_eq!(gaps.count(), 1, "{mode:?}");
        let first_event = items.iter().position(is_event);
        let gap = items.iter().position(|item| matches!(item, RawItem::Gap(_)));
        assert!(gap < first_event, "{mode:?}: the gap comes before what comes after it");
    }
}

#[tokio::test]
async fn a_quiet_cut_leaves_no_gap() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    subscription.until(is_event).await;
    engine.faults().cut_events();
    subscription.until_listening().await;
    // Long enough for a replay that does not begin to be found out.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    engine.by_hand().start("app").await.unwrap();
    let items = subscription.until(is_event).await;
    assert!(items.iter().all(is_event), "{items:?}");
}

#[tokio::test]
async fn refused_credentials_are_said_and_tried_again() {
    let engine = newest().await;
    let refusal = Fault::Answer { status: 401, body: r#"{"message":"bad token"}"#.into() };
    engine.faults().add(Rule::any(refusal));
    let meter = meter_of(&engine);
    let mut subscription = Subscription::new(&meter, EventMode::Stream);
    let expected = RawItem::Lost(MeterError::Credentials("bad token".into()));
    assert_eq!(subscription.next().await, expected);
    assert_eq!(subscription.next().await, expected);
    engine.faults().clear();
    subscription.until_listening().await;
}

#[tokio::test]
async fn lines_that_are_no_events_are_counted_and_passed_over() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    engine.faults().set_events(EventFaults { garbage: 1.0, ..EventFaults::default() });
    engine.by_hand().create(stock::obedient("app")).unwrap();
    let items = subscription.until(is_event).await;
    let unreadable = |item: &RawItem| {
        matches!(item, RawItem::Gap(Gap { cause: GapCause::Unreadable { lines: 1 }, .. }))
    };
    assert!(items.iter().any(unreadable), "{items:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_read_slows_nobody_and_is_told_what_it_missed() {
    let engine = newest().await;
    let (_meter, mut subscription) = subscribed(&engine, EventMode::Stream).await;
    engine.by_hand().create(stock::obedient("app")).unwrap();
    churn(&engine, "app", 800).await;
    let events = written(&engine).len() as u64;
    let (mut heard, mut missed) = (0, 0);
    let count = async {
        while heard + missed < events {
            match subscription.next().await {
                RawItem::Event(_) => heard += 1,
                RawItem::Gap(Gap { cause: GapCause::Overrun { events }, .. }) => missed += events,
                RawItem::Gap(Gap { cause, .. }) => panic!("the engine was heard well: {cause:?}"),
                RawItem::Listening | RawItem::Lost(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, count).await.expect("each is heard or counted");
    assert!(missed > 0 && heard >= 1_000, "{heard} heard, {missed} missed");
    assert_eq!(heard + missed, events);
}
