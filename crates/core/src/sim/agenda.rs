//! What is going to happen in the simulated world, in order of time; equal times keep their order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use super::fate::{Ending, RestFate, StartFate};
use crate::id::Epoch;
use crate::lifecycle;
use crate::observation::RunId;
use crate::policy::Rest;
use crate::time::Timestamp;

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The keeper of this generation hears of something about a workload.
    Deliver { keeper: u32, workload: usize, event: lifecycle::Event },
    /// The keeper of this generation hears whether an environment answers.
    Inform { keeper: u32, environment: usize },
    /// A look that began at `as_of` reads the truth.
    Look { keeper: u32, workload: usize, as_of: Timestamp },
    /// A start reaches the runtime.
    StartLands(Order, StartFate),
    /// A rest reaches the runtime.
    RestLands(Order, Rest, RestFate),
    /// The runtime looks after a rest, and answers.
    RestAnswers(Order),
    /// The runtime gives up what was asked of it.
    Expires(Order, Question),
    /// The runtime's own restart policy starts it again, unless the body has changed since.
    Rises { workload: usize, serial: u32 },
    /// A run becomes ready.
    Readies { workload: usize, run: RunId },
    /// A run ends.
    Ends { workload: usize, run: RunId, ending: Ending },
    /// A probe looks whether the run is ready.
    ProbeLooks { workload: usize, epoch: Epoch },
    /// A gate that was asked to close is shut.
    GateShuts { workload: usize, epoch: Epoch },
    /// Somebody who was admitted is done.
    LeaseEnds { workload: usize, visitor: u64 },
    /// Somebody who waits has had enough.
    VisitorLeaves { workload: usize, visitor: u64 },
    /// Every reachable environment is listed again.
    Resync,
    /// The storm thinks of something.
    Acts,
}

/// A question that is on its way to a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(super) keeper: u32,
    pub(super) workload: usize,
    pub(super) epoch: Epoch,
}

/// What was asked of a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Start,
    Rest,
    Probe,
}

/// Everything that is going to happen.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    items: BinaryHeap<Reverse<Item>>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Item {
    at: Timestamp,
    order: u64,
    happening: Happening,
}

impl Happening {
    /// Whether it happens inside the process of the keeper, which stands still in a stall.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Self::Deliver { .. }
            | Self::Inform { .. }
            | Self::Look { .. }
            | Self::ProbeLooks { .. }
            | Self::GateShuts { .. }
            | Self::LeaseEnds { .. }
            | Self::VisitorLeaves { .. }
            | Self::Expires(..)
            | Self::Resync => true,
            Self::StartLands(..)
            | Self::RestLands(..)
            | Self::RestAnswers(_)
            | Self::Rises { .. }
            | Self::Readies { .. }
            | Self::Ends { .. }
            | Self::Acts => false,
        }
    }
}

impl Agenda {
    pub(super) fn add(&mut self, at: Timestamp, happening: Happening) {
        let order = self.next;
        self.next += 1;
        self.items.push(Reverse(Item { at, order, happening }));
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.items.peek().map(|item| item.0.at)
    }

    pub(super) fn take(&mut self) -> Option<(Timestamp, Happening)> {
        self.items.pop().map(|Reverse(item)| (item.at, item.happening))
    }

    /// Everything happens that much later: the machine slept, and only its clock went on.
    pub(super) fn postpone(&mut self, by: Duration) {
        let items = std::mem::take(&mut self.items);
        let later = |Reverse(item): Reverse<Item>| Reverse(Item { at: item.at + by, ..item });
        self.items = items.into_iter().map(later).collect();
    }

    /// Whether something like this is still to come.
    pub(super) fn holds(&self, like: impl Fn(&Happening) -> bool) -> bool {
        self.items.iter().any(|Reverse(item)| like(&item.happening))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
