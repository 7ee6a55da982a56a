//! Dormouse as a library: the composition of all rooms, and the parts that only meet here.

pub mod api;
mod claims;
pub mod cli;
pub mod client;
pub mod collect;
pub mod conductor;
pub mod config;
pub mod demo;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod gatekeeping;
mod heap;
mod idleness;
pub mod labels;
mod listen;
pub mod listeners;
pub mod metering;
pub mod metrics;
pub mod pins;
mod quiet;
pub mod registry;
pub mod reload;
mod resident;
pub mod runtimes;
pub mod serve;
pub mod sources;
pub mod watch;
