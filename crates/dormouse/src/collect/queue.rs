//! What waits to be written: a bound for everything, figures replaced by newer ones, and events
//! that are never dropped without being counted.
//!
//! | what | bound when nobody reads |
//! |---|---|
//! | figures, disk usage, status | the newest of each environment; disk usage also in bytes |
//! | events | a number and a sum of bytes; what comes beyond is counted, in the place of the gap |
//! | errors, answers to `hello` | a number; the newest are dropped |

use std::collections::BTreeMap;

use dormouse_core::limits;
use dormouse_wire::{CollectReport, EnvId};

/// Reports in the order in which they are to be written.
#[derive(Default)]
pub(super) struct Queue {
    items: BTreeMap<Ticket, Item>,
    next: Ticket,
    /// Where the one item of its kind of an environment stands.
    slots: BTreeMap<(EnvId, Slot), Ticket>,
    /// What the reader was told last of an environment.
    told: BTreeMap<EnvId, bool>,
    /// The gap that the next dropped event of an environment belongs to.
    gaps: BTreeMap<EnvId, Ticket>,
    held: Held,
}

/// A place in the order.
type Ticket = u64;

enum Item {
    Report(CollectReport),
    /// Events that found no room.
    Dropped {
        env: EnvId,
        count: u64,
    },
}

/// What is kept once for an environment, the newest only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Status,
    Metrics,
    Containers,
    Disk,
}

/// How much is held of what has a bound.
#[derive(Default)]
struct Held {
    events: usize,
    event_bytes: usize,
    disk_bytes: usize,
    errors: usize,
}

impl Queue {
    /// Takes a report in, or what can be kept of it.
    pub(super) fn push(&mut self, report: CollectReport) {
        match &report {
            CollectReport::Ready => self.append(report),
            CollectReport::EnvStatus { env, online, .. } => {
                let (env, online) = (*env, *online);
                self.drop_slot(env, Slot::Status);
                if self.told.get(&env) != Some(&online) {
                    self.append_in(env, Slot::Status, report);
                }
            }
            CollectReport::Metrics(env, _) => self.replace(*env, Slot::Metrics, report),
            CollectReport::ContainerMetrics { env, .. } => {
                self.replace(*env, Slot::Containers, report);
            }
            CollectReport::DiskUsage { env, .. } => self.push_disk(*env, report),
            CollectReport::ContainerEvent { env, .. } => self.push_event(*env, report),
            CollectReport::Hello(_)
            | CollectReport::EventsGap { .. }
            | CollectReport::Error { .. } => {
                if self.held.errors < limits::COLLECT_ERRORS_MAX {
                    self.append(report);
                }
            }
        }
    }

    /// The next one to write.
    pub(super) fn take(&mut self) -> Option<CollectReport> {
        let (ticket, item) = self.items.pop_first()?;
        Some(match item {
            Item::Report(report) => {
                self.held.give_back(&report);
                if let CollectReport::EnvStatus { env, online, .. } = &report {
                    self.told.insert(*env, *online);
                }
                if let Some(slot) = report.env().zip(Slot::of(&report)) {
                    self.slots.remove(&slot);
                }
                report
            }
            Item::Dropped { env, count } => {
                self.gaps.retain(|_, gap| *gap != ticket);
                let error = format!("{count} events were dropped: the output is read too slowly");
                CollectReport::Error { env: Some(env), error }
            }
        })
    }

    /// Drops everything of an environment.
    pub(super) fn forget(&mut self, env: EnvId) {
        let held = &mut self.held;
        self.items.retain(|_, item| {
            let is_kept = item.env() != Some(env);
            if let (false, Item::Report(report)) = (is_kept, &*item) {
                held.give_back(report);
            }
            is_kept
        });
        self.slots.retain(|(of, _), _| *of != env);
        self.told.remove(&env);
        self.gaps.remove(&env);
    }

    fn push_event(&mut self, env: EnvId, report: CollectReport) {
        let bytes = weight(&report);
        let has_room = self.held.events < limits::COLLECT_EVENTS_MAX
            && self.held.event_bytes + bytes <= limits::COLLECT_EVENT_BYTES_MAX;
        if has_room {
            self.gaps.remove(&env);
            return self.append(report);
        }
        match self.gaps.get(&env).and_then(|gap| self.items.get_mut(gap)) {
            Some(Item::Dropped { count, .. }) => *count += 1,
            Some(Item::Report(_)) | None => {
                tracing::warn!(%env, "Dropping events: the output is read too slowly");
                let ticket = self.ticket();
                self.items.insert(ticket, Item::Dropped { env, count: 1 });
                self.gaps.insert(env, ticket);
            }
        }
    }

    fn push_disk(&mut self, env: EnvId, report: CollectReport) {
        self.drop_slot(env, Slot::Disk);
        // One answer always has room: it is bounded by itself.
        let has_room = self.held.disk_bytes == 0
            || self.held.disk_bytes + weight(&report) <= limits::COLLECT_DISK_BYTES_MAX;
        match has_room {
            true => self.append_in(env, Slot::Disk, report),
            false => {
                let error = "disk usage: left out, the output is read too slowly".to_owned();
                self.push(CollectReport::Error { env: Some(env), error });
            }
        }
    }

    fn replace(&mut self, env: EnvId, slot: Slot, report: CollectReport) {
        match self.slots.get(&(env, slot)).and_then(|ticket| self.items.get_mut(ticket)) {
            Some(item) => *item = Item::Report(report),
            None => self.append_in(env, slot, report),
        }
    }

    fn drop_slot(&mut self, env: EnvId, slot: Slot) {
        let item = self.slots.remove(&(env, slot)).and_then(|ticket| self.items.remove(&ticket));
        if let Some(Item::Report(report)) = item {
            self.held.give_back(&report);
        }
    }

    fn append_in(&mut self, env: EnvId, slot: Slot, report: CollectReport) {
        self.slots.insert((env, slot), self.next);
        self.append(report);
    }

    fn append(&mut self, report: CollectReport) {
        self.held.take(&report);
        let ticket = self.ticket();
        self.items.insert(ticket, Item::Report(report));
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        self.next - 1
    }
}

impl Item {
    fn env(&self) -> Option<EnvId> {
        match self {
            Self::Report(report) => report.env(),
            Self::Dropped { env, .. } => Some(*env),
        }
    }
}

impl Slot {
    fn of(report: &CollectReport) -> Option<Self> {
        match report {
            CollectReport::EnvStatus { .. } => Some(Self::Status),
            CollectReport::Metrics(..) => Some(Self::Metrics),
            CollectReport::ContainerMetrics { .. } => Some(Self::Containers),
            CollectReport::DiskUsage { .. } => Some(Self::Disk),
            CollectReport::Ready
            | CollectReport::Hello(_)
            | CollectReport::ContainerEvent { .. }
            | CollectReport::EventsGap { .. }
            | CollectReport::Error { .. } => None,
        }
    }
}

impl Held {
    fn take(&mut self, report: &CollectReport) {
        let Self { events, event_bytes, disk_bytes, errors } = self;
        match report {
            CollectReport::ContainerEvent { .. } => {
                *events += 1;
                *event_bytes += weight(report);
            }
            CollectReport::DiskUsage { .. } => *disk_bytes += weight(report),
            CollectReport::Hello(_)
            | CollectReport::EventsGap { .. }
            | CollectReport::Error { .. } => *errors += 1,
            CollectReport::Ready
            | CollectReport::EnvStatus { .. }
            | CollectReport::Metrics(..)
            | CollectReport::ContainerMetrics { .. } => {}
        }
    }

    fn give_back(&mut self, report: &CollectReport) {
        let Self { events, event_bytes, disk_bytes, errors } = self;
        match report {
            CollectReport::ContainerEvent { .. } => {
                *events -= 1;
                *event_bytes -= weight(report);
            }
            CollectReport::DiskUsage { .. } => *disk_bytes -= weight(report),
            CollectReport::Hello(_)
            | CollectReport::EventsGap { .. }
            | CollectReport::Error { .. } => *errors -= 1,
            CollectReport::Ready
            | CollectReport::EnvStatus { .. }
            | CollectReport::Metrics(..)
            | CollectReport::ContainerMetrics { .. } => {}
        }
    }
}

/// The bytes of an engine that a report carries.
fn weight(report: &CollectReport) -> usize {
    match report {
        CollectReport::ContainerEvent { event, .. } => event.as_bytes().len(),
        CollectReport::DiskUsage { data, info, .. } => {
            data.as_bytes().len() + info.as_ref().map_or(0, |info| info.as_bytes().len())
        }
        CollectReport::Ready
        | CollectReport::Hello(_)
        | CollectReport::EnvStatus { .. }
        | CollectReport::Metrics(..)
        | CollectReport::ContainerMetrics { .. }
        | CollectReport::EventsGap { .. }
        | CollectReport::Error { .. } => 0,
    }
}

#[cfg(test)]
mod tests;
