//! The simulated runtimes: what they do when they are asked, when a person asks them, and by
//! themselves; and what they tell the keeper of it.

use std::time::Duration;

use super::agenda::{Happening, Order, Question};
use super::body::Body;
use super::fate::{Ending, Fate, Life, RestFate, RestOutcome, StartFate, StartOutcome};
use super::log::Kind;
use super::world::World;
use crate::failure::{Failure, FailureKind};
use crate::id::Epoch;
use crate::lifecycle::{Event, StartFailure};
use crate::limits;
use crate::observation::{Condition, Observation, RunId};
use crate::policy::Rest;
use crate::time::Timestamp;

/// Something that a person, or a fault, does to a workload behind the keeper's back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    Start,
    Stop,
    Pause,
    Unpause,
    Remove,
    Create,
    Restart,
    Crash(Ending),
}

impl<F: Fate> World<F> {
    /// A start reaches the runtime.
    pub(super) fn start_lands(&mut self, order: Order, fate: StartFate) {
        let w = order.workload;
        if !self.is_up(w) {
            let failure = Failure::new(FailureKind::Unreachable, "the runtime is not reachable");
            self.answer_start(order, Err(StartFailure::Passing(failure)));
            return;
        }
        let result = match fate.outcome {
            StartOutcome::Refused(failure) => Err(failure),
            StartOutcome::EndsAtOnce(ending) => self.start_and_end(w, ending),
            StartOutcome::Runs => {
                // What an earlier keeper asked for is found by this one.
                let found_at = (order.keeper != self.keeper).then_some(self.now);
                self.start_body(w, found_at)
            }
        };
        self.answer_start(order, result);
    }

    /// A rest reaches the runtime.
    pub(super) fn rest_lands(&mut self, order: Order, rest: Rest, fate: RestFate) {
        let w = order.workload;
        if !self.is_up(w) {
            self.answer_rest(order, Err(unreachable_rest()));
            return;
        }
        let takes = match fate.outcome {
            RestOutcome::Refused => {
                let failure = Failure::new(FailureKind::RestRefused, "the runtime refused");
                self.answer_rest(order, Err(failure));
                return;
            }
            RestOutcome::Ignored => Duration::from_millis(10),
            RestOutcome::Rests { takes } => self.rest_body(w, rest, takes),
        };
        self.agenda.add(self.now + takes, Happening::RestAnswers(order));
    }

    /// The runtime looks after a rest, and answers with what it sees.
    pub(super) fn rest_answers(&mut self, order: Order) {
        let result = if self.is_up(order.workload) {
            Ok(self.workloads[order.workload].body.condition())
        } else {
            Err(unreachable_rest())
        };
        self.answer_rest(order, result);
    }

    /// A question's deadline has come: the adapter gives up by itself.
    pub(super) fn expires(&mut self, order: Order, question: Question) {
        let failure = Failure::new(FailureKind::TimedOut, "the runtime did not answer in time");
        match question {
            Question::Start => self.answer_start(order, Err(StartFailure::Passing(failure))),
            Question::Rest => self.answer_rest(order, Err(failure)),
            Question::Probe => {
                let probe = self.workloads[order.workload].probe;
                if probe.is_some_and(|probe| probe.epoch == order.epoch) {
                    let failure = Failure::new(FailureKind::NeverReady, "it never became ready");
                    self.answer_probe(order, Err(failure));
                }
            }
        }
    }

    /// The runtime's own restart policy.
    pub(super) fn rises(&mut self, w: usize, serial: u32) {
        let workload = &self.workloads[w];
        if workload.serial == serial && matches!(workload.body, Body::Restarting { .. }) {
            let found_at = workload.found_at;
            self.rise(w, found_at);
        }
    }

    pub(super) fn readies(&mut self, w: usize, run: RunId) {
        match self.workloads[w].body {
            Body::Running { run: now, .. } if now == run => {
                self.set_body(w, Body::Running { run, ready: true });
            }
            Body::Paused { run: now, .. } if now == run => {
                self.set_body(w, Body::Paused { run, ready: true });
            }
            Body::Running { .. }
            | Body::Paused { .. }
            | Body::Absent
            | Body::Stopped { .. }
            | Body::Stopping { .. }
            | Body::Restarting { .. } => {}
        }
    }

    pub(super) fn ends(&mut self, w: usize, run: RunId, ending: Ending) {
        let body = self.workloads[w].body;
        if body.run() == Some(run) && body.executes() {
            self.end_body(w, ending);
        }
    }

    pub(super) fn probe_looks(&mut self, w: usize, epoch: Epoch) {
        let Some(order) = self.workloads[w].probe.filter(|order| order.epoch == epoch) else {
            return;
        };
        if self.workloads[w].body.answers() {
            self.workloads[w].gate.probed = self.workloads[w].body.run();
            self.answer_probe(order, Ok(()));
        }
    }

    /// A look that began at `as_of` reads the truth now.
    pub(super) fn read(&mut self, w: usize, as_of: Timestamp) {
        if self.is_up(w) {
            let condition = self.workloads[w].body.condition();
            let observation = Observation { condition, as_of };
            let delay = self.fate.look();
            self.deliver(w, delay, Event::Observed(observation));
        }
    }

    /// Every reachable runtime is listed.
    pub(super) fn resync(&mut self) {
        for environment in 0..self.environments.len() {
            self.list(environment);
        }
        self.agenda.add(self.now + limits::RESYNC_EVERY, Happening::Resync);
    }

    /// A runtime is listed, if it can be reached.
    pub(super) fn list(&mut self, environment: usize) {
        if !self.environments[environment].up {
            return;
        }
        for w in 0..self.workloads.len() {
            if self.workloads[w].environment == environment {
                self.look(w);
            }
        }
    }

    /// A look begins.
    pub(super) fn look(&mut self, w: usize) {
        let at = self.now + self.fate.look();
        let (keeper, as_of) = (self.keeper, self.now);
        self.agenda.add(at, Happening::Look { keeper, workload: w, as_of });
    }

    /// Does something behind the keeper's back. What makes no sense right now is not done.
    pub(crate) fn deed(&mut self, w: usize, deed: Deed) {
        let now = self.now;
        let body = self.workloads[w].body;
        match (deed, body) {
            (Deed::Start, Body::Stopped { .. })
            | (Deed::Restart, Body::Running { .. } | Body::Paused { .. } | Body::Stopped { .. }) => {
                self.rise(w, Some(now));
            }
            (Deed::Stop, Body::Running { run, .. }) => {
                self.set_body(w, Body::Stopping { run });
                let ending = Ending { exit: 143, rises_in: None };
                self.end_later(w, run, Duration::from_millis(300), ending);
            }
            (Deed::Pause, Body::Running { run, ready }) => {
                self.set_body(w, Body::Paused { run, ready });
            }
            (Deed::Unpause, Body::Paused { run, ready }) => {
                self.set_body(w, Body::Running { run, ready });
            }
            (Deed::Remove, _) => self.set_body(w, Body::Absent),
            (Deed::Create, Body::Absent) => self.set_body(w, Body::Stopped { exit: None }),
            (Deed::Crash(ending), Body::Running { .. }) => self.end_body(w, ending),
            (
                Deed::Start
                | Deed::Stop
                | Deed::Pause
                | Deed::Unpause
                | Deed::Create
                | Deed::Restart
                | Deed::Crash(_),
                _,
            ) => {}
        }
    }

    pub(super) fn is_up(&self, w: usize) -> bool {
        self.environments[self.workloads[w].environment].up
    }

    fn start_body(&mut self, w: usize, found_at: Option<Timestamp>) -> Result<RunId, StartFailure> {
        match self.workloads[w].body {
            Body::Absent => Err(StartFailure::Absent),
            // A runtime answers a start while stopping with success, and goes on stopping.
            Body::Running { run, .. } | Body::Stopping { run } => Ok(run),
            Body::Paused { run, ready } => {
                self.set_body(w, Body::Running { run, ready });
                let life = self.fate.life(w);
                self.live(w, run, life);
                Ok(run)
            }
            Body::Stopped { .. } | Body::Restarting { .. } => Ok(self.rise(w, found_at)),
        }
    }

    fn start_and_end(&mut self, w: usize, ending: Ending) -> Result<RunId, StartFailure> {
        let was = self.workloads[w].body;
        let run = self.start_body(w, None)?;
        if was.run().is_some() {
            return Ok(run);
        }
        self.end_body(w, ending);
        let exit_code = Some(ending.exit);
        Err(StartFailure::Ended { exit_code })
    }

    /// Rests the body, and says how long that takes.
    fn rest_body(&mut self, w: usize, rest: Rest, takes: Duration) -> Duration {
        let body = self.workloads[w].body;
        let killed = Ending { exit: 137, rises_in: None };
        match (rest, body) {
            (Rest::Stop, Body::Running { run, .. }) => {
                let grace = self.workloads[w].policy.stop_timeout;
                let exit = if takes <= grace { 143 } else { killed.exit };
                let takes = takes.min(grace);
                self.set_body(w, Body::Stopping { run });
                let ending = Ending { exit, rises_in: None };
                self.end_later(w, run, takes, ending);
                takes
            }
            (Rest::Pause, Body::Running { run, ready }) => {
                self.set_body(w, Body::Paused { run, ready });
                Duration::ZERO
            }
            (Rest::Kill, Body::Running { .. } | Body::Stopping { .. })
            | (Rest::Stop | Rest::Kill, Body::Paused { .. } | Body::Restarting { .. }) => {
                self.end_body(w, killed);
                Duration::ZERO
            }
            (Rest::Stop, Body::Stopping { .. }) => takes,
            (
                Rest::Pause,
                Body::Stopping { .. } | Body::Restarting { .. } | Body::Paused { .. },
            )
            | (_, Body::Stopped { .. } | Body::Absent) => Duration::ZERO,
        }
    }

    fn rise(&mut self, w: usize, found_at: Option<Timestamp>) -> RunId {
        let run = RunId(self.next_run);
        self.next_run += 1;
        self.workloads[w].found_at = found_at;
        self.set_body(w, Body::Running { run, ready: false });
        let life = self.fate.life(w);
        self.live(w, run, life);
        run
    }

    fn live(&mut self, w: usize, run: RunId, life: Life) {
        self.ready_later(w, run, life.ready_in);
        if let Some((delay, ending)) = life.ends {
            self.end_later(w, run, delay, ending);
        }
    }

    /// Whatever runs becomes ready, or ends well if that is its purpose.
    pub(super) fn heal(&mut self, w: usize) {
        let life = self.fate.life(w);
        if let Some(run) = self.workloads[w].body.run() {
            self.live(w, run, life);
        }
    }

    fn ready_later(&mut self, w: usize, run: RunId, delay: Option<Duration>) {
        if let Some(delay) = delay {
            let readies = Happening::Readies { workload: w, run };
            self.agenda.add(self.now + delay, readies);
        }
    }

    fn end_later(&mut self, w: usize, run: RunId, delay: Duration, ending: Ending) {
        let ends = Happening::Ends { workload: w, run, ending };
        self.agenda.add(self.now + delay, ends);
    }

    fn end_body(&mut self, w: usize, ending: Ending) {
        let stopping = matches!(self.workloads[w].body, Body::Stopping { .. });
        if ending.exit == 0 {
            self.workloads[w].has_completed = true;
        }
        match ending.rises_in.filter(|_| !stopping) {
            Some(delay) => {
                self.set_body(w, Body::Restarting { exit: ending.exit });
                let serial = self.workloads[w].serial;
                let rises = Happening::Rises { workload: w, serial };
                self.agenda.add(self.now + delay, rises);
            }
            None => {
                let exit = Some(ending.exit);
                self.set_body(w, Body::Stopped { exit });
            }
        }
    }

    fn set_body(&mut self, w: usize, body: Body) {
        let workload = &mut self.workloads[w];
        let before = std::mem::replace(&mut workload.body, body);
        workload.serial += 1;
        let id = &workload.id;
        let probe = workload.probe;
        self.log.note(self.now, Kind::Truth, format_args!("{id} {body:?}"));
        if before.condition() != body.condition() {
            self.notify(w, body.condition());
        }
        if before.run() != body.run() {
            self.hang_up(w, body.run());
        }
        if let (true, Some(order)) = (body.answers(), probe) {
            let looks = Happening::ProbeLooks { workload: w, epoch: order.epoch };
            self.agenda.add(self.now, looks);
        }
    }

    fn notify(&mut self, w: usize, condition: Condition) {
        if !self.is_up(w) {
            return;
        }
        let as_of = self.now;
        let travel = self.fate.notice(w);
        for delay in travel.arrivals() {
            let observation = Observation { condition, as_of };
            self.deliver(w, delay, Event::Observed(observation));
        }
    }

    fn answer_start(&mut self, order: Order, result: Result<RunId, StartFailure>) {
        let event = Event::Started { epoch: order.epoch, as_of: self.now, result };
        self.answer(order, event);
    }

    fn answer_rest(&mut self, order: Order, result: Result<Condition, Failure>) {
        let event = Event::Rested { epoch: order.epoch, as_of: self.now, result };
        self.answer(order, event);
    }

    fn answer(&mut self, order: Order, event: Event) {
        let orders = &mut self.workloads[order.workload].orders;
        let Some(position) = orders.iter().position(|&epoch| epoch == order.epoch) else {
            return;
        };
        if order.keeper != self.keeper {
            return;
        }
        orders.remove(position);
        let travel = self.fate.answer(order.workload);
        for delay in travel.arrivals() {
            self.deliver(order.workload, delay, event.clone());
        }
    }

    fn answer_probe(&mut self, order: Order, result: Result<(), Failure>) {
        self.workloads[order.workload].probe = None;
        let travel = self.fate.answer(order.workload);
        for delay in travel.arrivals() {
            let epoch = order.epoch;
            let result = result.clone();
            self.deliver(order.workload, delay, Event::Probed { epoch, result });
        }
    }
}

fn unreachable_rest() -> Failure {
    Failure::new(FailureKind::Unreachable, "the runtime is not reachable")
}
