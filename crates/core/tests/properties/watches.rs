//! Watches that are told anything at all.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::id::Epoch;
use dormouse_core::limits;
use dormouse_core::time::Timestamp;
use dormouse_core::watch::{Effect, Event, Settings, State, TimerReason, Watch};
use proptest::prelude::*;

use crate::arbitrary;

/// Something that is done to a watch.
#[derive(Clone, Debug)]
enum Deed {
    /// The probe in flight, if there is one, answers.
    Answer(Result<(), &'static str>),
    Tell(Event),
    /// Time passes up to the next deadline, or not that far.
    Wait(Option<Duration>),
}

/// What the outside saw of a watch.
#[derive(Default)]
struct Outside {
    in_flight: Option<Epoch>,
    state: Option<State>,
}

proptest! {
    #![proptest_config(arbitrary::config(2048))]

    #[test]
    fn a_watch_survives_anything_and_keeps_its_promises(
        settings in settings(), seed: u64, deeds in prop::collection::vec(deed(), 1..100),
    ) {
        let policy = settings.validated().unwrap();
        let mut watch = Watch::new(policy, seed, Timestamp::ZERO);
        let mut outside = Outside { state: Some(State::Pending), ..Outside::default() };
        let mut now = Timestamp::ZERO;
        watch.handle(Event::Started, now);
        outside.take(&mut watch, &settings, now)?;
        for deed in deeds {
            let reason = watch.poll_timeout().map(|(_, reason)| reason);
            now = perform(&mut watch, &mut outside, deed, now);
            watch.handle_timeout(now);
            prop_assert!(watch.poll_timeout().is_none_or(|(at, _)| at > now));
            outside.take(&mut watch, &settings, now)?;
            let status = watch.status();
            prop_assert_eq!(Some(status.state), outside.state);
            prop_assert_eq!(status.failures > 0, status.last_error.is_some());
            prop_assert!(status.since <= now);
            prop_assert!(status.state != State::Up || status.failures < settings.fall);
            prop_assert!(status.next_check.is_none_or(|at| at > now || outside.in_flight.is_some()));
            prop_assert!(reason.is_some() || watch.poll_timeout().is_none());
        }
    }

    #[test]
    fn the_answer_to_another_question_changes_nothing_of_a_watch(
        settings in settings(), seed: u64, deeds in prop::collection::vec(deed(), 1..60),
        stale in 0_u64..80, works: bool,
    ) {
        let mut watch = Watch::new(settings.validated().unwrap(), seed, Timestamp::ZERO);
        let mut outside = Outside { state: Some(State::Pending), ..Outside::default() };
        let mut now = Timestamp::ZERO;
        watch.handle(Event::Started, now);
        outside.take(&mut watch, &settings, now)?;
        for deed in deeds {
            now = perform(&mut watch, &mut outside, deed, now);
            watch.handle_timeout(now);
            outside.take(&mut watch, &settings, now)?;
        }
        let before = (watch.status(), watch.poll_timeout());
        let result = if works { Ok(()) } else { Err("refused".into()) };
        let epoch = Epoch(stale);
        if outside.in_flight != Some(epoch) {
            watch.handle(Event::Answered { epoch, result }, now);
            prop_assert_eq!((watch.status(), watch.poll_timeout()), before);
            prop_assert_eq!(watch.poll_effect(), None);
        }
    }

    #[test]
    fn no_wait_is_longer_than_its_reason_allows(
        settings in settings(), seed: u64, deeds in prop::collection::vec(deed(), 1..100),
    ) {
        let mut watch = Watch::new(settings.validated().unwrap(), seed, Timestamp::ZERO);
        let mut outside = Outside { state: Some(State::Pending), ..Outside::default() };
        let mut now = Timestamp::ZERO;
        watch.handle(Event::Started, now);
        outside.take(&mut watch, &settings, now)?;
        for deed in deeds {
            now = perform(&mut watch, &mut outside, deed, now);
            watch.handle_timeout(now);
            outside.take(&mut watch, &settings, now)?;
            let Some((at, reason)) = watch.poll_timeout() else { continue };
            let longest = match reason {
                TimerReason::ProbeDeadline => settings.probe_timeout,
                TimerReason::Startup | TimerReason::Confirm | TimerReason::Reprobe => settings.max_delay,
                TimerReason::Poll => settings.poll_interval,
                TimerReason::Kick => limits::WATCH_PROBE_GAP_MIN,
            };
            prop_assert!(at.since(now) <= longest, "{:?} {:?}", reason, at.since(now));
        }
    }

    #[test]
    fn equal_seeds_and_events_give_equal_effects(
        seed: u64, deeds in prop::collection::vec(deed(), 1..60),
    ) {
        let policy = Settings::default().validated().unwrap();
        let mut one = Watch::new(policy, seed, Timestamp::ZERO);
        let mut other = one.clone();
        let (mut outside, mut beside) = (Outside::default(), Outside::default());
        let (mut now, mut then) = (Timestamp::ZERO, Timestamp::ZERO);
        for deed in deeds {
            now = perform(&mut one, &mut outside, deed.clone(), now);
            then = perform(&mut other, &mut beside, deed, then);
            prop_assert_eq!(one.poll_timeout(), other.poll_timeout());
            prop_assert_eq!(one.status(), other.status());
            prop_assert_eq!(one.poll_effect(), other.poll_effect());
        }
    }
}

impl Outside {
    fn take(
        &mut self,
        watch: &mut Watch,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), TestCaseError> {
        while let Some(effect) = watch.poll_effect() {
            match effect {
                Effect::Probe { epoch, deadline } => {
                    prop_assert_eq!(deadline, now + settings.probe_timeout);
                    prop_assert_eq!(self.in_flight.replace(epoch), None, "two probes at a time");
                }
                Effect::Abandon { epoch } => {
                    prop_assert_eq!(self.in_flight.take(), Some(epoch));
                }
                Effect::Moved(transition) => {
                    prop_assert_eq!(Some(transition.from), self.state);
                    prop_assert_ne!(transition.from, transition.to);
                    prop_assert_ne!(transition.to, State::Pending);
                    prop_assert_eq!(transition.to == State::Down, transition.error.is_some());
                    prop_assert_eq!(transition.at, now);
                    self.state = Some(transition.to);
                }
            }
        }
        Ok(())
    }
}

fn perform(watch: &mut Watch, outside: &mut Outside, deed: Deed, now: Timestamp) -> Timestamp {
    match deed {
        Deed::Answer(result) => {
            if let Some(epoch) = outside.in_flight.take() {
                let result = result.map_err(Arc::from);
                watch.handle(Event::Answered { epoch, result }, now);
            }
            now
        }
        Deed::Tell(event) => {
            if let Event::Answered { epoch, .. } = &event {
                outside.in_flight.take_if(|asked| asked == epoch);
            }
            watch.handle(event, now);
            now
        }
        Deed::Wait(Some(time)) => now + time,
        Deed::Wait(None) => watch.poll_timeout().map_or(now, |(at, _)| at.max(now)),
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let delays = (1_u64..5_000, 0_u64..100_000, 1.0..10.0);
    let counts = (1_u32..5, 1_u32..4, 1_u32..4);
    (delays, counts, 1_u64..100_000, 1_u64..20_000).prop_map(
        |((first, more, multiplier), (max_retries, fall, rise), poll, timeout)| Settings {
            initial_delay: Duration::from_millis(first),
            max_delay: Duration::from_millis(first + more),
            multiplier,
            max_retries,
            poll_interval: Duration::from_millis(poll),
            probe_timeout: Duration::from_millis(timeout),
            fall,
            rise,
        },
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    let result = || prop_oneof![Just(Ok(())), Just(Err("refused"))];
    let stale = (0_u64..40, result()).prop_map(|(epoch, result)| Event::Answered {
        epoch: Epoch(epoch),
        result: result.map_err(Arc::from),
    });
    let event = prop_oneof![
        3 => Just(Event::Kicked),
        3 => Just(Event::FailureReported("reset".into())),
        2 => Just(Event::SuccessReported),
        1 => Just(Event::Started),
        2 => stale,
    ];
    let wait = prop_oneof![
        Just(None),
        (0_u64..200).prop_map(|ms| Some(Duration::from_millis(ms))),
        (0_u64..200_000).prop_map(|ms| Some(Duration::from_millis(ms))),
    ];
    prop_oneof![
        40 => result().prop_map(Deed::Answer),
        20 => event.prop_map(Deed::Tell),
        39 => wait.prop_map(Deed::Wait),
        1 => Just(Deed::Tell(Event::Stopped)),
    ]
}
