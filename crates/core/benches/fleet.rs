//! What an event and a timer cost the fleet, from a thousand workloads to a million: sizes in turns,
//! one JSON line for each size and kind, in nanoseconds of this thread's CPU time. `--rounds N` says
//! how many turns.
//!
//! - `event`: whole lives (wanted, started, probed, idle, rested) of the same thousand workloads,
//!   spread over a fleet in which all others sleep.
//! - `timer`: idle deadlines of the same thousand workloads, in a fleet in which every other one
//!   has a deadline too.
//! - `cold`: whole lives of every workload of the fleet in a scattered order, so that a large fleet
//!   is read from memory instead of from the processor's caches.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::fleet::{Effect, Event, Key};
use dormouse_core::lifecycle::{self, Activity, WakeCause};
use dormouse_core::{
    Condition, EnvironmentName, Epoch, Fleet, Observation, Policy, RunId, Timestamp, WorkloadId,
};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const BUSY: usize = 1_000;
/// Lives of one measurement; a life is some ten events.
const LIVES: usize = 40_000;
const TIMERS: u64 = 200_000;
const ROUNDS: usize = 7;
const IDLE: Duration = Duration::from_secs(1);
/// Deadlines of everybody else lie far behind those that are measured.
const FAR: Duration = Duration::from_secs(1_000_000);
/// A step that shares no divisor with any size visits everybody, far from the last one.
const STRIDE: usize = 618_033;

/// One fleet, and the clock and runtime around it.
struct World {
    fleet: Fleet,
    now: Timestamp,
    keys: Vec<Key>,
    events: u64,
    fired: u64,
    runs: u64,
    next_cold: usize,
}

/// Both fleets of one size.
struct Size {
    workloads: usize,
    asleep: World,
    awake: World,
    samples: [Vec<f64>; 3],
}

const KINDS: [&str; 3] = ["event", "timer", "cold"];

fn main() {
    let rounds = rounds();
    let mut sizes: Vec<Size> = SIZES.into_iter().map(Size::new).collect();
    for _ in 0..rounds {
        for size in &mut sizes {
            size.measure();
        }
    }
    for size in &mut sizes {
        size.report(rounds);
    }
}

/// The time that the kernel has given to this thread.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.expect("Linux accounts for threads"))
}

fn rounds() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--rounds");
    at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(ROUNDS)
}

impl Size {
    fn new(workloads: usize) -> Self {
        let asleep = World::asleep(workloads, |_| IDLE);
        let spread = workloads / BUSY;
        let mut awake =
            World::asleep(workloads, |n| if n.is_multiple_of(spread) { IDLE } else { FAR });
        for key in awake.keys.clone() {
            awake.wake(key);
        }
        let mut size = Self { workloads, asleep, awake, samples: Default::default() };
        // The first turn only warms up.
        size.measure();
        size.samples = Default::default();
        size
    }

    fn measure(&mut self) {
        let (spread, asleep) = (self.workloads / BUSY, &mut self.asleep);
        let busy = (0..LIVES).map(|n| n % BUSY * spread);
        self.samples[0].push(asleep.lives(busy));
        self.samples[1].push(self.awake.timers());
        let first = asleep.next_cold;
        asleep.next_cold += LIVES;
        let cold = (first..first + LIVES).map(|n| n * STRIDE % self.workloads);
        self.samples[2].push(asleep.lives(cold));
    }

    fn report(&mut self, rounds: usize) {
        for (kind, samples) in KINDS.into_iter().zip(&mut self.samples) {
            samples.sort_by(f64::total_cmp);
            let (median, min, max) = (samples[rounds / 2], samples[0], samples[rounds - 1]);
            println!(
                r#"{{"kind":"{kind}","workloads":{},"ns":{median:.1},"min":{min:.1},"max":{max:.1}}}"#,
                self.workloads
            );
        }
    }
}

impl World {
    fn asleep(workloads: usize, idle_of: impl Fn(usize) -> Duration) -> Self {
        let environment = EnvironmentName::new("bench");
        let policy_of = |idle| Arc::new(Policy { idle_timeout: Some(idle), ..Policy::default() });
        let policies = [IDLE, FAR].map(|idle| (idle, policy_of(idle)));
        let mut fleet = Fleet::new(1);
        let now = Timestamp::from_millis(1);
        fleet.handle(Event::EnvironmentReached(environment.clone()), now);
        let mut world =
            Self { fleet, now, keys: Vec::new(), events: 0, fired: 0, runs: 0, next_cold: 0 };
        for n in 0..workloads {
            let id = WorkloadId::new(&environment, &format!("w{n}"));
            let wanted = idle_of(n);
            let policy = policies.iter().find(|(idle, _)| *idle == wanted);
            let policy = Arc::clone(&policy.expect("there are two idle timeouts").1);
            world.fleet.handle(Event::Define { id: id.clone(), policy }, now);
            let key = world.fleet.key(&id).expect("a definition gives out a key");
            world.keys.push(key);
            let condition = Condition::Stopped { exit_code: Some(0) };
            let seen = Observation { condition, as_of: now };
            world.tell(key, lifecycle::Event::Observed(seen));
        }
        world
    }

    /// Nanoseconds an event, over whole lives of these workloads one after another.
    fn lives(&mut self, workloads: impl Iterator<Item = usize>) -> f64 {
        let (events, began) = (self.events, thread_cpu());
        for n in workloads {
            let key = self.keys[n];
            self.wake(key);
            self.now = self.now + IDLE;
            self.time_passes();
            let phase = self.fleet.phase(key).map(lifecycle::Phase::name);
            assert_eq!(phase, Some("asleep"), "a life ends asleep");
        }
        (thread_cpu() - began).as_nanos() as f64 / (self.events - events) as f64
    }

    /// Nanoseconds a timer, with everything that follows from it.
    fn timers(&mut self) -> f64 {
        let (fired, began) = (self.fired, thread_cpu());
        while self.fired < fired + TIMERS {
            let (at, _) = self.fleet.poll_timeout().expect("everybody has a deadline");
            self.now = self.now.max(at);
            self.fleet.handle_timeout(self.now);
            self.answer(Gate::InUse);
        }
        (thread_cpu() - began).as_nanos() as f64 / (self.fired - fired) as f64
    }

    fn wake(&mut self, key: Key) {
        // Distinct moments, as on a real clock.
        self.now = self.now + Duration::from_micros(7);
        self.tell(key, lifecycle::Event::Wanted(WakeCause::Request));
    }

    fn time_passes(&mut self) {
        self.events += 1;
        self.fleet.handle_timeout(self.now);
        self.answer(Gate::Idle);
    }

    fn tell(&mut self, key: Key, event: lifecycle::Event) {
        self.events += 1;
        self.fleet.handle(Event::Workload(key, event), self.now);
        self.answer(Gate::Idle);
    }

    /// Answers every effect at once, until there are no more.
    fn answer(&mut self, gate: Gate) {
        while let Some(effect) = self.fleet.poll_effect() {
            if let Effect::Act(key, effect) = black_box(effect)
                && let Some(event) = self.answer_to(effect, gate)
            {
                self.events += 1;
                self.fleet.handle(Event::Workload(key, event), self.now);
            }
        }
    }

    fn answer_to(&mut self, effect: lifecycle::Effect, gate: Gate) -> Option<lifecycle::Event> {
        let as_of = self.now;
        match effect {
            lifecycle::Effect::Start { epoch, .. } => {
                self.runs += 1;
                let result = Ok(RunId(self.runs));
                Some(lifecycle::Event::Started { epoch, as_of, result })
            }
            lifecycle::Effect::Probe { epoch, .. } => {
                Some(lifecycle::Event::Probed { epoch, result: Ok(()) })
            }
            lifecycle::Effect::ReadActivity { epoch } => {
                self.fired += 1;
                Some(lifecycle::Event::ActivityRead { epoch, activity: self.activity(gate) })
            }
            lifecycle::Effect::CloseGate { epoch } => Some(self.closed(epoch)),
            lifecycle::Effect::Rest { epoch, .. } => {
                let result = Ok(Condition::Stopped { exit_code: Some(0) });
                Some(lifecycle::Event::Rested { epoch, as_of, result })
            }
            lifecycle::Effect::Observe
            | lifecycle::Effect::Abandon { .. }
            | lifecycle::Effect::ShutGate
            | lifecycle::Effect::OpenGate
            | lifecycle::Effect::Deny { .. }
            | lifecycle::Effect::Tell(_)
            | lifecycle::Effect::Answer(..)
            | lifecycle::Effect::CountFailure { .. }
            | lifecycle::Effect::CountRestFailure(_)
            | lifecycle::Effect::ForgetRestFailures
            | lifecycle::Effect::Calm
            | lifecycle::Effect::Completed
            | lifecycle::Effect::DropPin => None,
        }
    }

    fn closed(&self, epoch: Epoch) -> lifecycle::Event {
        lifecycle::Event::GateClosed { epoch, activity: self.activity(Gate::Idle) }
    }

    fn activity(&self, gate: Gate) -> Activity {
        match gate {
            Gate::Idle => Activity { served: 0, waiting: 0, last_use: Timestamp::ZERO },
            Gate::InUse => Activity { served: 1, waiting: 0, last_use: self.now },
        }
    }
}

/// What the gates say of their use.
#[derive(Clone, Copy)]
enum Gate {
    Idle,
    InUse,
}
