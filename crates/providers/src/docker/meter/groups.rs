//! Counters straight from the kernel's files, for containers of this machine: a few microseconds
//! each, and nothing that the engine would have to do.
//!
//! A container's folder is found by one of its processes, and only a folder that bears the
//! container's whole id is believed. The folder of one tells that of every other one with the same
//! parent, so that an engine is asked for one process of its first container and not for each.

mod counters;
mod files;
#[cfg(any(test, feature = "fuzz"))]
pub(in crate::docker) mod fuzz;
mod place;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use dormouse_core::usage::RawSample;

use self::counters::HostCpu;
use self::files::{Budget, Buffer, Counters, Kept};
use self::place::{Mounts, Pattern, Place};
use super::Scope;
use crate::{MeterError, Metered};

/// Parents that are remembered; more than a few are somebody's own.
const PATTERNS_MAX: usize = 16;

/// The control groups of one engine's containers.
pub(super) struct Groups {
    scope: Scope,
    mounts: Mounts,
    host: Kept,
    patterns: Vec<Pattern>,
    known: HashMap<Arc<str>, Known>,
    budget: Budget,
    buffer: Buffer,
    /// Goes up by one at each round; what is not of the last one is forgotten.
    round: u64,
}

/// A process that the engine says is a container's.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) pid: i64,
}

/// What came of an attempt to read one container here.
pub(super) enum Outcome {
    Sampled(Result<RawSample, MeterError>),
    /// Where it is counted is not known: the engine has to say which process it is.
    Unknown,
    /// It cannot be read here.
    NotHere,
}

struct Known {
    run: u64,
    round: u64,
    way: Way,
}

enum Way {
    Here(Counters),
    NotHere,
}

impl Groups {
    /// Looks at what this machine has; `None` where there is nothing to read.
    pub(super) fn new(scope: Scope) -> Option<Self> {
        let mut buffer = Buffer::new();
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let budget = Budget::of_this_process();
        // Read once a round, so that it is not worth a descriptor of each environment.
        let host = Kept::Path("/proc/stat".into());
        host.read(&mut buffer).ok().and_then(counters::proc_stat)?;
        Some(Self {
            scope,
            mounts: Mounts::parse(&mountinfo),
            host,
            patterns: Vec::new(),
            known: HashMap::new(),
            budget,
            buffer,
            round: 0,
        })
    }

    /// Begins a round over a whole set: what was not in the last one is forgotten, its files with it.
    pub(super) fn begin_round(&mut self) {
        let last = self.round;
        let budget = &mut self.budget;
        self.known.retain(|_, known| {
            let is_kept = known.round == last;
            if !is_kept && let Way::Here(counters) = &known.way {
                budget.give_back(counters);
            }
            is_kept
        });
        self.round += 1;
    }

    /// Reads one after the other.
    pub(super) fn sample<'a>(
        &'a mut self,
        set: impl Iterator<Item = (usize, &'a Metered)> + 'a,
        wall_nanos: impl Fn() -> u64 + 'a,
    ) -> impl Iterator<Item = (usize, Outcome)> + 'a {
        let host = self.host.read(&mut self.buffer).ok().and_then(counters::proc_stat);
        set.map(move |(index, metered)| {
            let outcome = match host {
                Some(host) => self.sample_one(metered, host, wall_nanos()),
                None => Outcome::NotHere,
            };
            (index, outcome)
        })
    }

    /// Takes the engine's word for which process is whose, as far as the kernel confirms it.
    pub(super) fn learn(&mut self, metered: &Metered, process: &Process) {
        let way = match self.find(process) {
            Some(counters) => Way::Here(counters),
            None => Way::NotHere,
        };
        self.remember(metered, way);
    }

    /// How many are read here and how many are not.
    pub(super) fn tally(&self) -> (usize, usize) {
        let here = self.known.values().filter(|it| matches!(it.way, Way::Here(_))).count();
        (here, self.known.len() - here)
    }

    fn sample_one(&mut self, metered: &Metered, host: HostCpu, wall_nanos: u64) -> Outcome {
        if !self.is_known(metered) {
            match self.derive(&metered.reference) {
                Some(counters) => self.remember(metered, Way::Here(counters)),
                None => return Outcome::Unknown,
            }
        }
        let known = self.known.get_mut(&metered.reference).expect("it was remembered just now");
        known.round = self.round;
        let Way::Here(counters) = &known.way else { return Outcome::NotHere };
        match counters.read(host, wall_nanos, &mut self.buffer) {
            Ok(sample) if sample.is_empty() => Outcome::Sampled(Err(MeterError::Gone)),
            Ok(sample) => Outcome::Sampled(Ok(sample)),
            // The group went with its last process, or the file says what no counter says.
            Err(_) => {
                self.forget(&metered.reference);
                Outcome::Sampled(Err(MeterError::Gone))
            }
        }
    }

    fn is_known(&self, metered: &Metered) -> bool {
        self.known.get(&metered.reference).is_some_and(|known| known.run == metered.run)
    }

    fn remember(&mut self, metered: &Metered, way: Way) {
        self.forget(&metered.reference);
        let known = Known { run: metered.run, round: self.round, way };
        self.known.insert(Arc::clone(&metered.reference), known);
    }

    fn forget(&mut self, reference: &Arc<str>) {
        if let Some(Known { way: Way::Here(counters), .. }) = self.known.remove(reference) {
            self.budget.give_back(&counters);
        }
    }

    /// By the place of a sibling.
    fn derive(&mut self, id: &str) -> Option<Counters> {
        let places: Vec<Place> = self.patterns.iter().filter_map(|it| it.place_of(id)).collect();
        places.into_iter().find_map(|place| {
            let pid = match self.scope {
                Scope::CpuAndMemory => None,
                // Without a process there is no network to read: the engine has to name one.
                Scope::All => Some(files::first_process(&place.memory)?),
            };
            Counters::open(&place, pid, self.scope, &mut self.budget).ok()
        })
    }

    /// By a process of its own.
    fn find(&mut self, process: &Process) -> Option<Counters> {
        let pid = u32::try_from(process.pid).ok().filter(|pid| *pid > 0)?;
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let place = Place::find(&self.mounts, &groups, &process.id)?;
        let opened = Counters::open(&place, Some(pid), self.scope, &mut self.budget);
        let counters = opened.inspect_err(|error| log_unreadable(process, error)).ok()?;
        if self.patterns.len() < PATTERNS_MAX {
            self.patterns.push(Pattern::new(place, &process.id));
        }
        Some(counters)
    }
}

fn log_unreadable(process: &Process, error: &io::Error) {
    tracing::debug!(id = process.id, %error, "Could not read the control group of a container");
}
