//! Dormouse as a library: the composition of all rooms, and the parts that only meet here.

pub mod config;
pub mod labels;
pub mod registry;
pub mod reload;
