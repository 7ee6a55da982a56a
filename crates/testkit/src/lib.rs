//! What the tests of the house stand on: engines that speak the real API and misbehave on demand,
//! one conformance suite for every provider, and the tools around them.

pub mod abuse;
pub mod conformance;
pub mod door;
pub mod engine;
pub mod images;
pub mod private_engine;
