//! The pure heart of dormouse: what should happen to a workload, and why.
//!
//! Nothing in this crate waits, reads a clock, draws a random number or touches the outside. Time
//! comes in as a [`Timestamp`] argument, the outside comes in as events, and what should be done
//! comes out as effects. The same events give the same effects, byte for byte.

pub mod backoff;
pub mod failure;
pub mod findings;
pub mod fleet;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod id;
pub mod lifecycle;
pub mod limits;
pub mod load;
pub mod observation;
pub mod policy;
pub mod progress;
pub mod routes;
pub mod scenario;
pub mod sim;
pub mod time;
pub mod usage;
pub mod watch;

pub use failure::{Failure, FailureKind};
pub use fleet::Fleet;
pub use id::{EnvironmentName, Epoch, WorkloadId};
pub use observation::{Condition, Observation, RunId, Unused};
pub use policy::Policy;
pub use time::Timestamp;
