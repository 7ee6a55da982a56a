//! The data plane: everything that touches bytes of user traffic.

mod gatekeeper;
mod site;

pub use gatekeeper::{Admission, Gatekeeper, LeaseKind, Moment, Story, Upstream, WaitOutcome};
pub use site::{Held, Loading, Scheme, Site};
