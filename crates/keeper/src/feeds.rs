//! Takes the feeds of the environments to the core: what was seen, what is missing, what is lost.

use std::collections::BTreeSet;

use dormouse_core::fleet::{self, Key};
use dormouse_core::lifecycle::{Event, Phase};
use dormouse_core::{EnvironmentName, Observation};
use dormouse_providers::{FeedItem, Sighting};

use crate::environment::Reach;
use crate::journal::JournalKind;
use crate::keeper::Keeper;

impl Keeper {
    pub(crate) fn fed(&mut self, name: &EnvironmentName, item: FeedItem) {
        let Some(environment) = self.environments.get_mut(name) else {
            return;
        };
        match item {
            FeedItem::Resync => environment.listing = Some(BTreeSet::new()),
            FeedItem::Listed(found) => {
                if let Some(named) = &mut environment.listing {
                    named.insert(found.target.clone());
                }
                if let Some(&key) = environment.targets.get(&found.target) {
                    self.sighted(key, found.sighting);
                }
            }
            FeedItem::Changed(found) => {
                if let Some(&key) = environment.targets.get(&found.target) {
                    self.sighted(key, found.sighting);
                }
            }
            FeedItem::ResyncDone => self.resynced(name),
            FeedItem::Lost { reason } => self.environment_lost(name, reason),
        }
    }

    fn resynced(&mut self, name: &EnvironmentName) {
        let now = self.clock.now();
        let Some(environment) = self.environments.get_mut(name) else {
            return;
        };
        environment.resyncs += 1;
        environment.trust();
        let listing = environment.listing.take();
        if !matches!(environment.reach, Reach::Reached(_)) {
            environment.reach = Reach::Reached(now);
            tracing::info!(environment = %name, "Reached the environment");
            let kind = JournalKind::EnvironmentReached { environment: name.to_string() };
            self.write_journal(None, kind);
        }
        self.witness.resynced(name.as_str());
        self.fleet.handle(fleet::Event::EnvironmentReached(name.clone()), now);
        self.drain();
        let Some(named) = listing else {
            return;
        };
        let unlisted = self.environments.get(name).map(|e| e.unlisted(&named)).unwrap_or_default();
        for key in unlisted {
            // When the listing was read is not known: what came to be since must not be taken for
            // gone, so a look decides.
            if !matches!(self.fleet.phase(key), Some(Phase::Gone(_))) {
                self.observe(key);
            }
        }
    }

    fn environment_lost(&mut self, name: &EnvironmentName, reason: String) {
        let now = self.clock.now();
        let Some(environment) = self.environments.get_mut(name) else {
            return;
        };
        environment.listing = None;
        environment.doubt(&reason);
        tracing::warn!(environment = %name, reason, "Lost the environment");
        environment.reach = Reach::Lost(now, reason.clone());
        let environment = name.to_string();
        self.write_journal(None, JournalKind::EnvironmentLost { environment, reason });
        self.fleet.handle(fleet::Event::EnvironmentLost(name.clone()), now);
        self.drain();
    }

    pub(crate) fn sighted(&mut self, key: Key, sighting: Sighting) {
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        let as_of = self.clock.at(sighting.as_of);
        let condition = sighting.condition;
        workload.sightings.see(sighting);
        self.tell(key, Event::Observed(Observation { condition, as_of }));
    }
}
