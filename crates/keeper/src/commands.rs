//! Answers the handle: views, sleeps and pins.

use std::net::SocketAddr;
use std::sync::Arc;

use dormouse_core::fleet::{self, Key};
use dormouse_core::lifecycle::{Event, SleepAnswer, Ticket};
use dormouse_core::load::Load;
use dormouse_core::{EnvironmentName, WorkloadId};
use tokio::sync::oneshot;

use crate::environment::Environment;
use crate::gate::Opening;
use crate::handle::{Command, Insistence};
use crate::journal::JournalKind;
use crate::keeper::Keeper;
use crate::view::{EnvironmentView, PinView, WorkloadView};

impl Keeper {
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Apply(layout, answer) => {
                let gates = self.apply(layout);
                let _ = answer.send(gates);
            }
            Command::Gate(id, answer) => {
                let workload = self.fleet.key(&id).and_then(|key| self.workloads.get(&key));
                let _ = answer.send(workload.map(|workload| Arc::clone(&workload.gate)));
            }
            Command::View(id, answer) => {
                let view = self.fleet.key(&id).and_then(|key| self.view(key));
                let _ = answer.send(view);
            }
            Command::Views(answer) => {
                let keys: Vec<Key> = self.fleet.workloads().map(|(_, key)| key).collect();
                let _ = answer.send(keys.into_iter().filter_map(|key| self.view(key)).collect());
            }
            Command::Environments(answer) => {
                let _ = answer.send(self.environment_views());
            }
            Command::Sleep(id, insistence, answer) => self.sleep(&id, insistence, answer),
            Command::Pin(id, pin, answer) => {
                let _ = answer.send(self.pin(&id, pin));
            }
            Command::Unpin(id, answer) => {
                let _ = answer.send(self.unpin(&id));
            }
            Command::Measured(loads) => self.measured(&loads),
        }
    }

    fn sleep(
        &mut self,
        id: &WorkloadId,
        insistence: Insistence,
        answer: oneshot::Sender<Option<SleepAnswer>>,
    ) {
        let Some(key) = self.fleet.key(id) else {
            let _ = answer.send(None);
            return;
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, answer);
        let event = match insistence {
            Insistence::UnlessInUse => Event::SleepAsked(ticket),
            Insistence::Forced => Event::SleepForced(ticket),
        };
        self.tell(key, event);
    }

    fn pin(&mut self, id: &WorkloadId, pin: PinView) -> bool {
        let Some(key) = self.fleet.key(id) else {
            return false;
        };
        let until = pin.until_ms.map(|unix_ms| self.clock.from_unix_ms(unix_ms));
        if let Some(workload) = self.workloads.get_mut(&key) {
            workload.affairs_mut().pin = Some(pin);
        }
        self.write_journal(Some(id.clone()), JournalKind::Pinned);
        self.fleet.handle(fleet::Event::Pin { key, until }, self.clock.now());
        self.drain();
        true
    }

    fn unpin(&mut self, id: &WorkloadId) -> bool {
        let Some(key) = self.fleet.key(id) else {
            return false;
        };
        let pinned = self.fleet.is_pinned(key);
        self.fleet.handle(fleet::Event::Unpin { key }, self.clock.now());
        self.drain();
        pinned
    }

    fn measured(&mut self, loads: &[(WorkloadId, Load)]) {
        let now = self.clock.now();
        for (id, load) in loads {
            if let Some(key) = self.fleet.key(id) {
                self.fleet.handle(fleet::Event::Measured { key, load: *load }, now);
            }
        }
        self.drain();
    }

    fn view(&self, key: Key) -> Option<WorkloadView> {
        let workload = self.workloads.get(&key)?;
        let activity = workload.gate.activity();
        let affairs = workload.affairs();
        Some(WorkloadView {
            explanation: self.explain(key, workload)?,
            target: workload.target.clone(),
            policy: self.fleet.policy(key)?.clone(),
            leases: workload.gate.counts(),
            waiting: activity.waiting,
            pin: affairs.and_then(|affairs| affairs.pin.clone()),
            story: workload.gate.story_so_far(),
            last_wake_times: affairs.and_then(|affairs| affairs.last_wake_times),
            upstream: workload.gate.peek().map(|open| addresses(&open)).unwrap_or_default(),
        })
    }

    fn environment_views(&self) -> Vec<EnvironmentView> {
        let view = |(name, environment): (&EnvironmentName, &Environment)| {
            let standing = environment.standing(self.clock);
            EnvironmentView {
                name: name.clone(),
                reachable: standing.reachable,
                last_error: standing.last_error,
                since_ms: standing.since_ms,
                workloads: environment.targets.len(),
                resyncs: environment.resyncs,
            }
        };
        self.environments.iter().map(view).collect()
    }
}

/// Everywhere that an opening leads.
fn addresses(opening: &Opening) -> Vec<(u16, SocketAddr)> {
    opening.ports.iter().chain(&opening.udp_ports).copied().collect()
}
