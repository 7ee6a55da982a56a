//! Any phase, any facts, any event.

use std::time::Duration;

use dormouse_core::failure::{Failure, FailureKind};
use dormouse_core::id::{EnvironmentName, Epoch, WorkloadId};
use dormouse_core::lifecycle::{
    Activity, Asleep, Check, DrainCause, Draining, Event, Failed, Gone, Ignorance, Misconfigured,
    Needs, Phase, Pinned, Purpose, Reach, Ready, Remains, Retry, Settling, StartFailure, Ticket,
    Unknown, Valve, WakeCause, WakeStep, Waking,
};
use dormouse_core::load::{IdleBelow, Load, LoadSeen};
use dormouse_core::observation::{Condition, Health, Observation, RunId};
use dormouse_core::policy::{Adopt, Need, OnRestFailure, Policy, Rest, Until};
use dormouse_core::time::Timestamp;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Facts that own what [`dormouse_core::lifecycle::Facts`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct OwnFacts {
    pub(crate) policy: Policy,
    pub(crate) dependents: usize,
    pub(crate) pin: Pinned,
    pub(crate) needs: Needs,
    pub(crate) environment: Reach,
    pub(crate) purpose: Purpose,
    pub(crate) failures: u32,
    pub(crate) rest_failures: u32,
    pub(crate) not_before: Timestamp,
    pub(crate) released_at: Timestamp,
    pub(crate) recalled: Duration,
    pub(crate) load: LoadSeen,
    pub(crate) jitter: u16,
}

/// The epoch that every step of these tests may ask with.
pub(crate) const FRESH: Epoch = Epoch(99);

/// So many cases, the same ones at every run.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(u64::from(cases)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Moments lie close together, so that equal ones and all orders come about.
pub(crate) fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0_u64..240).prop_map(|half| Timestamp::from_millis(half * 500)),
        1 => Just(Timestamp(u64::MAX)),
    ]
}

pub(crate) fn now() -> impl Strategy<Value = Timestamp> {
    (0_u64..240).prop_map(|half| Timestamp::from_millis(half * 500))
}

pub(crate) fn duration() -> impl Strategy<Value = Duration> {
    (0_u64..120).prop_map(|half| Duration::from_millis(half * 500))
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (0_u64..4).prop_map(Epoch)
}

fn run() -> impl Strategy<Value = RunId> {
    (0_u64..3).prop_map(RunId)
}

fn failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(FailureKind::StartRefused),
        Just(FailureKind::TimedOut),
        Just(FailureKind::NeverReady),
        option::of(any::<i32>()).prop_map(|exit_code| FailureKind::Crashed { exit_code }),
    ];
    kind.prop_map(|kind| Failure::new(kind, "it did not work"))
}

fn cause() -> impl Strategy<Value = WakeCause> {
    prop_oneof![
        Just(WakeCause::Request),
        Just(WakeCause::Asked),
        Just(WakeCause::Pin),
        Just(WakeCause::Dependent),
        Just(WakeCause::Adopted),
        Just(WakeCause::StartedByHand),
        Just(WakeCause::Crash),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let exit = || option::of(prop_oneof![Just(0), Just(1), Just(137), Just(143)]);
    prop_oneof![
        3 => run().prop_map(|run| Condition::Running { run, health: Health::Undeclared }),
        1 => run().prop_map(|run| Condition::Paused { run }),
        2 => exit().prop_map(|exit_code| Condition::Stopped { exit_code }),
        1 => exit().prop_map(|exit_code| Condition::Restarting { exit_code }),
        1 => Just(Condition::Absent),
    ]
}

pub(crate) fn activity() -> impl Strategy<Value = Activity> {
    let count = || prop_oneof![3 => Just(0_u32), 1 => 1_u32..3, 1 => Just(u32::MAX)];
    (count(), count(), moment()).prop_map(|(served, waiting, last_use)| Activity {
        served,
        waiting,
        last_use,
    })
}

fn check() -> impl Strategy<Value = Check> {
    prop_oneof![
        Just(Check::Never),
        moment().prop_map(Check::At),
        moment().prop_map(Check::PutOff),
        (epoch(), moment()).prop_map(|(epoch, again_at)| Check::Asked { epoch, again_at }),
    ]
}

fn rest() -> impl Strategy<Value = Rest> {
    prop_oneof![Just(Rest::Stop), Just(Rest::Pause), Just(Rest::Kill)]
}

pub(crate) fn id(name: &str) -> WorkloadId {
    WorkloadId::new(&EnvironmentName::new("box"), name)
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let needs = prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..3);
    let until = prop_oneof![Just(Until::Started), Just(Until::Ready), Just(Until::Completed)];
    (
        (option::of(duration()), duration(), duration(), duration()),
        (rest(), any::<bool>(), any::<bool>(), needs, until),
        (option::of(Just(5_000)), option::of(Just(1_000))),
    )
        .prop_map(|((idle, wake, grace, drain), (rest, kill, adopt, needs, until), below)| {
            Policy {
                idle_below: IdleBelow { cpu_millipercent: below.0, net_bytes: below.1 },
                idle_timeout: idle,
                wake_timeout: wake,
                stop_timeout: grace,
                drain_timeout: drain,
                rest,
                on_rest_failure: if kill { OnRestFailure::Kill } else { OnRestFailure::Keep },
                adopt: if adopt { Adopt::Rest } else { Adopt::Keep },
                needs: needs.into_iter().map(|name| Need { on: id(name), until }).collect(),
                ..Policy::default()
            }
        })
}

/// On both sides of the bounds of [`policy`].
pub(crate) fn reading() -> impl Strategy<Value = Load> {
    let reading = (now(), 0_u32..10_000, option::of(0_u64..2_000));
    reading.prop_map(|(as_of, cpu_millipercent, net_bytes)| Load {
        as_of,
        cpu_millipercent,
        net_bytes,
    })
}

/// Nothing measured, quiet, busy, or quiet after it was busy.
fn load() -> impl Strategy<Value = LoadSeen> {
    (option::of(reading()), option::of(now()))
        .prop_map(|(last, busy_at)| LoadSeen { last, busy_at })
}

pub(crate) fn facts() -> impl Strategy<Value = OwnFacts> {
    let needs = prop_oneof![
        3 => Just(Needs::Met),
        1 => prop::collection::vec(0_usize..3, 1..3).prop_map(Needs::Waiting),
        1 => Just(Needs::Failed { on: id("a"), why: "it is broken".to_owned() }),
    ];
    let yes = any::<bool>;
    (
        (policy(), 0_usize..2, yes(), needs, yes(), yes()),
        (0_u32..5, 0_u32..5, now(), now(), any::<u16>(), duration(), load()),
    )
        .prop_map(|((policy, dependents, pin, needs, reach, purpose), rest)| OwnFacts {
            policy,
            dependents,
            pin: if pin { Pinned::Yes } else { Pinned::No },
            needs,
            environment: if reach { Reach::Reachable } else { Reach::Unreachable },
            purpose: if purpose { Purpose::Complete } else { Purpose::Serve },
            failures: rest.0,
            rest_failures: rest.1,
            not_before: rest.2,
            released_at: rest.3,
            jitter: rest.4,
            recalled: rest.5,
            load: rest.6,
        })
}

pub(crate) fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        1 => unknown(),
        1 => moment().prop_map(|since| Phase::Asleep(Asleep { since })),
        3 => waking(),
        2 => ready(),
        3 => draining(),
        2 => settling(),
        3 => failed(),
        1 => moment().prop_map(|since| {
            Phase::Misconfigured(Misconfigured { since, message: "it is wrong".to_owned() })
        }),
        1 => (moment(), moment())
            .prop_map(|(since, retry_at)| Phase::Gone(Gone { since, retry_at })),
    ]
}

fn unknown() -> impl Strategy<Value = Phase> {
    let why = prop_oneof![Just(Ignorance::NotYetObserved), Just(Ignorance::RestUnclear)];
    (moment(), why, moment())
        .prop_map(|(since, why, look_at)| Phase::Unknown(Unknown { since, why, look_at }))
}

pub(crate) fn waking() -> impl Strategy<Value = Phase> {
    let step = prop_oneof![
        (moment(), option::of(failure()))
            .prop_map(|(until, after)| WakeStep::Backoff { until, after }),
        prop::collection::vec(0_usize..3, 0..3).prop_map(|waiting| WakeStep::Needs { waiting }),
        epoch().prop_map(|epoch| WakeStep::Starting { epoch }),
        (epoch(), run()).prop_map(|(epoch, run)| WakeStep::Probing { epoch, run }),
        run().prop_map(|run| WakeStep::Completing { run }),
    ];
    (moment(), cause(), moment(), 0_u32..4, step).prop_map(
        |(since, cause, give_up_at, failed_starts, step)| {
            Phase::Waking(Waking { since, cause, give_up_at, failed_starts, step })
        },
    )
}

pub(crate) fn ready() -> impl Strategy<Value = Phase> {
    (moment(), run(), check(), duration())
        .prop_map(|(since, run, check, unused)| Phase::Ready(Ready { since, run, check, unused }))
}

pub(crate) fn draining() -> impl Strategy<Value = Phase> {
    let ticket = || (0_u64..3).prop_map(Ticket);
    let cause = prop_oneof![
        Just(DrainCause::Idle),
        ticket().prop_map(DrainCause::Asked),
        (ticket(), option::of(cause()))
            .prop_map(|(ticket, then)| DrainCause::Forced { ticket, then }),
        Just(DrainCause::Adopted),
    ];
    let valve = prop_oneof![epoch().prop_map(Valve::Closing), epoch().prop_map(Valve::Closed)];
    (moment(), cause, valve, moment(), run()).prop_map(|(since, cause, valve, give_up_at, run)| {
        Phase::Draining(Draining { since, cause, valve, give_up_at, run })
    })
}

fn settling() -> impl Strategy<Value = Phase> {
    (moment(), epoch(), rest(), option::of(run()), moment(), option::of(cause())).prop_map(
        |(since, epoch, rest, run, give_up_at, then)| {
            Phase::Settling(Settling { since, epoch, rest, run, give_up_at, then })
        },
    )
}

pub(crate) fn failed() -> impl Strategy<Value = Phase> {
    let retry = prop_oneof![moment().prop_map(Retry::At), Just(Retry::Open)];
    let remains = prop_oneof![
        Just(Remains::Nothing),
        run().prop_map(Remains::Run),
        Just(Remains::Unclear),
        Just(Remains::Restarting),
    ];
    (moment(), failure(), retry, check(), remains).prop_map(
        |(since, failure, retry, settle, remains)| {
            Phase::Failed(Failed { since, failure, retry, settle, remains })
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let ticket = || (0_u64..3).prop_map(Ticket);
    let started = prop_oneof![
        3 => run().prop_map(Ok),
        1 => Just(Err(StartFailure::Absent)),
        1 => option::of(0_i32..3).prop_map(|exit_code| Err(StartFailure::Ended { exit_code })),
        1 => failure().prop_map(|failure| Err(StartFailure::Passing(failure))),
        1 => failure().prop_map(|failure| Err(StartFailure::Lasting(failure))),
    ];
    let rested = prop_oneof![3 => condition().prop_map(Ok), 1 => failure().prop_map(Err)];
    let probed = prop_oneof![3 => Just(Ok(())), 1 => failure().prop_map(Err)];
    prop_oneof![
        1 => cause().prop_map(Event::Wanted),
        1 => ticket().prop_map(Event::SleepAsked),
        1 => ticket().prop_map(Event::SleepForced),
        3 => (condition(), moment())
            .prop_map(|(condition, as_of)| Event::Observed(Observation { condition, as_of })),
        1 => Just(Event::EnvironmentLost),
        1 => Just(Event::EnvironmentReached),
        1 => Just(Event::NeighboursChanged),
        1 => Just(Event::PolicyChanged),
        2 => Just(Event::DeadlineReached),
        2 => (epoch(), activity())
            .prop_map(|(epoch, activity)| Event::GateClosed { epoch, activity }),
        2 => (epoch(), activity())
            .prop_map(|(epoch, activity)| Event::ActivityRead { epoch, activity }),
        1 => epoch().prop_map(|epoch| Event::LeasesEnded { epoch }),
        1 => (epoch(), moment(), started)
            .prop_map(|(epoch, as_of, result)| Event::Started { epoch, as_of, result }),
        1 => (epoch(), moment(), rested)
            .prop_map(|(epoch, as_of, result)| Event::Rested { epoch, as_of, result }),
        1 => (epoch(), probed).prop_map(|(epoch, result)| Event::Probed { epoch, result }),
        1 => Just(Event::LogRead(vec!["a line".to_owned()])),
    ]
}
