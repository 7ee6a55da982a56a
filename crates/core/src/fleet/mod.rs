//! The fleet: all lifecycles of one keeper, with the graph of needs and the timers.
//!
//! One mutation ([`Fleet::handle`] or [`Fleet::handle_timeout`]), then drain every effect with
//! [`Fleet::poll_effect`], then sleep until [`Fleet::poll_timeout`].

mod define;
mod entry;
mod event;
mod explain;
mod needs;
mod timers;

pub use event::{Effect, Event, Key};
pub use explain::{Explanation, NeedState};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::backoff::Jitter;
use crate::id::{EnvironmentName, Epoch, WorkloadId};
use crate::lifecycle::{self, Facts, Needs, Phase, Reach, StartFailure, TimerReason, WakeCause};
use crate::limits;
use crate::load::Load;
use crate::observation::{Condition, Health, RunId};
use crate::policy::Policy;
use crate::progress::Step;
use crate::time::Timestamp;
use entry::{Entry, Pin, Story};
use timers::Timers;

/// All lifecycles of one keeper.
#[derive(Clone, Debug)]
pub struct Fleet {
    entries: Vec<Option<Box<Entry>>>,
    by_id: BTreeMap<WorkloadId, Key>,
    /// Who names a workload among its needs, whether that workload is defined or not.
    needed_by: BTreeMap<WorkloadId, BTreeSet<Key>>,
    reachable: BTreeSet<EnvironmentName>,
    timers: Timers,
    pending: VecDeque<(Key, lifecycle::Event)>,
    effects: VecDeque<Effect>,
    next_epoch: u64,
    jitter: Jitter,
}

impl Fleet {
    /// An empty fleet. The seed spreads retries; equal seeds and events give equal effects.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            by_id: BTreeMap::new(),
            needed_by: BTreeMap::new(),
            reachable: BTreeSet::new(),
            timers: Timers::default(),
            pending: VecDeque::new(),
            effects: VecDeque::new(),
            next_epoch: 1,
            jitter: Jitter::new(seed),
        }
    }

    /// Something has happened.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Define { id, policy } => self.define(id, policy, now),
            Event::Misdefine { id, message } => self.misdefine(id, message, now),
            Event::Forget { id } => self.forget(&id, now),
            Event::EnvironmentReached(environment) => self.environment_reached(environment),
            Event::EnvironmentLost(environment) => self.environment_lost(&environment),
            Event::Recall { key, unused } => {
                if let Some(entry) = self.entry_mut(key) {
                    entry.recalled = Some(unused);
                    entry.forget_recalled();
                }
            }
            Event::Pin { key, until } => self.pin(key, until),
            Event::Unpin { key } => self.unpin(key, now),
            Event::Measured { key, load } => self.measure(key, load),
            Event::Workload(key, event) => self.pending.push_back((key, event)),
        }
        self.run_pending(now);
    }

    /// Time has passed: everything that was due by `now` happens.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.remove(at, key);
            let Some(entry) = self.entry_mut(key) else {
                continue;
            };
            entry.armed = None;
            if entry.pin.and_then(|pin| pin.until).is_some_and(|until| until <= now) {
                self.unpin(key, now);
            }
            let due = self.entry(key).and_then(|entry| entry.phase.deadline());
            if due.is_some_and(|(at, _)| at <= now) {
                self.pending.push_back((key, lifecycle::Event::DeadlineReached));
            }
            self.run_pending(now);
            self.arm(key);
        }
    }

    /// The next effect to execute, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called next, and what for.
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerReason)> {
        let (at, key) = self.timers.first()?;
        let reason = self.entry(key).and_then(|entry| entry.phase.deadline());
        match reason {
            Some((due, reason)) if due == at => Some((at, reason)),
            Some(_) | None => Some((at, TimerReason::PinEnds)),
        }
    }

    /// The place of a workload.
    pub fn key(&self, id: &WorkloadId) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    /// The workload at a place.
    pub fn id(&self, key: Key) -> Option<&WorkloadId> {
        self.entry(key).map(|entry| &entry.id)
    }

    /// The phase of the workload at a place.
    pub fn phase(&self, key: Key) -> Option<&Phase> {
        self.entry(key).map(|entry| &entry.phase)
    }

    /// The policy of the workload at a place.
    pub fn policy(&self, key: Key) -> Option<&Arc<Policy>> {
        self.entry(key).map(|entry| &entry.policy)
    }

    /// The workloads that hold a `dependent` lease on the one at a place.
    pub fn dependents(&self, key: Key) -> impl Iterator<Item = Key> {
        self.entry(key).into_iter().flat_map(|entry| entry.dependents.iter().copied())
    }

    /// Whether a pin holds the workload at a place.
    pub fn is_pinned(&self, key: Key) -> bool {
        self.entry(key).is_some_and(|entry| entry.pin.is_some())
    }

    /// Every workload, by id.
    pub fn workloads(&self) -> impl Iterator<Item = (&WorkloadId, Key)> {
        self.by_id.iter().map(|(id, &key)| (id, key))
    }

    /// How far the needs of the workload at a place have come.
    pub fn needs(&self, key: Key, now: Timestamp) -> Option<Needs> {
        self.entry(key).map(|entry| self.needs_of(entry, now))
    }

    fn entry(&self, key: Key) -> Option<&Entry> {
        self.entries.get(key.0 as usize)?.as_deref()
    }

    fn entry_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(key.0 as usize)?.as_deref_mut()
    }

    fn run_pending(&mut self, now: Timestamp) {
        while let Some((key, event)) = self.pending.pop_front() {
            self.advance(key, event, now);
        }
    }

    /// One step of one lifecycle, and everything that follows from it.
    fn advance(&mut self, key: Key, event: lifecycle::Event, now: Timestamp) {
        let Some(entry) = self.entry(key) else { return };
        let Some(event) = admit(entry, event) else {
            return;
        };
        let policy = Arc::clone(&entry.policy);
        let needs = match policy.needs.as_slice() {
            [] => Needs::Met,
            _ => self.needs_of(entry, now),
        };
        self.absorb(key, &event);
        let jitter = self.jitter.draw();
        let epoch = Epoch(self.next_epoch);
        let Some(entry) = self.entry(key) else { return };
        let facts = Facts {
            policy: &policy,
            dependents: entry.dependents.len(),
            pin: entry.pinned(),
            needs,
            environment: self.reach(&entry.id),
            purpose: entry.purpose,
            epoch,
            failures: entry.failures,
            rest_failures: entry.rest_failures,
            not_before: entry.not_before,
            released_at: entry.released_at,
            recalled: entry.recalled(),
            load: entry.load(),
            jitter,
        };
        let before = entry.phase.clone();
        let (after, effects) = lifecycle::step(before.clone(), &facts, event, now);
        self.next_epoch += 1;
        self.enter(key, &before, after, now);
        for effect in effects {
            self.emit(key, effect, now);
        }
        self.follow(key, &before, now);
    }

    /// Remembers what an event shows of the outside. Looks begun before the look of an accepted
    /// answer will say nothing from here on.
    fn absorb(&mut self, key: Key, event: &lifecycle::Event) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let as_of = match event {
            lifecycle::Event::Observed(observation) => {
                entry.condition = Some(observation.condition);
                entry.see_run(running(observation.condition));
                observation.as_of
            }
            lifecycle::Event::Started { epoch, as_of, result: Ok(run) }
                if entry.phase.in_flight() == Some(*epoch) =>
            {
                // Its health is a question to the next look.
                let health = Health::Undeclared;
                entry.condition = Some(Condition::Running { run: *run, health });
                entry.see_run(Some(*run));
                *as_of
            }
            lifecycle::Event::Started { epoch, as_of, result: Err(StartFailure::Ended { .. }) }
                if entry.phase.in_flight() == Some(*epoch) =>
            {
                *as_of
            }
            lifecycle::Event::Rested { epoch, as_of, result: Ok(condition) }
                if entry.phase.in_flight() == Some(*epoch) =>
            {
                entry.condition = Some(*condition);
                entry.see_run(running(*condition));
                *as_of
            }
            lifecycle::Event::LogRead(log) => {
                let failed = matches!(entry.phase, Phase::Failed(_));
                if let Some(told) = entry.last_failure.as_deref_mut().filter(|_| failed) {
                    told.1.log.clone_from(log);
                }
                return;
            }
            lifecycle::Event::Started { .. }
            | lifecycle::Event::Rested { .. }
            | lifecycle::Event::Wanted(_)
            | lifecycle::Event::SleepAsked(_)
            | lifecycle::Event::SleepForced(_)
            | lifecycle::Event::EnvironmentLost
            | lifecycle::Event::EnvironmentReached
            | lifecycle::Event::NeighboursChanged
            | lifecycle::Event::PolicyChanged
            | lifecycle::Event::DeadlineReached
            | lifecycle::Event::GateClosed { .. }
            | lifecycle::Event::ActivityRead { .. }
            | lifecycle::Event::LeasesEnded { .. }
            | lifecycle::Event::Probed { .. } => return,
        };
        entry.looked_at = as_of;
        entry.fresh_after = entry.fresh_after.max(as_of);
    }

    fn enter(&mut self, key: Key, before: &Phase, after: Phase, now: Timestamp) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let (from, to) = (before.name(), after.name());
        if let (false, Phase::Waking(waking)) = (matches!(before, Phase::Waking(_)), &after) {
            entry.last_wake = Some((now, waking.cause));
        }
        if !matches!(after, Phase::Ready(_) | Phase::Draining(_)) {
            // What it did says nothing of what it will do when it is ready again.
            entry.load = None;
        }
        entry.phase = after;
        entry.forget_recalled();
        if from != to && before.denies() {
            // What denied its callers holds no longer.
            self.effects.push_back(Effect::Act(key, lifecycle::Effect::ShutGate));
        }
        if from != to {
            self.effects.push_back(Effect::Moved { key, from, to });
        }
    }

    /// What follows from a new phase: leases on needs, those who wait for it, and the timer.
    fn follow(&mut self, key: Key, before: &Phase, now: Timestamp) {
        let moved = self.entry(key).is_some_and(|entry| entry.phase != *before);
        if moved {
            self.sync_leases(key, now);
            self.tell_dependents(key);
        }
        self.arm(key);
    }

    fn emit(&mut self, key: Key, effect: lifecycle::Effect, now: Timestamp) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        match effect {
            lifecycle::Effect::CountFailure { not_before } => {
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = not_before;
            }
            lifecycle::Effect::CountRestFailure(failure) => {
                entry.rest_failures = entry.rest_failures.saturating_add(1);
                entry.last_failure = Some(Box::new((now, failure.clone())));
                let effect = lifecycle::Effect::CountRestFailure(failure);
                self.effects.push_back(Effect::Act(key, effect));
            }
            lifecycle::Effect::ForgetRestFailures => entry.rest_failures = 0,
            lifecycle::Effect::Calm => {
                entry.failures = 0;
                entry.not_before = Timestamp::ZERO;
            }
            lifecycle::Effect::Completed => {
                entry.completed_at = Some(entry.looked_at);
                self.run_again_for_who_came_late(key, now);
            }
            lifecycle::Effect::DropPin => {
                if entry.pin.take().is_some() {
                    self.effects.push_back(Effect::PinEnded(key));
                }
            }
            lifecycle::Effect::Tell(step) => self.tell(key, step),
            lifecycle::Effect::Deny { failure, retry_at } => {
                entry.last_failure = Some(Box::new((now, failure.clone())));
                let effect = lifecycle::Effect::Deny { failure, retry_at };
                self.effects.push_back(Effect::Act(key, effect));
            }
            lifecycle::Effect::Observe
            | lifecycle::Effect::Start { .. }
            | lifecycle::Effect::Rest { .. }
            | lifecycle::Effect::Probe { .. }
            | lifecycle::Effect::Abandon { .. }
            | lifecycle::Effect::ReadActivity { .. }
            | lifecycle::Effect::CloseGate { .. }
            | lifecycle::Effect::ShutGate
            | lifecycle::Effect::OpenGate
            | lifecycle::Effect::Answer(..) => self.effects.push_back(Effect::Act(key, effect)),
        }
    }

    /// Tells a step of the story, if one is being told and it has room for it.
    fn tell(&mut self, key: Key, step: Step) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let told = match entry.story {
            Story::Open(told) => told,
            Story::Closed if step.kind.begins() => 0,
            Story::Closed => return,
        };
        if step.kind.ends() {
            entry.story = Story::Closed;
        } else if told + 1 < limits::STORY_STEPS_MAX {
            entry.story = Story::Open(told + 1);
        } else {
            return;
        }
        self.effects.push_back(Effect::Act(key, lifecycle::Effect::Tell(step)));
    }

    fn environment_lost(&mut self, environment: &EnvironmentName) {
        if self.reachable.remove(environment) {
            self.tell_all_in(environment, &lifecycle::Event::EnvironmentLost);
        }
    }

    fn environment_reached(&mut self, environment: EnvironmentName) {
        if self.reachable.insert(environment.clone()) {
            self.tell_all_in(&environment, &lifecycle::Event::EnvironmentReached);
        }
    }

    fn tell_all_in(&mut self, environment: &EnvironmentName, event: &lifecycle::Event) {
        let inside = self.by_id.iter().filter(|(id, _)| id.environment() == environment.as_str());
        self.pending.extend(inside.map(|(_, &key)| (key, event.clone())));
    }

    fn reach(&self, id: &WorkloadId) -> Reach {
        if self.reachable.contains(id.environment()) {
            Reach::Reachable
        } else {
            Reach::Unreachable
        }
    }

    fn pin(&mut self, key: Key, until: Option<Timestamp>) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        entry.pin = Some(Pin { until });
        self.pending.push_back((key, lifecycle::Event::Wanted(WakeCause::Pin)));
    }

    fn unpin(&mut self, key: Key, now: Timestamp) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        if entry.pin.take().is_some() {
            entry.released_at = entry.released_at.max(now);
            self.effects.push_back(Effect::PinEnded(key));
            self.arm(key);
        }
    }

    /// Remembers what a ready workload does; it is looked at when its idle deadline comes. A reading
    /// that began before it was ready says nothing of it.
    fn measure(&mut self, key: Key, load: Load) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let is_meant = match &entry.phase {
            Phase::Ready(ready) => load.as_of >= ready.since,
            Phase::Draining(draining) => load.as_of >= draining.since,
            Phase::Unknown(_)
            | Phase::Asleep(_)
            | Phase::Waking(_)
            | Phase::Settling(_)
            | Phase::Failed(_)
            | Phase::Misconfigured(_)
            | Phase::Gone(_) => false,
        };
        if is_meant {
            let below = entry.policy.idle_below;
            entry.load.get_or_insert_default().see(load, below);
        }
    }

    fn arm(&mut self, key: Key) {
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let (before, after) = (entry.armed, entry.deadline());
        if before == after {
            return;
        }
        entry.armed = after;
        if let Some(before) = before {
            self.timers.remove(before, key);
        }
        if let Some(after) = after {
            self.timers.insert(after, key);
        }
    }
}

fn running(condition: Condition) -> Option<RunId> {
    match condition {
        Condition::Running { run, .. } => Some(run),
        Condition::Paused { .. }
        | Condition::Stopped { .. }
        | Condition::Restarting { .. }
        | Condition::Absent => None,
    }
}

/// Drops a look that an answer or a later look has overtaken.
fn admit(entry: &Entry, event: lifecycle::Event) -> Option<lifecycle::Event> {
    let overtaken = matches!(&event,
        lifecycle::Event::Observed(observation) if observation.as_of < entry.fresh_after);
    (!overtaken).then_some(event)
}
