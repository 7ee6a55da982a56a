//! One step of one lifecycle, from anywhere.

use dormouse_core::Epoch;
use dormouse_core::lifecycle::{
    self, Check, DrainCause, Effect, Event, Facts, Needs, Phase, Pinned, Reach, Valve, WakeStep,
};
use dormouse_core::time::Timestamp;
use proptest::prelude::*;

use crate::arbitrary::{self, FRESH, OwnFacts};

/// Deadlines that may follow one another at the same moment.
const DEADLINES_MAX: usize = 6;

proptest! {
    #![proptest_config(arbitrary::config(4096))]

    #[test]
    fn a_start_comes_only_when_every_need_is_met(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (_, effects) = step(&phase, &facts, &event, now);
        let starts = effects.iter().any(|effect| matches!(effect, Effect::Start { .. }));
        prop_assert!(!starts || facts.needs == Needs::Met);
    }

    #[test]
    fn nothing_is_rested_that_a_dependent_or_a_pin_holds(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (_, effects) = step(&phase, &facts, &event, now);
        let dropped = effects.contains(&Effect::DropPin);
        if rests(&effects) {
            prop_assert_eq!(facts.dependents, 0);
            prop_assert!(facts.pin == Pinned::No || dropped);
        }
    }

    #[test]
    fn nothing_is_rested_before_its_gate_has_been_counted(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (_, effects) = step(&phase, &facts, &event, now);
        if rests(&effects) {
            prop_assert!(counted(&phase, &event), "{:?} by {:?}", phase, event);
        }
    }

    #[test]
    fn a_step_asks_one_question_at_most_and_with_its_own_epoch(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (_, effects) = step(&phase, &facts, &event, now);
        let asked: Vec<_> = effects.iter().filter_map(question).collect();
        prop_assert!(asked.len() <= 1, "{:?}", effects);
        prop_assert!(asked.iter().all(|epoch| *epoch == FRESH));
    }

    #[test]
    fn a_stale_epoch_changes_nothing(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        if is_stale(&phase, &event) {
            let (next, effects) = step(&phase, &facts, &event, now);
            prop_assert_eq!(next, phase);
            prop_assert_eq!(effects, Vec::new());
        }
    }

    #[test]
    fn what_is_not_waited_for_any_more_is_abandoned(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (next, effects) = step(&phase, &facts, &event, now);
        let abandoned: Vec<_> = effects.iter().filter_map(|effect| match effect {
            Effect::Abandon { epoch } => Some(*epoch),
            _ => None,
        }).collect();
        let left = phase.in_flight().filter(|epoch| next.in_flight() != Some(*epoch));
        let expected: Vec<_> = left.filter(|_| !answers(&phase, &event)).into_iter().collect();
        prop_assert_eq!(abandoned, expected);
    }

    #[test]
    fn the_gate_opens_with_ready_and_with_nothing_else(
        phase in arbitrary::phase(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (next, effects) = step(&phase, &facts, &event, now);
        let opens = effects.contains(&Effect::OpenGate);
        let becomes = matches!(next, Phase::Ready(_)) && !matches!(phase, Phase::Ready(_));
        prop_assert_eq!(opens, becomes);
        if let (Phase::Ready(_), false) = (&phase, matches!(next, Phase::Ready(_))) {
            let shuts = effects.iter().any(|effect| {
                matches!(effect, Effect::ShutGate | Effect::CloseGate { .. })
            });
            prop_assert!(shuts, "{:?} left with {:?}", phase, effects);
        }
    }

    #[test]
    fn whoever_waits_for_a_wake_that_ends_badly_is_told(
        phase in arbitrary::waking(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (next, effects) = step(&phase, &facts, &event, now);
        let denies = effects.iter().any(|effect| matches!(effect, Effect::Deny { .. }));
        let ends = effects.iter().any(|effect| {
            matches!(effect, Effect::Tell(step) if step.kind.ends())
        });
        prop_assert_eq!(denies || opens(&next), denies || matches!(next, Phase::Ready(_)));
        if matches!(next, Phase::Failed(_) | Phase::Gone(_)) {
            prop_assert!(denies);
        }
        prop_assert_eq!(ends, !matches!(next, Phase::Waking(_)), "{:?}", effects);
    }

    #[test]
    fn deadlines_that_are_due_run_out(
        phase in arbitrary::phase(), facts in arbitrary::facts(), now in arbitrary::now(),
    ) {
        // What a failure left behind is not due at the moment of the next one.
        let facts = OwnFacts { not_before: Timestamp::ZERO, ..facts };
        let mut phase = phase;
        for _ in 0..DEADLINES_MAX {
            if phase.deadline().is_none_or(|(at, _)| at > now) {
                return Ok(());
            }
            phase = step(&phase, &facts, &Event::DeadlineReached, now).0;
        }
        prop_assert!(false, "{:?} is due for ever", phase);
    }

    #[test]
    fn what_has_failed_is_rested_only_where_nobody_is_hurt(
        phase in arbitrary::failed(), facts in arbitrary::facts(),
        activity in arbitrary::activity(), now in arbitrary::now(),
    ) {
        let Phase::Failed(failed) = phase else { return Ok(()) };
        let epoch = Epoch(1);
        let settle = Check::Asked { epoch, again_at: now };
        let phase = Phase::Failed(lifecycle::Failed { settle, ..failed });
        let (_, effects) = step(&phase, &facts, &Event::ActivityRead { epoch, activity }, now);
        if rests(&effects) {
            prop_assert_eq!(activity.served, 0);
            prop_assert_eq!(facts.dependents, 0);
            prop_assert_eq!(facts.pin, Pinned::No);
            prop_assert_eq!(facts.environment, Reach::Reachable);
        }
    }

    #[test]
    fn idle_in_an_environment_that_does_not_answer_is_left_alone(
        phase in arbitrary::ready(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let facts = OwnFacts { environment: Reach::Unreachable, ..facts };
        let (next, _) = step(&phase, &facts, &event, now);
        prop_assert!(!matches!(next, Phase::Draining(_)));
    }

    #[test]
    fn a_person_who_asks_for_a_sleep_is_answered(
        phase in arbitrary::phase(), facts in arbitrary::facts(), forced: bool,
        now in arbitrary::now(),
    ) {
        let ticket = lifecycle::Ticket(77);
        let event = if forced { Event::SleepForced(ticket) } else { Event::SleepAsked(ticket) };
        let (next, effects) = step(&phase, &facts, &event, now);
        let answered = effects.iter().any(|effect| {
            matches!(effect, Effect::Answer(to, _) if *to == ticket)
        });
        prop_assert_eq!(answered, next.ticket() != Some(ticket));
    }

    #[test]
    fn whoever_overrules_a_pin_is_not_overruled_by_it(
        phase in arbitrary::phase(), facts in arbitrary::facts(), now in arbitrary::now(),
    ) {
        let event = Event::SleepForced(lifecycle::Ticket(77));
        let (next, effects) = step(&phase, &facts, &event, now);
        let overruled = effects.contains(&Effect::DropPin);
        prop_assert!(!overruled || !matches!(next, Phase::Waking(_)), "{:?}", next);
    }

    #[test]
    fn a_ticket_is_answered_before_its_phase_ends(
        phase in arbitrary::draining(), facts in arbitrary::facts(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (next, effects) = step(&phase, &facts, &event, now);
        if let Some(ticket) = phase.ticket().filter(|ticket| next.ticket() != Some(*ticket)) {
            let answered = effects.iter().any(|effect| {
                matches!(effect, Effect::Answer(to, _) if *to == ticket)
            });
            prop_assert!(answered, "{:?} by {:?}", phase, event);
        }
    }
}

proptest! {
    #![proptest_config(arbitrary::config(4096))]

    #[test]
    fn what_is_at_work_is_not_found_idle(
        facts in arbitrary::facts(), phase in arbitrary::phase(), event in arbitrary::event(),
        now in arbitrary::now(),
    ) {
        let (next, effects) = step(&phase, &facts, &event, now);
        if facts.load.is_busy(facts.policy.idle_below) && matches!(phase, Phase::Ready(_)) {
            prop_assert!(
                !matches!(&next, Phase::Draining(it) if it.cause == DrainCause::Idle),
                "{:?}", effects
            );
        }
    }
}

fn step(phase: &Phase, own: &OwnFacts, event: &Event, now: Timestamp) -> (Phase, Vec<Effect>) {
    let facts = Facts {
        policy: &own.policy,
        dependents: own.dependents,
        pin: own.pin,
        needs: own.needs.clone(),
        environment: own.environment,
        purpose: own.purpose,
        epoch: FRESH,
        failures: own.failures,
        rest_failures: own.rest_failures,
        not_before: own.not_before,
        released_at: own.released_at,
        recalled: own.recalled,
        load: own.load,
        jitter: own.jitter,
    };
    lifecycle::step(phase.clone(), &facts, event.clone(), now)
}

fn rests(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Rest { .. }))
}

fn opens(phase: &Phase) -> bool {
    matches!(phase, Phase::Ready(_))
}

fn question(effect: &Effect) -> Option<dormouse_core::Epoch> {
    match effect {
        Effect::Start { epoch, .. }
        | Effect::Rest { epoch, .. }
        | Effect::Probe { epoch, .. }
        | Effect::ReadActivity { epoch }
        | Effect::CloseGate { epoch } => Some(*epoch),
        _ => None,
    }
}

/// Whether this event is an answer to what the phase waits for.
fn answers(phase: &Phase, event: &Event) -> bool {
    match event {
        Event::Started { epoch, .. }
        | Event::Rested { epoch, .. }
        | Event::Probed { epoch, .. } => phase.in_flight() == Some(*epoch),
        _ => false,
    }
}

fn is_stale(phase: &Phase, event: &Event) -> bool {
    match event {
        Event::Started { epoch, .. } => !matches!(phase, Phase::Waking(waking)
                if waking.step == WakeStep::Starting { epoch: *epoch }),
        Event::Probed { epoch, .. } => !matches!(phase, Phase::Waking(waking)
                if matches!(waking.step, WakeStep::Probing { epoch: asked, .. } if asked == *epoch)),
        Event::Rested { epoch, .. } => {
            !matches!(phase, Phase::Settling(settling) if settling.epoch == *epoch)
        }
        Event::GateClosed { epoch, .. } => !matches!(phase, Phase::Draining(draining)
                if draining.valve == Valve::Closing(*epoch)),
        Event::LeasesEnded { epoch } => {
            !matches!(phase, Phase::Draining(draining) if draining.valve == Valve::Closed(*epoch))
        }
        Event::ActivityRead { epoch, .. } => {
            let check = match phase {
                Phase::Ready(ready) => ready.check,
                Phase::Failed(failed) => failed.settle,
                _ => Check::Never,
            };
            !matches!(check, Check::Asked { epoch: asked, .. } if asked == *epoch)
        }
        _ => false,
    }
}

/// Whether this event, in this phase, says who is at the gate, or ends the wait for those who are.
fn counted(phase: &Phase, event: &Event) -> bool {
    match (phase, event) {
        (Phase::Draining(draining), Event::GateClosed { activity, .. }) => match draining.cause {
            DrainCause::Forced { .. } => activity.served == 0,
            DrainCause::Idle | DrainCause::Asked(_) | DrainCause::Adopted => activity.open() == 0,
        },
        (Phase::Draining(draining), Event::LeasesEnded { .. }) => {
            matches!(draining.valve, Valve::Closed(_))
        }
        (Phase::Draining(draining), Event::DeadlineReached) => {
            matches!(draining.valve, Valve::Closed(_))
        }
        (Phase::Failed(_), Event::ActivityRead { activity, .. }) => activity.served == 0,
        (_, _) => false,
    }
}
