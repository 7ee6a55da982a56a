//! HTTP: client connections, requests on them, and what becomes of each.

mod aside;
pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod connection;
mod direct;
mod forward;
mod framing;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub(crate) mod headers;
mod hold;
pub(crate) mod outgoing;
mod present;
mod serve;
pub(crate) mod strict;
mod upgrade;
