//! The visitors of the simulated world: they come to a gate, wait, are admitted or turned away.

use std::time::Duration;

use super::agenda::Happening;
use super::fate::Fate;
use super::gate::{Door, Gate, Lease, Visitor};
use super::log::{Kind, Output, Sight};
use super::world::{Configured, World};
use crate::lifecycle::{Event, WakeCause};
use crate::observation::RunId;
use crate::time::Timestamp;

/// How a visitor behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// How long it stays once it is admitted.
    pub(crate) stay: Duration,
    /// How long it waits; for ever when absent.
    pub(crate) patience: Option<Duration>,
}

impl<F: Fate> World<F> {
    /// Somebody comes to a gate.
    pub(crate) fn visit(&mut self, w: usize, manner: Manner) -> u64 {
        let visitor = self.next_visitor;
        self.next_visitor += 1;
        if self.workloads[w].configured == Configured::Absent {
            return visitor;
        }
        let now = self.now;
        match self.workloads[w].gate.door {
            Door::Open(run) => self.admit(w, visitor, run, manner.stay),
            Door::Denied(None) => self.see(w, visitor, Sight::TurnedAway),
            Door::Denied(Some(until)) if now < until => self.see(w, visitor, Sight::TurnedAway),
            Door::Denied(Some(_)) | Door::Shut => self.wait(w, visitor, manner),
        }
        visitor
    }

    pub(super) fn lease_ends(&mut self, w: usize, visitor: u64) {
        let gate = &mut self.workloads[w].gate;
        let before = gate.served.len();
        gate.served.retain(|lease| lease.visitor != visitor);
        if gate.served.len() == before {
            return;
        }
        gate.last_use = Some(self.now);
        if let (true, Some(epoch)) = (gate.served.is_empty(), gate.draining) {
            gate.draining = None;
            let travel = self.fate.answer(w);
            for delay in travel.arrivals() {
                self.deliver(w, delay, Event::LeasesEnded { epoch });
            }
        }
    }

    pub(super) fn visitor_leaves(&mut self, w: usize, visitor: u64) {
        let waiting = &mut self.workloads[w].gate.waiting;
        waiting.retain(|waiting| waiting.visitor != visitor);
    }

    /// Connections to a run that is not there any more break after a while.
    pub(super) fn hang_up(&mut self, w: usize, left: Option<RunId>) {
        let broken = |lease: &&Lease| Some(lease.run) != left;
        let served = &self.workloads[w].gate.served;
        let visitors: Vec<u64> = served.iter().filter(broken).map(|lease| lease.visitor).collect();
        for visitor in visitors {
            let at = self.now + self.fate.hang_up();
            let ends = Happening::LeaseEnds { workload: w, visitor };
            self.agenda.add(at, ends);
        }
    }

    pub(super) fn open_gate(&mut self, w: usize) {
        let now = self.now;
        let gate = &mut self.workloads[w].gate;
        let Some(run) = gate.probed else {
            self.witness.opened_blindly(w, now);
            return;
        };
        gate.shut(Door::Open(run));
        gate.want_sent = false;
        gate.last_use.get_or_insert(now);
        for waiting in std::mem::take(&mut gate.waiting) {
            self.admit(w, waiting.visitor, run, waiting.stay);
        }
    }

    pub(super) fn deny(&mut self, w: usize, retry_at: Option<Timestamp>) {
        let gate = &mut self.workloads[w].gate;
        gate.shut(Door::Denied(retry_at));
        gate.want_sent = false;
        for waiting in std::mem::take(&mut gate.waiting) {
            self.see(w, waiting.visitor, Sight::TurnedAway);
        }
    }

    fn admit(&mut self, w: usize, visitor: u64, run: RunId, stay: Duration) {
        self.see(w, visitor, Sight::Served);
        self.workloads[w].gate.served.push(Lease { visitor, run });
        // Whoever is sent to a run that has gone finds out soon.
        let gone = self.workloads[w].body.run() != Some(run);
        let stay = if gone { self.fate.hang_up() } else { stay };
        let ends = Happening::LeaseEnds { workload: w, visitor };
        self.agenda.add(self.now + stay, ends);
    }

    fn wait(&mut self, w: usize, visitor: u64, manner: Manner) {
        let since = self.now;
        let gate = &mut self.workloads[w].gate;
        gate.waiting.push(Visitor { visitor, since, stay: manner.stay });
        if let Some(patience) = manner.patience {
            let leaves = Happening::VisitorLeaves { workload: w, visitor };
            self.agenda.add(since + patience, leaves);
        }
        let gate = &mut self.workloads[w].gate;
        if !gate.want_sent {
            gate.want_sent = true;
            self.workloads[w].wants_on_the_way += 1;
            let delay = self.fate.want();
            self.deliver(w, delay, Event::Wanted(WakeCause::Request));
        }
        self.see(w, visitor, Sight::Waits);
    }

    fn see(&mut self, w: usize, visitor: u64, sight: Sight) {
        let id = &self.workloads[w].id;
        self.log.note(self.now, Kind::Seen, format_args!("{visitor} {sight} {id}"));
        self.log.put_out(self.now, || Output::Visitor { visitor, sight });
        self.witness.seen(sight);
    }
}

impl Gate {
    /// Whatever was asked of the gate before is overtaken.
    pub(super) fn shut(&mut self, door: Door) {
        self.door = door;
        self.closing = None;
        self.draining = None;
    }
}
