//! The effectful shell of the core: one loop that owns the fleet, executes its effects and sleeps
//! until its deadlines; and the gates and leases through which everybody else meets a workload.

mod answers;
mod clock;
mod commands;
mod effects;
mod environment;
mod feeds;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gate;
mod handle;
mod journal;
mod keeper;
mod layout;
mod lease;
pub mod probe;
mod sightings;
mod story;
mod view;
pub mod watch;
mod witness;
mod workload;

pub use clock::Clock;
pub use gate::{Gate, LeaseCounts, Opening, Published};
pub use handle::{Definition, EnvironmentDefinition, Gone, Handle, Layout};
pub use journal::{Journal, JournalEntry, JournalKind};
pub use keeper::{Keeper, KeeperSettings};
pub use lease::{Admission, Kind, Lease, Pass, Waiting};
pub use story::{StoryBook, StoryLine};
pub use view::{EnvironmentView, PinView, WorkloadView};
pub use witness::{Silent, WakeTimes, Witness};
