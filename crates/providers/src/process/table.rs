//! What this provider knows: its targets, their runs, and the guard over all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dormouse_core::RunId;
use rustix::process::Signal;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::attendant::Attendant;
use super::entry::{Entry, found};
use super::guard::GuardCommand;
use super::run::{Phase, Run};
use super::ward::Ward;
use super::{launch, port};
use crate::provider::{Found, LaunchSpec, ProviderError, Sighting, StartOrder, Target};

/// Changes that wait for a feed; one that falls further behind is given a resync.
const CHANGES_MAX: usize = 64;

/// All targets. No method waits; each begins with a look at what it speaks of.
pub(super) struct Table {
    state: Mutex<State>,
    changes: broadcast::Sender<Found>,
}

/// What a step towards a running target came to.
pub(super) enum Begun {
    /// It runs.
    Runs(Sighting),
    /// Something must change first.
    Wait(watch::Receiver<Phase>),
    /// A run was begun, and needs somebody who attends to it.
    Launched(Attendant),
}

/// What a step towards a resting target came to.
pub(super) enum Step {
    /// It rests.
    Rests(Sighting),
    /// Something must change first.
    Wait(watch::Receiver<Phase>),
}

struct State {
    entries: BTreeMap<Target, Entry>,
    /// Those that had a run when they were last looked at: what sleeps costs nothing while it does.
    awake: BTreeSet<Target>,
    ward: Ward,
    /// Starts so far: what tells two runs with the same process id apart.
    starts: u32,
    /// Set once, by the end of everything.
    closed: bool,
}

impl Table {
    pub(super) fn new(guard: GuardCommand) -> Self {
        let (entries, awake) = (BTreeMap::new(), BTreeSet::new());
        let state = State { entries, awake, ward: Ward::new(guard), starts: 0, closed: false };
        Self { state: Mutex::new(state), changes: broadcast::Sender::new(CHANGES_MAX) }
    }

    /// Everything that will change from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Found> {
        self.changes.subscribe()
    }

    pub(super) fn list(&self) -> Vec<Found> {
        let as_of = Instant::now();
        let mut state = self.lock();
        state.look_after_all(&self.changes);
        let entries = state.entries.iter();
        entries.map(|(target, entry)| found(target, entry.sighting(as_of))).collect()
    }

    pub(super) fn observe(&self, target: &Target) -> Sighting {
        let as_of = Instant::now();
        let mut state = self.lock();
        state.look_after(target, &self.changes);
        let entry = state.entries.get(target);
        entry.map_or_else(|| Sighting::absent(as_of), |entry| entry.sighting(as_of))
    }

    pub(super) fn look_after_all(&self) {
        self.lock().look_after_all(&self.changes);
    }

    pub(super) fn look_after(&self, target: &Target) {
        self.lock().look_after(target, &self.changes);
    }

    /// Takes one step towards a running target. `awaited` remembers, from step to step of one call,
    /// the run whose end is the call's end.
    pub(super) fn begin(
        &self,
        target: &Target,
        order: &StartOrder,
        awaited: &mut Option<RunId>,
    ) -> Result<Begun, ProviderError> {
        let as_of = Instant::now();
        let mut state = self.lock();
        state.look_after(target, &self.changes);
        let entry = state.entries.get(target);
        if let Some((entry, run)) = entry.and_then(|entry| Some((entry, entry.run()?))) {
            match run.phase() {
                Phase::Running => return Ok(Begun::Runs(entry.sighting(as_of))),
                Phase::Launching => *awaited = Some(run.id),
                Phase::Paused => run.signal(Signal::CONT),
                Phase::Stopping { .. } => {}
            }
            return Ok(Begun::Wait(run.phases()));
        }
        if let Some((entry, awaited)) = entry.zip(*awaited) {
            entry.check_awaited(awaited)?;
        }
        let attendant = state.launch(target, order)?;
        *awaited = Some(attendant.run);
        Ok(Begun::Launched(attendant))
    }

    /// Takes one step towards a stopped target.
    pub(super) fn stop(
        &self,
        target: &Target,
        signal: Signal,
        kill_at: Instant,
    ) -> Result<Step, ProviderError> {
        self.rest(target, is_over, |run| match run.phase() {
            Phase::Launching | Phase::Running | Phase::Paused => run.stop(signal, kill_at),
            Phase::Stopping { .. } => {}
        })
    }

    /// Takes one step towards a stopped target, without asking it.
    pub(super) fn kill(&self, target: &Target) -> Result<Step, ProviderError> {
        self.rest(target, is_over, Run::kill)
    }

    /// Takes one step towards a paused target; one that has ended rests as well.
    pub(super) fn pause(&self, target: &Target) -> Result<Step, ProviderError> {
        self.rest(target, is_paused, |run| match run.phase() {
            Phase::Running => run.signal(Signal::STOP),
            Phase::Launching | Phase::Paused | Phase::Stopping { .. } => {}
        })
    }

    /// Undoes a step towards a pause that did not get there.
    pub(super) fn thaw(&self, target: &Target) {
        let mut state = self.lock();
        state.look_after(target, &self.changes);
        let run = state.entries.get(target).and_then(|entry| entry.run());
        if let Some(run) = run.filter(|run| run.phase() == Phase::Running) {
            run.signal(Signal::CONT);
        }
    }

    /// Ends a run whose grace is over.
    pub(super) fn kill_overdue(&self, target: &Target, run: RunId) {
        let state = self.lock();
        let current = state.entries.get(target).and_then(|entry| entry.run());
        if let Some(current) = current.filter(|current| current.id == run) {
            tracing::info!(process = %target, "Killed what did not stop in time");
            current.signal(Signal::KILL);
        }
    }

    /// Changes the set of targets that are known although they may never have run. One that is no
    /// longer followed is forgotten at the first change of the set that finds it ended.
    pub(super) fn follow(&self, targets: &BTreeSet<Target>) {
        let as_of = Instant::now();
        let mut state = self.lock();
        state.look_after_all(&self.changes);
        state.entries.retain(|target, entry| {
            let keep = targets.contains(target) || entry.run().is_some() || !entry.followed;
            if !keep {
                self.publish(found(target, Sighting::absent(as_of)));
            }
            keep
        });
        for target in targets {
            let known = state.entries.contains_key(target);
            let entry = state.entries.entry(target.clone()).or_default();
            entry.followed = true;
            if !known {
                self.publish(found(target, entry.sighting(as_of)));
            }
        }
    }

    /// The last `lines` lines of its output.
    pub(super) fn log_tail(
        &self,
        target: &Target,
        lines: usize,
    ) -> Result<Vec<String>, ProviderError> {
        let mut state = self.lock();
        state.look_after(target, &self.changes);
        let entry = state.entries.get(target).ok_or_else(|| absent(target))?;
        Ok(entry.last_lines(lines))
    }

    /// Starts nothing more, and asks everything to end.
    pub(super) fn close(&self, kill_at: Instant) -> Vec<watch::Receiver<Phase>> {
        let mut state = self.lock();
        state.closed = true;
        let runs = state.entries.values_mut().filter_map(|entry| entry.run_mut());
        let stopped = runs.map(|run| {
            run.stop(Signal::TERM, kill_at);
            run.phases()
        });
        stopped.collect()
    }

    /// Kills what is left, and lets the guard go. Blocks for moments only.
    pub(super) fn abandon(&self) {
        let state = &mut *self.lock();
        state.closed = true;
        for run in state.entries.values().filter_map(|entry| entry.run()) {
            run.signal(Signal::KILL);
        }
        for run in state.entries.values_mut().filter_map(|entry| entry.take_run()) {
            let group = run.group();
            if run.abandon() {
                state.ward.remove(group);
            }
        }
        state.ward.dismiss();
    }

    fn rest(
        &self,
        target: &Target,
        rests: fn(Phase) -> bool,
        act: impl FnOnce(&mut Run),
    ) -> Result<Step, ProviderError> {
        let as_of = Instant::now();
        let mut state = self.lock();
        state.look_after(target, &self.changes);
        let entry = state.entries.get_mut(target).ok_or_else(|| absent(target))?;
        match entry.run_mut() {
            Some(run) if !rests(run.phase()) => {
                act(run);
                Ok(Step::Wait(run.phases()))
            }
            Some(_) | None => Ok(Step::Rests(entry.sighting(as_of))),
        }
    }

    fn publish(&self, found: Found) {
        // Nobody listening is fine: whoever comes later begins with a listing.
        let _ = self.changes.send(found);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look_after_all(&mut self, changes: &broadcast::Sender<Found>) {
        let Self { entries, awake, ward, .. } = self;
        awake.retain(|target| {
            let Some(entry) = entries.get_mut(target) else { return false };
            entry.look(target, ward, changes);
            entry.run().is_some()
        });
        let groups = self.groups();
        self.ward.look_after_guard(&groups);
    }

    fn look_after(&mut self, target: &Target, changes: &broadcast::Sender<Found>) {
        if let Some(entry) = self.entries.get_mut(target) {
            entry.look(target, &mut self.ward, changes);
        }
    }

    /// Begins a run: a child is born, the guard hears of it, and only then it may go on.
    fn launch(&mut self, target: &Target, order: &StartOrder) -> Result<Attendant, ProviderError> {
        if self.closed {
            return Err(ProviderError::Refused("dormouse is ending".into()));
        }
        let Some(spec) = &order.launch else {
            return Err(ProviderError::Misconfigured("a process needs a command".into()));
        };
        let port = self.choose_port(target, spec)?;
        let newborn = launch::bear(self.ward.command(), spec, port)?;
        self.starts += 1;
        let id = RunId(u64::from(self.starts) << 32 | u64::from(newborn.leader.id()));
        let entry = self.entries.get(target);
        let tail = entry.map_or_else(Default::default, Entry::tail);
        let run = Run::new(id, target.clone(), newborn, tail);
        let groups = self.groups();
        let guarded = self.ward.add(run.group(), &groups);
        if let Err(error) = guarded.and_then(|()| run.go()) {
            run.abandon();
            return Err(ProviderError::Refused(format!("nothing guards it: {error}")));
        }
        let attendant = run.attendant();
        self.entries.entry(target.clone()).or_default().begin(run, port);
        self.awake.insert(target.clone());
        Ok(attendant)
    }

    fn groups(&self) -> Vec<rustix::process::Pid> {
        let awake = self.awake.iter().filter_map(|target| self.entries.get(target)?.run());
        awake.map(Run::group).collect()
    }

    fn choose_port(&self, target: &Target, spec: &LaunchSpec) -> Result<u16, ProviderError> {
        let others = self.entries.iter().filter(|(other, _)| *other != target);
        let taken: BTreeSet<u16> = others.filter_map(|(_, entry)| entry.port()).collect();
        let remembered = self.entries.get(target).and_then(Entry::port);
        port::choose(spec.port, remembered, &taken)
    }
}

fn absent(target: &Target) -> ProviderError {
    ProviderError::Absent(target.clone())
}

/// No phase of a run is its end.
fn is_over(_: Phase) -> bool {
    false
}

fn is_paused(phase: Phase) -> bool {
    phase == Phase::Paused
}
