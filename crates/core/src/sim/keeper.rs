//! The keeper of the simulated world: it feeds the fleet and executes its effects, gates included.

use std::sync::Arc;
use std::time::Duration;

use super::agenda::{Happening, Order, Question};
use super::fate::Fate;
use super::gate::{Door, Gate};
use super::log::{Kind, Output};
use super::world::{Configured, World};
use crate::fleet::{self, Key};
use crate::id::Epoch;
use crate::lifecycle::{self, Ticket, WakeCause};
use crate::load::Load;
use crate::policy::Policy;
use crate::time::Timestamp;

impl<F: Fate> World<F> {
    /// Tells the fleet about something, executes every effect, and judges what it did.
    pub(crate) fn feed(&mut self, event: fleet::Event) {
        self.inputs += 1;
        self.log.note(self.now, Kind::Heard, format_args!("{event:?}"));
        self.witness.before(&self.fleet, &self.workloads, &event, self.now);
        self.fleet.handle(event, self.now);
        self.settle();
    }

    pub(super) fn handle_timeout(&mut self) {
        self.inputs += 1;
        self.log.note(self.now, Kind::Heard, format_args!("its timers"));
        self.witness.begin(&self.fleet, &self.workloads, self.now);
        self.fleet.handle_timeout(self.now);
        self.witness.after_timeout(&self.fleet, self.now);
        self.settle();
    }

    /// Something has come to the keeper about a workload.
    pub(crate) fn hear(&mut self, w: usize, event: lifecycle::Event) {
        let wants = &mut self.workloads[w].wants_on_the_way;
        if matches!(event, lifecycle::Event::Wanted(WakeCause::Request)) {
            *wants = wants.saturating_sub(1);
        }
        if let Some(key) = self.workloads[w].key {
            self.feed(fleet::Event::Workload(key, event));
        }
    }

    /// Sends something about a workload to the keeper.
    pub(super) fn deliver(&mut self, w: usize, delay: Duration, event: lifecycle::Event) {
        let deliver = Happening::Deliver { keeper: self.keeper, workload: w, event };
        self.agenda.add(self.now + delay, deliver);
    }

    /// The configuration says about this workload what it says.
    pub(crate) fn configure(&mut self, w: usize) {
        let id = self.workloads[w].id.clone();
        let event = match self.workloads[w].configured {
            Configured::Defined => {
                let policy = Arc::clone(&self.workloads[w].policy);
                fleet::Event::Define { id, policy }
            }
            Configured::Wrong => {
                let message = "its definition is wrong".to_owned();
                fleet::Event::Misdefine { id, message }
            }
            Configured::Absent => fleet::Event::Forget { id },
        };
        self.feed(event);
        self.learn_keys();
        if self.workloads[w].configured == Configured::Absent {
            self.workloads[w].gate = Gate::new();
            self.workloads[w].pin = None;
            self.workloads[w].wants_on_the_way = 0;
        }
    }

    /// The configuration changes.
    pub(crate) fn reconfigure(&mut self, w: usize, configured: Configured, policy: Policy) {
        self.workloads[w].configured = configured;
        self.workloads[w].policy = Arc::new(policy);
        self.configure(w);
    }

    /// An environment answers again: the feed says so, then lists everything.
    pub(crate) fn reach(&mut self, environment: usize) {
        self.environments[environment].up = true;
        self.inform_after(environment, Duration::ZERO);
        self.list(environment);
    }

    /// An environment stops answering; the keeper hears of it later.
    pub(crate) fn lose(&mut self, environment: usize) {
        self.environments[environment].up = false;
        let delay = self.fate.hang_up();
        self.inform_after(environment, delay);
    }

    fn inform_after(&mut self, environment: usize, delay: Duration) {
        let inform = Happening::Inform { keeper: self.keeper, environment };
        self.agenda.add(self.now + delay, inform);
    }

    /// The feed tells things in their order: what it says is still true.
    pub(super) fn inform(&mut self, environment: usize) {
        let name = self.environments[environment].name.clone();
        let event = if self.environments[environment].up {
            fleet::Event::EnvironmentReached(name)
        } else {
            fleet::Event::EnvironmentLost(name)
        };
        self.feed(event);
    }

    /// A person asks for a sleep. The ticket finds the answer.
    pub(crate) fn ask_sleep(&mut self, w: usize, how: fn(Ticket) -> lifecycle::Event) {
        if let Some(key) = self.workloads[w].key {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.witness.ask(ticket, self.now);
            self.feed(fleet::Event::Workload(key, how(ticket)));
        }
    }

    pub(crate) fn pin(&mut self, w: usize, until: Option<Timestamp>) {
        if let Some(key) = self.workloads[w].key {
            self.workloads[w].pin = Some(until);
            self.feed(fleet::Event::Pin { key, until });
        }
    }

    /// Somebody has measured what a workload does.
    pub(crate) fn measure(&mut self, w: usize, load: Load) {
        if let Some(key) = self.workloads[w].key {
            self.feed(fleet::Event::Measured { key, load });
        }
    }

    pub(crate) fn unpin(&mut self, w: usize) {
        if let Some(key) = self.workloads[w].key {
            self.feed(fleet::Event::Unpin { key });
        }
    }

    /// The gate of a workload is shut, and counted.
    pub(super) fn gate_shuts(&mut self, w: usize, epoch: Epoch) {
        let gate = &mut self.workloads[w].gate;
        if gate.closing != Some(epoch) {
            return;
        }
        gate.closing = None;
        gate.door = Door::Shut;
        let activity = gate.activity();
        if activity.served > 0 {
            gate.draining = Some(epoch);
        }
        let travel = self.fate.answer(w);
        for delay in travel.arrivals() {
            self.deliver(w, delay, lifecycle::Event::GateClosed { epoch, activity });
        }
    }

    fn settle(&mut self) {
        while let Some(effect) = self.fleet.poll_effect() {
            self.log.note(self.now, Kind::Asked, format_args!("{effect:?}"));
            self.perform(effect);
        }
        self.by_key.retain(|&key, _| self.fleet.phase(key).is_some());
        for workload in &mut self.workloads {
            workload.key = workload.key.filter(|key| self.by_key.contains_key(key));
        }
        self.witness.after(&self.fleet, &self.workloads, self.now);
    }

    fn perform(&mut self, effect: fleet::Effect) {
        let key = match &effect {
            fleet::Effect::Act(key, _)
            | fleet::Effect::Moved { key, .. }
            | fleet::Effect::PinEnded(key) => *key,
        };
        let Some(w) = self.workload_of(key) else {
            return;
        };
        self.witness.effect(&self.fleet, &self.workloads, w, &effect, self.now);
        self.log.put_out(self.now, || Output::Effect { workload: w, effect: effect.clone() });
        match effect {
            fleet::Effect::Act(_, effect) => self.execute(w, effect),
            fleet::Effect::PinEnded(_) => self.workloads[w].pin = None,
            fleet::Effect::Moved { .. } => {}
        }
    }

    /// Keys are learned from the first effect or at the latest after the event that gave them out.
    fn workload_of(&mut self, key: Key) -> Option<usize> {
        if let Some(&w) = self.by_key.get(&key) {
            return Some(w);
        }
        self.learn_keys();
        self.by_key.get(&key).copied()
    }

    pub(super) fn learn_keys(&mut self) {
        for (w, workload) in self.workloads.iter_mut().enumerate() {
            if let Some(key) = self.fleet.key(&workload.id) {
                workload.key = Some(key);
                self.by_key.insert(key, w);
            }
        }
    }

    fn execute(&mut self, w: usize, effect: lifecycle::Effect) {
        match effect {
            lifecycle::Effect::Observe => self.look(w),
            lifecycle::Effect::Start { epoch, deadline } => {
                let order = self.order(w, epoch, deadline, Question::Start);
                let fate = self.fate.start(w);
                let at = self.now + fate.takes;
                self.agenda.add(at, Happening::StartLands(order, fate));
            }
            lifecycle::Effect::Rest { epoch, rest, deadline } => {
                let order = self.order(w, epoch, deadline, Question::Rest);
                let fate = self.fate.rest(w);
                let at = self.now + fate.lands;
                self.agenda.add(at, Happening::RestLands(order, rest, fate));
            }
            lifecycle::Effect::Probe { epoch, deadline } => {
                let order = self.order(w, epoch, deadline, Question::Probe);
                self.workloads[w].probe = Some(order);
                let looks = Happening::ProbeLooks { workload: w, epoch };
                self.agenda.add(self.now, looks);
            }
            lifecycle::Effect::Abandon { epoch } => self.abandon(w, epoch),
            lifecycle::Effect::ReadActivity { epoch } => {
                let activity = self.workloads[w].gate.activity();
                let travel = self.fate.answer(w);
                for delay in travel.arrivals() {
                    self.deliver(w, delay, lifecycle::Event::ActivityRead { epoch, activity });
                }
            }
            lifecycle::Effect::CloseGate { epoch } => {
                self.workloads[w].gate.closing = Some(epoch);
                let at = self.now + self.fate.gate(w);
                self.agenda.add(at, Happening::GateShuts { workload: w, epoch });
            }
            lifecycle::Effect::ShutGate => self.workloads[w].gate.shut(Door::Shut),
            lifecycle::Effect::OpenGate => self.open_gate(w),
            lifecycle::Effect::Deny { retry_at, .. } => self.deny(w, retry_at),
            // What is told and answered is the witness's business; the rest stays in the fleet.
            lifecycle::Effect::Tell(_)
            | lifecycle::Effect::Answer(..)
            | lifecycle::Effect::CountFailure { .. }
            | lifecycle::Effect::CountRestFailure(_)
            | lifecycle::Effect::ForgetRestFailures
            | lifecycle::Effect::Calm
            | lifecycle::Effect::Completed
            | lifecycle::Effect::DropPin => {}
        }
    }

    fn order(&mut self, w: usize, epoch: Epoch, deadline: Timestamp, question: Question) -> Order {
        let order = Order { keeper: self.keeper, workload: w, epoch };
        match question {
            Question::Start | Question::Rest => self.workloads[w].orders.push(epoch),
            Question::Probe => {}
        }
        let at = deadline.max(self.now);
        self.agenda.add(at, Happening::Expires(order, question));
        order
    }

    /// Nobody waits for the answer; what has been asked of the runtime may happen all the same.
    fn abandon(&mut self, w: usize, epoch: Epoch) {
        let workload = &mut self.workloads[w];
        if workload.probe.is_some_and(|probe| probe.epoch == epoch) {
            workload.probe = None;
        }
    }
}
