//! The simulated world around a fleet: its clock, what is going to happen, and one beat of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::agenda::{Agenda, Happening, Order};
use super::body::Body;
use super::fate::Fate;
use super::gate::Gate;
use super::log::{Keep, Kind, Log};
use super::witness::Witness;
use crate::fleet::{Event, Fleet, Key};
use crate::id::{EnvironmentName, Epoch, WorkloadId};
use crate::limits;
use crate::policy::Policy;
use crate::time::Timestamp;

/// A fleet, its keeper's gates, the runtimes and the visitors.
pub(crate) struct World<F> {
    pub(crate) now: Timestamp,
    pub(crate) fleet: Fleet,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) fate: F,
    pub(crate) log: Log,
    pub(crate) witness: Witness,
    pub(super) agenda: Agenda,
    pub(super) by_key: BTreeMap<Key, usize>,
    /// Which life of the keeper this is; what was sent to an earlier one is lost.
    pub(super) keeper: u32,
    pub(super) stalled_until: Timestamp,
    /// What was due at the end of a stall is handled after what has come meanwhile.
    pub(super) timers_last: bool,
    /// How late the keeper's timers are.
    pub(super) lateness: Duration,
    pub(super) inputs: u64,
    pub(super) next_visitor: u64,
    pub(super) next_run: u64,
    pub(super) next_ticket: u64,
}

/// One simulated workload.
pub(crate) struct Workload {
    pub(crate) id: WorkloadId,
    pub(crate) environment: usize,
    pub(crate) policy: Arc<Policy>,
    pub(crate) configured: Configured,
    pub(crate) key: Option<Key>,
    pub(crate) body: Body,
    /// Changes with the body.
    pub(super) serial: u32,
    pub(crate) gate: Gate,
    /// Starts and rests that the keeper has not been answered.
    pub(super) orders: Vec<Epoch>,
    pub(super) probe: Option<Order>,
    /// Since when its run has been there without our having started it.
    pub(crate) found_at: Option<Timestamp>,
    /// Whether it has ever run to its end with exit code zero.
    pub(crate) has_completed: bool,
    /// The pin as the keeper would restore it.
    pub(crate) pin: Option<Option<Timestamp>>,
    /// A `Wanted` is on its way to the keeper.
    pub(crate) wants_on_the_way: u32,
}

/// What the configuration says of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Configured {
    Defined,
    Wrong,
    Absent,
}

/// One simulated runtime.
pub(crate) struct Environment {
    pub(crate) name: EnvironmentName,
    pub(crate) up: bool,
}

/// What the next beat was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing more happens until the moment asked about.
    Quiet,
    /// Something happened.
    Done,
    /// Whoever drives the world is to do something.
    Acts,
}

impl<F: Fate> World<F> {
    pub(crate) fn new(seed: u64, fate: F, keep: Keep) -> Self {
        Self {
            now: Timestamp::ZERO,
            fleet: Fleet::new(seed),
            workloads: Vec::new(),
            environments: Vec::new(),
            fate,
            log: Log::new(keep),
            witness: Witness::new(),
            agenda: Agenda::default(),
            by_key: BTreeMap::new(),
            keeper: 0,
            stalled_until: Timestamp::ZERO,
            timers_last: false,
            lateness: Duration::ZERO,
            inputs: 0,
            next_visitor: 1,
            next_run: 1,
            next_ticket: 1,
        }
    }

    pub(crate) fn add_environment(&mut self, name: &str) -> usize {
        let name = EnvironmentName::new(name);
        self.environments.push(Environment { name, up: true });
        self.environments.len() - 1
    }

    pub(crate) fn add_workload(
        &mut self,
        environment: usize,
        name: &str,
        policy: Policy,
        body: Body,
    ) -> usize {
        let id = WorkloadId::new(&self.environments[environment].name, name);
        self.workloads.push(Workload {
            id,
            environment,
            policy: Arc::new(policy),
            configured: Configured::Defined,
            key: None,
            body,
            serial: 0,
            gate: Gate::new(),
            orders: Vec::new(),
            probe: None,
            found_at: body.run().map(|_| self.now),
            has_completed: body == Body::Stopped { exit: Some(0) },
            pin: None,
            wants_on_the_way: 0,
        });
        self.witness.add();
        self.workloads.len() - 1
    }

    /// The keeper starts: it knows its configuration and its pins, and looks at every runtime.
    pub(crate) fn open(&mut self) {
        for w in 0..self.workloads.len() {
            self.configure(w);
        }
        for environment in 0..self.environments.len() {
            if self.environments[environment].up {
                self.reach(environment);
            }
        }
        for w in 0..self.workloads.len() {
            if let Some(until) = self.workloads[w].pin
                && let Some(key) = self.workloads[w].key
            {
                self.feed(Event::Pin { key, until });
            }
        }
        if !self.agenda.holds(|item| matches!(item, Happening::Resync)) {
            self.agenda.add(self.now + limits::RESYNC_EVERY, Happening::Resync);
        }
    }

    /// The next thing that happens, if it happens by `until`.
    pub(crate) fn beat(&mut self, until: Timestamp) -> Beat {
        let timer = self.timer_at();
        let item = self.agenda.next_at();
        let timer_first = match (timer, item) {
            (Some(timer), Some(item)) if self.timers_last => timer < item,
            (Some(timer), Some(item)) => timer <= item,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let at = if timer_first { timer } else { item };
        let Some(at) = at.filter(|&at| at <= until) else {
            self.now = self.now.max(until);
            return Beat::Quiet;
        };
        self.now = self.now.max(at);
        if timer_first {
            self.handle_timeout();
            return Beat::Done;
        }
        match self.agenda.take() {
            Some((_, happening)) => self.happen(happening),
            None => Beat::Quiet,
        }
    }

    /// The keeper's process stands still for a while; the runtimes do not.
    pub(crate) fn stall(&mut self, duration: Duration) {
        self.log.note(
            self.now,
            Kind::Truth,
            format_args!("the keeper stands still for {duration:?}"),
        );
        self.stalled_until = self.stalled_until.max(self.now + duration);
        self.witness.excuse(duration);
    }

    /// The clock goes on while everything else stands still.
    pub(crate) fn jump(&mut self, duration: Duration) {
        self.log.note(self.now, Kind::Truth, format_args!("the clock jumps by {duration:?}"));
        self.agenda.postpone(duration);
        self.now = self.now + duration;
        self.stalled_until = self.stalled_until.max(self.now);
        self.witness.excuse(duration);
    }

    /// The keeper's process dies with everything that went through it, and a new one begins.
    pub(crate) fn crash_keeper(&mut self, seed: u64) {
        self.log.note(
            self.now,
            Kind::Truth,
            format_args!("the keeper dies, and another one starts"),
        );
        self.keeper += 1;
        self.fleet = Fleet::new(seed);
        self.by_key.clear();
        let now = self.now;
        for workload in &mut self.workloads {
            workload.key = None;
            workload.gate = Gate::new();
            workload.orders.clear();
            workload.probe = None;
            workload.wants_on_the_way = 0;
            workload.found_at = workload.body.run().map(|_| now);
            workload.pin = workload.pin.filter(|until| until.is_none_or(|until| until > now));
        }
        self.witness.restart();
        self.open();
    }

    /// The number of the next visitor.
    pub(crate) fn next_visitor(&self) -> u64 {
        self.next_visitor
    }

    fn timer_at(&self) -> Option<Timestamp> {
        let (at, _) = self.fleet.poll_timeout()?;
        Some((at + self.lateness).max(self.stalled_until).max(self.now))
    }

    fn happen(&mut self, happening: Happening) -> Beat {
        if happening.is_ours() && self.now < self.stalled_until {
            self.agenda.add(self.stalled_until, happening);
            return Beat::Done;
        }
        match happening {
            Happening::Deliver { keeper, workload, event } => {
                if keeper == self.keeper {
                    self.hear(workload, event);
                }
            }
            Happening::Inform { keeper, environment } => {
                if keeper == self.keeper {
                    self.inform(environment);
                }
            }
            Happening::Look { keeper, workload, as_of } => {
                if keeper == self.keeper {
                    self.read(workload, as_of);
                }
            }
            Happening::StartLands(order, fate) => self.start_lands(order, fate),
            Happening::RestLands(order, rest, fate) => self.rest_lands(order, rest, fate),
            Happening::RestAnswers(order) => self.rest_answers(order),
            Happening::Expires(order, question) => self.expires(order, question),
            Happening::Rises { workload, serial } => self.rises(workload, serial),
            Happening::Readies { workload, run } => self.readies(workload, run),
            Happening::Ends { workload, run, ending } => self.ends(workload, run, ending),
            Happening::ProbeLooks { workload, epoch } => self.probe_looks(workload, epoch),
            Happening::GateShuts { workload, epoch } => self.gate_shuts(workload, epoch),
            Happening::LeaseEnds { workload, visitor } => self.lease_ends(workload, visitor),
            Happening::VisitorLeaves { workload, visitor } => {
                self.visitor_leaves(workload, visitor);
            }
            Happening::Resync => self.resync(),
            Happening::Acts => return Beat::Acts,
        }
        Beat::Done
    }
}
