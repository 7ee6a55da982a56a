//! Fleets that are told anything at all.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::fleet::{Effect, Event, Fleet, Key};
use dormouse_core::id::{EnvironmentName, Epoch};
use dormouse_core::lifecycle;
use dormouse_core::limits;
use dormouse_core::load::Load;
use dormouse_core::observation::{Condition, Health, Observation, RunId};
use dormouse_core::policy::{Need, Policy, Until};
use dormouse_core::progress::StepKind;
use dormouse_core::time::Timestamp;
use proptest::option;
use proptest::prelude::*;

use crate::arbitrary;

/// Something that is done to a fleet.
#[derive(Clone, Debug)]
enum Deed {
    Define(&'static str, Policy),
    Misdefine(&'static str),
    Forget(&'static str),
    Reach,
    Lose,
    Pin(u32, Option<Timestamp>),
    Unpin(u32),
    Measure(u32, Load),
    Tell(u32, lifecycle::Event),
    Wait(Duration),
    Timers,
}

proptest! {
    #![proptest_config(arbitrary::config(512))]

    #[test]
    fn a_fleet_survives_anything_and_keeps_its_own_time(
        deeds in prop::collection::vec(deed(), 1..120),
    ) {
        let mut fleet = Fleet::new(7);
        let mut now = Timestamp::ZERO;
        for deed in deeds {
            now = perform(&mut fleet, deed, now);
            if now > Timestamp::ZERO {
                fleet.handle_timeout(now);
                prop_assert!(fleet.poll_timeout().is_none_or(|(at, _)| at > now));
            }
            while fleet.poll_effect().is_some() {}
            explains_itself(&fleet, now)?;
            every_deadline_is_armed(&fleet)?;
        }
    }

    #[test]
    fn equal_seeds_and_events_give_equal_effects(
        deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let (mut one, mut other) = (Fleet::new(3), Fleet::new(3));
        let mut now = Timestamp::ZERO;
        for deed in deeds {
            let then = perform(&mut one, deed.clone(), now);
            perform(&mut other, deed, now);
            now = then;
            loop {
                let (a, b) = (one.poll_effect(), other.poll_effect());
                prop_assert_eq!(&a, &b);
                if a.is_none() {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_story_has_a_bound_and_an_end() {
    let mut fleet = Fleet::new(7);
    let mut at = 0;
    let mut tell = |fleet: &mut Fleet, event: Event| {
        at += 1;
        fleet.handle(event, Timestamp::from_millis(at));
    };
    let wake = lifecycle::Event::Wanted(lifecycle::WakeCause::Request);
    let needs = vec![Need { on: arbitrary::id("db"), until: Until::Ready }];
    let policy = |patience: u64| {
        let drain_timeout = Duration::from_secs(patience);
        Policy { needs: needs.clone(), drain_timeout, ..Policy::default() }
    };
    let define = |name: &str, policy: Policy| Event::Define {
        id: arbitrary::id(name),
        policy: Arc::new(policy),
    };
    tell(&mut fleet, define("db", Policy::default()));
    tell(&mut fleet, define("blog", policy(0)));
    let blog = fleet.key(&arbitrary::id("blog")).expect("it is defined");
    tell(&mut fleet, Event::Workload(blog, wake));
    for patience in 1..200 {
        tell(&mut fleet, define("blog", policy(patience)));
    }
    tell(&mut fleet, Event::Forget { id: arbitrary::id("blog") });
    let mut told = Vec::new();
    while let Some(effect) = fleet.poll_effect() {
        if let Effect::Act(key, lifecycle::Effect::Tell(step)) = effect
            && key == blog
        {
            told.push(step.kind);
        }
    }
    assert_eq!(told.len(), limits::STORY_STEPS_MAX);
    assert_eq!(told.last(), Some(&StepKind::Error));
}

#[test]
fn a_stale_answer_overtakes_no_look() {
    let run = RunId(1);
    let stale = Epoch(u64::MAX);
    let as_of = Timestamp::from_millis(9);
    let stopped = Condition::Stopped { exit_code: Some(1) };
    let answers = [
        lifecycle::Event::Started { epoch: stale, as_of, result: Ok(run) },
        lifecycle::Event::Rested { epoch: stale, as_of, result: Ok(stopped) },
    ];
    for answer in answers {
        let mut fleet = Fleet::new(7);
        let policy = Arc::new(Policy::default());
        fleet.handle(Event::Define { id: arbitrary::id("blog"), policy }, Timestamp::ZERO);
        let blog = fleet.key(&arbitrary::id("blog")).expect("it is defined");
        let mut tell = |at: u64, event: lifecycle::Event| {
            fleet.handle(Event::Workload(blog, event), Timestamp::from_millis(at));
            fleet.phase(blog).map(lifecycle::Phase::name)
        };
        let look = |condition: Condition, at: u64| {
            let as_of = Timestamp::from_millis(at);
            lifecycle::Event::Observed(Observation { condition, as_of })
        };
        let running = Condition::Running { run, health: Health::Undeclared };
        assert_eq!(tell(1, look(running, 1)), Some("waking"));
        assert_eq!(tell(10, answer), Some("waking"));
        let removed = tell(11, look(Condition::Absent, 8));
        assert_eq!(removed, Some("gone"), "a look from before the stale answer is believed");
    }
}

fn perform(fleet: &mut Fleet, deed: Deed, now: Timestamp) -> Timestamp {
    let event = match deed {
        Deed::Define(name, policy) => {
            Event::Define { id: arbitrary::id(name), policy: Arc::new(policy) }
        }
        Deed::Misdefine(name) => {
            Event::Misdefine { id: arbitrary::id(name), message: "it is wrong".to_owned() }
        }
        Deed::Forget(name) => Event::Forget { id: arbitrary::id(name) },
        Deed::Reach => Event::EnvironmentReached(EnvironmentName::new("box")),
        Deed::Lose => Event::EnvironmentLost(EnvironmentName::new("box")),
        Deed::Pin(key, until) => Event::Pin { key: Key(key), until },
        Deed::Unpin(key) => Event::Unpin { key: Key(key) },
        Deed::Measure(key, load) => Event::Measured { key: Key(key), load },
        Deed::Tell(key, event) => Event::Workload(Key(key), event),
        Deed::Wait(time) => return now + time,
        Deed::Timers => {
            fleet.handle_timeout(now);
            return now;
        }
    };
    fleet.handle(event, now);
    now
}

fn explains_itself(fleet: &Fleet, now: Timestamp) -> Result<(), TestCaseError> {
    for (id, key) in fleet.workloads() {
        let explained = fleet.explain(key, None, now).expect("it is defined");
        prop_assert_eq!(&explained.id, id);
        prop_assert_eq!(Some(explained.phase), fleet.phase(key).map(lifecycle::Phase::name));
        prop_assert!(!explained.why.is_empty());
        let next = fleet.phase(key).and_then(lifecycle::Phase::deadline);
        prop_assert_eq!(explained.next, next);
        let held: Vec<_> = fleet.dependents(key).filter_map(|key| fleet.id(key)).collect();
        prop_assert_eq!(explained.dependents.iter().collect::<Vec<_>>(), held);
    }
    Ok(())
}

fn every_deadline_is_armed(fleet: &Fleet) -> Result<(), TestCaseError> {
    let armed = fleet.poll_timeout().map(|(at, _)| at);
    for (_, key) in fleet.workloads() {
        if let Some((due, _)) = fleet.phase(key).and_then(lifecycle::Phase::deadline) {
            prop_assert!(armed.is_some_and(|armed| armed <= due));
        }
    }
    Ok(())
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    let key = || 0_u32..6;
    prop_oneof![
        3 => (name(), arbitrary::policy()).prop_map(|(name, policy)| Deed::Define(name, policy)),
        1 => name().prop_map(Deed::Misdefine),
        1 => name().prop_map(Deed::Forget),
        1 => Just(Deed::Reach),
        1 => Just(Deed::Lose),
        1 => (key(), option::of(arbitrary::now())).prop_map(|(key, until)| Deed::Pin(key, until)),
        1 => key().prop_map(Deed::Unpin),
        2 => (key(), arbitrary::reading()).prop_map(|(key, load)| Deed::Measure(key, load)),
        12 => (key(), told()).prop_map(|(key, event)| Deed::Tell(key, event)),
        3 => arbitrary::duration().prop_map(Deed::Wait),
        2 => Just(Deed::Timers),
    ]
}

/// Epochs are given out from 1, so that small ones are often those that are waited for.
fn told() -> impl Strategy<Value = lifecycle::Event> {
    arbitrary::event()
}
