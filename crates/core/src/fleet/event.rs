//! What can happen to a fleet, and what it asks the outside to do.

use std::fmt;
use std::sync::Arc;

use crate::id::{EnvironmentName, WorkloadId};
use crate::lifecycle;
use crate::load::Load;
use crate::observation::Unused;
use crate::policy::Policy;
use crate::time::Timestamp;

/// A workload's place in one fleet. Given out by a definition, never given to another workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// An input to [`super::Fleet::handle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The configuration says that this workload exists, and how it is to be treated.
    Define {
        /// Which.
        id: WorkloadId,
        /// How.
        policy: Arc<Policy>,
    },
    /// The configuration says that this workload exists, and is wrong about how.
    Misdefine {
        /// Which.
        id: WorkloadId,
        /// What is wrong.
        message: String,
    },
    /// The configuration does not know this workload any more. It is left as it is.
    Forget {
        /// Which.
        id: WorkloadId,
    },
    /// An environment answers.
    EnvironmentReached(EnvironmentName),
    /// An environment stopped answering.
    EnvironmentLost(EnvironmentName),
    /// An earlier keeper that ended in order saw this workload go unused. Counts if the same run is
    /// found running.
    Recall {
        /// Which.
        key: Key,
        /// How long, in which run.
        unused: Unused,
    },
    /// A pin holds this workload awake, replacing an earlier one.
    Pin {
        /// Which.
        key: Key,
        /// Until when; for good when absent.
        until: Option<Timestamp>,
    },
    /// The pin is taken away.
    Unpin {
        /// Whose.
        key: Key,
    },
    /// What a workload does was measured.
    Measured {
        /// Which.
        key: Key,
        /// What it does.
        load: Load,
    },
    /// Something happened to one lifecycle.
    Workload(Key, lifecycle::Event),
}

/// An output of [`super::Fleet::poll_effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// One lifecycle asks for something to be done.
    Act(Key, lifecycle::Effect),
    /// One lifecycle has entered another phase. The phase's words, from and to.
    Moved {
        /// Whose.
        key: Key,
        /// The phase it left.
        from: &'static str,
        /// The phase it entered.
        to: &'static str,
    },
    /// A pin has ended by itself or was overruled.
    PinEnded(Key),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}
