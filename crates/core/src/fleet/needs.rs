//! Needs as leases: how far the needs of a workload have come, and who holds whom awake.

use super::Fleet;
use super::entry::Entry;
use super::event::Key;
use crate::lifecycle::{Event, Hold, Needs, Phase, Retry, WakeCause, WakeStep};
use crate::policy::{Need, Until};
use crate::time::Timestamp;

/// How far one need has come.
enum Reached {
    Met,
    NotYet,
    Never(String),
}

impl Fleet {
    /// How far the needs of `entry` have come.
    pub(super) fn needs_of(&self, entry: &Entry, now: Timestamp) -> Needs {
        let since = wanting_since(entry, now);
        let mut waiting = Vec::new();
        for (position, need) in entry.policy.needs.iter().enumerate() {
            match self.reached(need, since, now) {
                Reached::Met => {}
                Reached::NotYet => waiting.push(position),
                Reached::Never(why) => {
                    return Needs::Failed { on: need.on.clone(), why };
                }
            }
        }
        if waiting.is_empty() { Needs::Met } else { Needs::Waiting(waiting) }
    }

    /// Takes and drops the leases that the workload holds on its needs, as its phase demands.
    pub(super) fn sync_leases(&mut self, key: Key, now: Timestamp) {
        let Some(entry) = self.entry(key) else { return };
        if entry.policy.needs.is_empty() {
            return;
        }
        let entry = entry.clone();
        for need in &entry.policy.needs {
            let Some(&on) = self.by_id.get(&need.on) else {
                continue;
            };
            if on == key {
                continue;
            }
            match self.hold(&entry, need, now) {
                Hold::Take => self.take_lease(key, on),
                Hold::Keep => {}
                Hold::Drop => self.drop_lease(key, on, now),
            }
        }
    }

    /// Whoever began to wake after a job had ended, and before that was known, needs another run.
    pub(super) fn run_again_for_who_came_late(&mut self, key: Key, now: Timestamp) {
        let Some(entry) = self.entry(key) else { return };
        let came_late = |dependent: &Key| {
            self.entry(*dependent).is_some_and(|dependent| {
                let mut needs = dependent.policy.needs.iter();
                needs.any(|need| {
                    let completed = need.on == entry.id && need.until == Until::Completed;
                    completed && self.hold(dependent, need, now) == Hold::Take
                })
            })
        };
        if entry.dependents.iter().any(came_late) {
            self.pending.push_back((key, Event::Wanted(WakeCause::Dependent)));
        }
    }

    /// Drops what the workload holds on `needs`.
    pub(super) fn drop_leases<'a>(
        &mut self,
        key: Key,
        needs: impl Iterator<Item = &'a Need>,
        now: Timestamp,
    ) {
        for need in needs {
            if let Some(&on) = self.by_id.get(&need.on) {
                self.drop_lease(key, on, now);
            }
        }
    }

    /// Tells those who wait for `key` that it has moved.
    pub(super) fn tell_dependents(&mut self, key: Key) {
        let Some(id) = self.entry(key).map(|entry| entry.id.clone()) else {
            return;
        };
        let Some(dependents) = self.needed_by.get(&id) else {
            return;
        };
        for &dependent in dependents {
            let waits = self.entry(dependent).is_some_and(|entry| {
                matches!(&entry.phase, Phase::Waking(waking)
                    if matches!(waking.step, WakeStep::Needs { .. }))
            });
            if waits {
                self.pending.push_back((dependent, Event::NeighboursChanged));
            }
        }
    }

    fn reached(&self, need: &Need, since: Timestamp, now: Timestamp) -> Reached {
        let Some(on) = self.by_id.get(&need.on).and_then(|&key| self.entry(key)) else {
            return Reached::Never("it is not defined".to_owned());
        };
        let met = match need.until {
            Until::Started => has_started(&on.phase),
            Until::Ready => matches!(on.phase, Phase::Ready(_)),
            Until::Completed => on.completed_at.is_some_and(|at| at >= since),
        };
        if met { Reached::Met } else { hopeless(on, since, now) }
    }

    fn hold(&self, entry: &Entry, need: &Need, now: Timestamp) -> Hold {
        match need.until {
            Until::Started | Until::Ready => entry.phase.hold(),
            // Once it has run to its end it has served; holding on would run it again.
            Until::Completed => {
                let waits = matches!(&entry.phase, Phase::Waking(waking)
                    if matches!(waking.step, WakeStep::Needs { .. }));
                let since = wanting_since(entry, now);
                if waits && matches!(self.reached(need, since, now), Reached::NotYet) {
                    Hold::Take
                } else {
                    Hold::Drop
                }
            }
        }
    }

    fn take_lease(&mut self, key: Key, on: Key) {
        let Some(entry) = self.entry_mut(on) else {
            return;
        };
        if entry.dependents.insert(key) {
            self.pending.push_back((on, Event::Wanted(WakeCause::Dependent)));
        }
    }

    fn drop_lease(&mut self, key: Key, on: Key, now: Timestamp) {
        let Some(entry) = self.entry_mut(on) else {
            return;
        };
        if entry.dependents.remove(&key) {
            entry.released_at = entry.released_at.max(now);
        }
    }
}

/// Since when its needs count: a completed need must have completed after the wake began.
fn wanting_since(entry: &Entry, now: Timestamp) -> Timestamp {
    match &entry.phase {
        Phase::Waking(waking) => waking.since,
        Phase::Unknown(_)
        | Phase::Asleep(_)
        | Phase::Ready(_)
        | Phase::Draining(_)
        | Phase::Settling(_)
        | Phase::Failed(_)
        | Phase::Misconfigured(_)
        | Phase::Gone(_) => now,
    }
}

fn has_started(phase: &Phase) -> bool {
    match phase {
        Phase::Ready(_) => true,
        Phase::Waking(waking) => {
            matches!(waking.step, WakeStep::Probing { .. } | WakeStep::Completing { .. })
        }
        Phase::Unknown(_)
        | Phase::Asleep(_)
        | Phase::Draining(_)
        | Phase::Settling(_)
        | Phase::Failed(_)
        | Phase::Misconfigured(_)
        | Phase::Gone(_) => false,
    }
}

fn hopeless(on: &Entry, since: Timestamp, now: Timestamp) -> Reached {
    match &on.phase {
        Phase::Failed(failed) => match failed.retry {
            Retry::At(_) => Reached::Never(failed.failure.detail.clone()),
            Retry::Open => Reached::NotYet,
        },
        Phase::Misconfigured(wrong) => Reached::Never(wrong.message.clone()),
        Phase::Gone(gone) if gone.since >= since || now < gone.retry_at => {
            Reached::Never("the runtime knows nothing under its name".to_owned())
        }
        Phase::Gone(_)
        | Phase::Unknown(_)
        | Phase::Asleep(_)
        | Phase::Waking(_)
        | Phase::Ready(_)
        | Phase::Draining(_)
        | Phase::Settling(_) => Reached::NotYet,
    }
}
