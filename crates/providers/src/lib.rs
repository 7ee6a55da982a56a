//! Adapters from runtimes to the house: the [`Provider`] trait and one folder per runtime.
//!
//! The contract of [`Provider`] is held by one conformance suite (in the test kit) that every
//! provider and every fake passes.

pub mod docker;
pub mod process;
mod provider;

pub use provider::{
    Abilities, Address, Candidate, FeedItem, Found, LaunchSpec, Provider, ProviderError, RestOrder,
    Sighting, StartOrder, Target, Via,
};
