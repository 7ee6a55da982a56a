//! The data plane: everything that touches bytes of user traffic.

mod gatekeeper;

pub use gatekeeper::{Admission, Gatekeeper, LeaseKind, Moment, Story, Upstream, WaitOutcome};
