//! How workloads come into a fleet, change their policy, and leave it.

use std::sync::Arc;

use super::Fleet;
use super::entry::Entry;
use super::event::Key;
use crate::id::WorkloadId;
use crate::lifecycle::{self, Misconfigured, Phase, Purpose};
use crate::policy::{Need, Policy, Until};
use crate::progress::{Step, StepKind};
use crate::time::Timestamp;

impl Fleet {
    pub(super) fn define(&mut self, id: WorkloadId, policy: Arc<Policy>, now: Timestamp) {
        let Some(key) = self.key(&id) else {
            self.insert(id, policy, now);
            return;
        };
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut entry.policy, Arc::clone(&policy));
        let was_wrong = matches!(entry.phase, Phase::Misconfigured(_));
        if before == policy && !was_wrong {
            return;
        }
        let kept = |need: &&Need| policy.needs.iter().any(|kept| kept.on == need.on);
        let lost = before.needs.iter().filter(|need| !kept(need));
        self.drop_leases(key, lost, now);
        self.unlink_needs(key, &before);
        self.link_needs(key, &policy);
        if was_wrong {
            let wrong = self.entry(key).map(|entry| entry.phase.clone());
            self.enter(key, &wrong.unwrap_or_else(|| Phase::new(now)), Phase::new(now), now);
            self.emit(key, lifecycle::Effect::Observe, now);
            self.arm(key);
            return;
        }
        self.sync_leases(key, now);
        self.pending.push_back((key, lifecycle::Event::PolicyChanged));
    }

    pub(super) fn misdefine(&mut self, id: WorkloadId, message: String, now: Timestamp) {
        let key = match self.key(&id) {
            Some(key) => key,
            None => self.insert(id, Arc::new(Policy::default()), now),
        };
        let Some(before) = self.entry(key).map(|entry| entry.phase.clone()) else {
            return;
        };
        self.abandon_all(key, &before, now);
        self.tell(key, error_step(&message));
        let deny = lifecycle::deny_misconfigured(&message);
        let wrong = Phase::Misconfigured(Misconfigured { since: now, message });
        self.enter(key, &before, wrong, now);
        self.emit(key, deny, now);
        self.follow(key, &before, now);
    }

    pub(super) fn forget(&mut self, id: &WorkloadId, now: Timestamp) {
        let Some(key) = self.key(id) else { return };
        let Some(entry) = self.entry(key) else { return };
        let (policy, phase) = (Arc::clone(&entry.policy), entry.phase.clone());
        self.abandon_all(key, &phase, now);
        self.tell(key, error_step("it was removed from the configuration"));
        self.emit(key, lifecycle::deny_misconfigured("it was removed from the configuration"), now);
        self.drop_leases(key, policy.needs.iter(), now);
        self.unlink_needs(key, &policy);
        if let Some(armed) = self.entry(key).and_then(|entry| entry.armed) {
            self.timers.remove(armed, key);
        }
        self.tell_dependents(key);
        self.by_id.remove(id);
        self.entries[key.0 as usize] = None;
    }

    /// Whatever is in flight for this phase is not waited for any more.
    fn abandon_all(&mut self, key: Key, phase: &Phase, now: Timestamp) {
        if let Some(epoch) = phase.in_flight() {
            self.emit(key, lifecycle::Effect::Abandon { epoch }, now);
        }
        if let Some(ticket) = phase.ticket() {
            let why = "its definition was taken away".to_owned();
            let refused = lifecycle::SleepAnswer::Refused(why);
            self.emit(key, lifecycle::Effect::Answer(ticket, refused), now);
        }
        self.emit(key, lifecycle::Effect::ShutGate, now);
    }

    fn insert(&mut self, id: WorkloadId, policy: Arc<Policy>, now: Timestamp) -> Key {
        let index = u32::try_from(self.entries.len()).expect("fewer workloads than fit in memory");
        let key = Key(index);
        let mut entry = Entry::new(id.clone(), Arc::clone(&policy), now);
        entry.purpose = self.purpose_of(&id);
        self.entries.push(Some(Box::new(entry)));
        self.by_id.insert(id, key);
        self.link_needs(key, &policy);
        self.lease_to_dependents(key, now);
        self.tell_dependents(key);
        self.arm(key);
        key
    }

    fn link_needs(&mut self, key: Key, policy: &Policy) {
        for need in &policy.needs {
            self.needed_by.entry(need.on.clone()).or_default().insert(key);
            self.refresh_purpose(&need.on);
        }
    }

    fn unlink_needs(&mut self, key: Key, policy: &Policy) {
        for need in &policy.needs {
            if let Some(dependents) = self.needed_by.get_mut(&need.on) {
                dependents.remove(&key);
                if dependents.is_empty() {
                    self.needed_by.remove(&need.on);
                }
            }
            self.refresh_purpose(&need.on);
        }
    }

    /// Whoever is awake and has been needing it all along holds it from now on.
    fn lease_to_dependents(&mut self, key: Key, now: Timestamp) {
        let dependents = self.entry(key).and_then(|entry| self.needed_by.get(&entry.id));
        for dependent in dependents.cloned().unwrap_or_default() {
            self.sync_leases(dependent, now);
        }
    }

    fn refresh_purpose(&mut self, id: &WorkloadId) {
        let purpose = self.purpose_of(id);
        let Some(key) = self.key(id) else { return };
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        if std::mem::replace(&mut entry.purpose, purpose) != purpose {
            // What ran to its end must stay from now on, for whoever holds it.
            self.pending.push_back((key, lifecycle::Event::NeighboursChanged));
        }
    }

    fn purpose_of(&self, id: &WorkloadId) -> Purpose {
        let completes = |key: &Key| {
            self.entry(*key).is_some_and(|entry| {
                let needs = &entry.policy.needs;
                needs.iter().any(|need| need.on == *id && need.until == Until::Completed)
            })
        };
        let dependents = self.needed_by.get(id);
        if dependents.is_some_and(|keys| keys.iter().any(completes)) {
            Purpose::Complete
        } else {
            Purpose::Serve
        }
    }
}

fn error_step(message: &str) -> Step {
    Step { kind: StepKind::Error, message: message.to_owned(), dependency: None }
}
