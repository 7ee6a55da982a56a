//! How a fleet stood at one moment, worked out from its phases alone.

use crate::fleet::Fleet;
use crate::lifecycle::{Draining, Ignorance, Phase, WakeStep};
use crate::policy::{Need, Until};
use crate::sim::world::Workload;

/// Sets of workloads are bits.
pub(in crate::sim) type Set = u32;

/// How a fleet stood.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) stood: Vec<Stood>,
    pub(super) started: Set,
    pub(super) ready: Set,
    pub(super) pinned: Set,
}

/// How one workload stood.
#[derive(Clone, Debug, Default)]
pub(super) struct Stood {
    /// Who must hold a lease on it.
    pub(super) held_by: Set,
    /// Who may hold a lease on it, beside those who must.
    pub(super) may_hold: Set,
    /// What it holds a lease on.
    holds: Set,
    /// Somebody needs it to run to its end.
    pub(super) completes: bool,
    pub(super) draining: Option<Draining>,
    pub(super) failed: bool,
}

impl Snapshot {
    /// How the fleet stands now, after it stood like `before`.
    pub(super) fn take(before: &Self, fleet: &Fleet, workloads: &[Workload]) -> Self {
        let mut now = Self::default();
        now.stood.resize_with(workloads.len(), Stood::default);
        for (w, workload) in workloads.iter().enumerate() {
            let Some(phase) = phase(fleet, workload) else {
                continue;
            };
            if fleet.key(&workload.id).is_some_and(|key| fleet.is_pinned(key)) {
                now.pinned |= bit(w);
            }
            let held = before.stood.get(w).map_or(0, |stood| stood.holds);
            now.note(w, phase);
            now.note_needs(w, held, phase, fleet, workloads);
        }
        now
    }

    fn note(&mut self, w: usize, phase: &Phase) {
        match phase {
            Phase::Ready(_) => {
                self.ready |= bit(w);
                self.started |= bit(w);
            }
            Phase::Waking(waking) => match waking.step {
                WakeStep::Probing { .. } | WakeStep::Completing { .. } => self.started |= bit(w),
                WakeStep::Backoff { .. } | WakeStep::Needs { .. } | WakeStep::Starting { .. } => {}
            },
            Phase::Draining(draining) => self.stood[w].draining = Some(draining.clone()),
            Phase::Failed(_) => self.stood[w].failed = true,
            Phase::Unknown(_)
            | Phase::Asleep(_)
            | Phase::Settling(_)
            | Phase::Misconfigured(_)
            | Phase::Gone(_) => {}
        }
    }

    fn note_needs(
        &mut self,
        w: usize,
        held: Set,
        phase: &Phase,
        fleet: &Fleet,
        workloads: &[Workload],
    ) {
        let holds = holds(held, phase);
        for need in needs(fleet, &workloads[w]) {
            let defined = fleet.key(&need.on).is_some();
            let on = workloads.iter().position(|other| other.id == need.on);
            let Some(on) = on.filter(|_| defined) else {
                continue;
            };
            match need.until {
                Until::Started | Until::Ready => {
                    if holds & bit(on) != 0 {
                        self.stood[on].held_by |= bit(w);
                        self.stood[w].holds |= bit(on);
                    }
                }
                Until::Completed => {
                    self.stood[on].completes = true;
                    if matches!(phase, Phase::Waking(_)) {
                        self.stood[on].may_hold |= bit(w);
                    }
                }
            }
        }
    }
}

pub(super) fn bit(w: usize) -> Set {
    1 << w
}

pub(super) fn phase<'a>(fleet: &'a Fleet, workload: &Workload) -> Option<&'a Phase> {
    fleet.key(&workload.id).and_then(|key| fleet.phase(key))
}

pub(super) fn needs<'a>(fleet: &'a Fleet, workload: &Workload) -> &'a [Need] {
    fleet
        .key(&workload.id)
        .and_then(|key| fleet.policy(key))
        .map_or(&[], |policy| policy.needs.as_slice())
}

/// From the beginning of a wake it holds whatever it needs; on the way down what it held before.
fn holds(held: Set, phase: &Phase) -> Set {
    match phase {
        Phase::Waking(_) | Phase::Ready(_) => Set::MAX,
        Phase::Draining(_) | Phase::Settling(_) => held,
        Phase::Unknown(unknown) => match unknown.why {
            Ignorance::RestUnclear => held,
            Ignorance::NotYetObserved => 0,
        },
        Phase::Asleep(_) | Phase::Failed(_) | Phase::Misconfigured(_) | Phase::Gone(_) => 0,
    }
}
