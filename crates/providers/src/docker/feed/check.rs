//! The check on the events: every now and then a listing is compared with what is known, and an
//! event stream that misses what happens is found out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse_core::observation::Health;
use dormouse_core::{Condition, limits};
use tokio::time::Instant;

use crate::docker::engine::Engine;
use crate::docker::hub::Hub;
use crate::docker::json::{EntryJson, NetworkJson};
use crate::docker::sighting;
use crate::{Found, Target};

/// Checks in a row that showed what no event had told, before the events count as dead.
const DEAF_CHECKS_MAX: u32 = 2;
/// How soon to check after a look that brought nothing.
const SOON: Duration = Duration::from_secs(1);

/// When to check next, and what the last checks showed.
pub(super) struct Check {
    pub(super) next: Instant,
    is_under_way: bool,
    prints: BTreeMap<Target, Print>,
    /// What the looks that the last check asked for have shown that no event had told.
    surprises: u32,
    has_heard: bool,
    deaf_in_a_row: u32,
}

/// What a listing says of one container, as far as a change in it is worth a look.
#[derive(PartialEq, Eq)]
struct Print {
    id: String,
    state: String,
    condition: Condition,
    networks: BTreeMap<String, NetworkJson>,
    ports: BTreeSet<(i64, i64)>,
}

impl Check {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now() + limits::RESYNC_EVERY,
            is_under_way: false,
            prints: BTreeMap::new(),
            surprises: 0,
            has_heard: false,
            deaf_in_a_row: 0,
        }
    }

    /// Its time has come; whether to check at all.
    pub(super) fn begin(&mut self) -> bool {
        self.next = Instant::now() + limits::RESYNC_EVERY;
        !std::mem::replace(&mut self.is_under_way, true)
    }

    /// A check has ended, with or without a listing.
    pub(super) fn end(&mut self) {
        self.is_under_way = false;
    }

    /// An event has come.
    pub(super) fn hear(&mut self) {
        self.has_heard = true;
    }

    /// A look that a check had asked for has shown something new.
    pub(super) fn be_surprised(&mut self) {
        self.surprises += 1;
    }

    /// A look has brought nothing: a check soon will show what it would have.
    pub(super) fn hurry(&mut self, target: &Target) {
        self.prints.remove(target);
        self.next = self.next.min(Instant::now() + SOON);
    }

    /// Whether things happen of which the events say nothing, whatever the socket says.
    pub(super) fn is_deaf(&mut self) -> bool {
        let surprises = std::mem::take(&mut self.surprises);
        let heard = std::mem::take(&mut self.has_heard);
        let is_deaf = surprises > 0 && !heard;
        self.deaf_in_a_row = if is_deaf { self.deaf_in_a_row + 1 } else { 0 };
        self.deaf_in_a_row >= DEAF_CHECKS_MAX
    }

    /// Who is worth a look, by a listing.
    pub(super) fn compare(
        &mut self,
        entries: &[EntryJson],
        engine: &Engine,
        hub: &Hub,
    ) -> BTreeSet<Target> {
        // What is known and not listed is not there any more.
        let mut doubtful: BTreeSet<Target> = hub.targets().into_iter().collect();
        let mut prints = BTreeMap::new();
        for entry in entries {
            let Some(name) = sighting::entry_name(entry) else { continue };
            let (target, print) = (Target::new(name), Print::of(entry));
            let known = hub.known(&target);
            let of_interest = engine.is_of_interest(&target, entry.labels.keys());
            let is_changed = self.prints.get(&target).is_some_and(|last| *last != print);
            // A container that was stopped and started in between looks the same, but young.
            let may_be_new = of_interest && (is_changed || is_young(entry));
            if print.is_as_known(known.as_deref()) && !may_be_new {
                doubtful.remove(&target);
            } else {
                doubtful.insert(target.clone());
            }
            prints.insert(target, print);
        }
        self.prints = prints;
        doubtful
    }
}

impl Print {
    fn of(entry: &EntryJson) -> Self {
        let networks = entry.network_settings.networks.iter();
        let ports = entry.ports.iter();
        Self {
            id: entry.id.clone(),
            state: entry.state.clone(),
            condition: sighting::entry_condition(entry),
            networks: networks.map(|(name, network)| (name.clone(), network.0.clone())).collect(),
            ports: ports.map(|port| (port.0.private_port, port.0.public_port)).collect(),
        }
    }

    /// Whether the condition is of the known kind. A listing knows neither runs nor, always, exit
    /// codes and health.
    fn is_as_known(&self, known: Option<&Found>) -> bool {
        let known = known.map_or(Condition::Absent, |found| found.sighting.condition);
        match (known, self.condition) {
            (Condition::Running { health, .. }, Condition::Running { health: listed, .. }) => {
                listed == health || listed == Health::Undeclared
            }
            (Condition::Paused { .. }, Condition::Paused { .. })
            | (Condition::Stopped { .. }, Condition::Stopped { .. })
            | (Condition::Restarting { .. }, Condition::Restarting { .. })
            | (Condition::Absent, Condition::Absent) => true,
            (
                Condition::Running { .. }
                | Condition::Paused { .. }
                | Condition::Stopped { .. }
                | Condition::Restarting { .. }
                | Condition::Absent,
                _,
            ) => false,
        }
    }
}

/// `Up Less than a second`, `Up 12 seconds`: it may have been started since the last listing.
fn is_young(entry: &EntryJson) -> bool {
    let Some(age) = entry.status.strip_prefix("Up ") else { return false };
    if age.starts_with("Less than") {
        return true;
    }
    let mut words = age.split(' ');
    let seconds = words.next().and_then(|count| count.parse().ok());
    let unit = words.next().unwrap_or_default();
    unit.starts_with("second")
        && seconds.is_some_and(|seconds: u64| seconds < 2 * limits::RESYNC_EVERY.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_just_started_is_young() {
        let young =
            |status: &str| is_young(&EntryJson { status: status.into(), ..EntryJson::default() });
        for status in ["Up Less than a second", "Up 1 second", "Up 19 seconds (healthy)"] {
            assert!(young(status), "{status}");
        }
        for status in
            ["Up 20 seconds", "Up 2 minutes", "Up About a minute", "Exited (0) 1 second ago", ""]
        {
            assert!(!young(status), "{status}");
        }
    }

    #[test]
    fn surprises_without_events_are_deafness_and_events_cure_it() {
        let mut check = Check::new();
        assert!(!check.is_deaf());
        check.be_surprised();
        assert!(!check.is_deaf(), "once may be chance");
        check.be_surprised();
        assert!(check.is_deaf());
        check.be_surprised();
        check.hear();
        assert!(!check.is_deaf());
        check.be_surprised();
        assert!(!check.is_deaf());
    }

    #[test]
    fn a_look_that_brought_nothing_is_made_up_for_soon() {
        let mut check = Check::new();
        assert!(check.begin());
        assert!(!check.begin(), "one at a time");
        check.end();
        check.hurry(&Target::new("a"));
        assert!(check.next <= Instant::now() + SOON);
        assert!(check.begin());
    }
}
