//! Dormouse as a library: the composition of all rooms, and the parts that only meet here.

pub mod conductor;
pub mod config;
pub mod demo;
pub mod gatekeeping;
pub mod labels;
pub mod registry;
pub mod reload;
pub mod runtimes;
pub mod serve;
pub mod sources;
