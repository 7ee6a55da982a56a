//! Fleets that are told anything at all.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::fleet::{Event, Fleet, Key};
use dormouse_core::id::EnvironmentName;
use dormouse_core::lifecycle;
use dormouse_core::policy::Policy;
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
    Tell(u32, lifecycle::Event),
    Wait(Duration),
    Timers,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

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
        12 => (key(), told()).prop_map(|(key, event)| Deed::Tell(key, event)),
        3 => arbitrary::duration().prop_map(Deed::Wait),
        2 => Just(Deed::Timers),
    ]
}

/// Epochs are given out from 1, so that small ones are often those that are waited for.
fn told() -> impl Strategy<Value = lifecycle::Event> {
    arbitrary::event()
}
