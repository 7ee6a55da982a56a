//! Adapters from runtimes to the house: the [`Provider`] and [`Meter`] traits and one folder per
//! runtime.
//!
//! The contract of [`Provider`] is held by one conformance suite (in the test kit) that every
//! provider and every fake passes.

pub mod docker;
mod meter;
pub mod process;
mod provider;

pub use docker::{Pem, TlsOptions};
pub use meter::{
    Answers, Continuity, DiskUsage, EventMode, EventsWork, Gap, GapCause, HostFacts, Meter,
    MeterError, Metered, RawEvent, RawItem, RunChange, Running, RunningSet,
};
pub use provider::{
    Abilities, Address, Candidate, FeedItem, Found, LaunchSpec, Provider, ProviderError, RestOrder,
    Sighting, StartOrder, Target, Transport, Via,
};
