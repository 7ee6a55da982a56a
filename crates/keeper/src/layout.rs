//! Applies a layout: environments and workloads come, change and go; what stays is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dormouse_core::fleet::{self, Key};
use dormouse_core::lifecycle::Event;
use dormouse_core::{EnvironmentName, WorkloadId};

use crate::environment::Environment;
use crate::gate::Gate;
use crate::handle::{Definition, Layout};
use crate::keeper::Keeper;
use crate::workload::Workload;

impl Keeper {
    /// Replaces what is defined. What stays the same is not touched.
    pub(crate) fn apply(&mut self, layout: Layout) -> BTreeMap<WorkloadId, Arc<Gate>> {
        let defined: BTreeMap<&WorkloadId, &Definition> =
            layout.workloads.iter().map(|definition| (&definition.id, definition)).collect();
        self.forget_all_but(&defined);
        self.apply_environments(&layout);
        let mut fresh = Vec::new();
        for definition in layout.workloads {
            fresh.extend(self.define(definition));
        }
        for environment in self.environments.values() {
            environment.follow_targets();
        }
        for key in fresh {
            self.observe(key);
        }
        self.workloads.values().map(|w| (w.id().clone(), Arc::clone(&w.gate))).collect()
    }

    fn forget_all_but(&mut self, defined: &BTreeMap<&WorkloadId, &Definition>) {
        let leaves = |workload: &Workload| match defined.get(workload.id()) {
            None => true,
            Some(definition) => definition.target != workload.target,
        };
        let leaving: Vec<Key> =
            self.workloads.iter().filter(|(_, w)| leaves(w)).map(|(&key, _)| key).collect();
        for key in leaving {
            let Some(id) = self.fleet.id(key).cloned() else {
                continue;
            };
            self.fleet.handle(fleet::Event::Forget { id: id.clone() }, self.clock.now());
            self.drain();
            if let Some(mut workload) = self.workloads.remove(&key) {
                workload.abandon_all();
                if let Some(environment) = self.environments.get_mut(id.environment()) {
                    environment.targets.retain(|_, owner| *owner != key);
                }
            }
            self.witness.forgotten(&id);
        }
    }

    fn apply_environments(&mut self, layout: &Layout) {
        let keep: BTreeSet<&EnvironmentName> =
            layout.environments.iter().map(|environment| &environment.name).collect();
        for name in self.environments.keys().filter(|name| !keep.contains(name)) {
            self.watches.forget(name.as_str());
        }
        self.environments.retain(|name, _| keep.contains(name));
        for definition in &layout.environments {
            let same = self
                .environments
                .get(&definition.name)
                .is_some_and(|now| Arc::ptr_eq(&now.provider, &definition.provider));
            if same {
                continue;
            }
            let (name, provider) = (definition.name.clone(), Arc::clone(&definition.provider));
            let mut environment =
                Environment::new(name.clone(), provider, self.feeds.clone(), &self.watches);
            if let Some(before) = self.environments.remove(&name) {
                environment.targets = before.targets;
            }
            self.environments.insert(name, environment);
        }
    }

    /// Defines one workload; answers with its key when it is new.
    fn define(&mut self, definition: Definition) -> Option<Key> {
        let now = self.clock.now();
        let known = self.fleet.key(&definition.id);
        let wake_timeout = definition.policy.as_ref().ok().map(|policy| policy.wake_timeout);
        let id = definition.id.clone();
        let event = match definition.policy.clone() {
            Ok(policy) => fleet::Event::Define { id: id.clone(), policy },
            Err(message) => fleet::Event::Misdefine { id: id.clone(), message },
        };
        let relaunched = known.filter(|key| {
            let workload = self.workloads.get_mut(key);
            workload.is_some_and(|it| replace(&mut it.launch, &definition.launch))
        });
        if known.is_none() {
            // The core gives the key; its first effects wait until the workload is known here.
            self.fleet.handle(event, now);
            let key = self.fleet.key(&id)?;
            self.insert(key, definition);
            if let Some(unused) = self.recalled.remove(&id) {
                self.fleet.handle(fleet::Event::Recall { key, unused }, now);
            }
        } else {
            self.fleet.handle(event, now);
        }
        if let Some(key) = relaunched {
            self.fleet.handle(fleet::Event::Workload(key, Event::PolicyChanged), now);
        }
        let key = self.fleet.key(&id)?;
        if let (Some(workload), Some(timeout)) = (self.workloads.get(&key), wake_timeout) {
            workload.gate.set_wake_timeout(timeout);
        }
        self.drain();
        self.publish(key);
        known.is_none().then_some(key)
    }

    fn insert(&mut self, key: Key, definition: Definition) {
        if let Some(environment) = self.environments.get_mut(definition.id.environment()) {
            environment.targets.insert(definition.target.clone(), key);
        }
        let (published, summons) = (Arc::clone(&self.published), Arc::clone(&self.summons));
        let gate = Arc::new(Gate::new(definition.id, key, published, summons));
        let workload = Box::new(Workload::new(definition.target, definition.launch, gate));
        self.workloads.insert(key, workload);
    }
}

/// Whether it is another one than before.
fn replace<T: Clone + PartialEq>(before: &mut T, now: &T) -> bool {
    let differs = before != now;
    before.clone_from(now);
    differs
}
