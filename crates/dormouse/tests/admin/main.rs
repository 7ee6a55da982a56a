//! The admin side as its users meet it: over real sockets, with a real keeper, on a runtime in
//! memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod api;
mod cli;
mod events;
mod guard;
mod house;
mod metrics;
mod pins;
mod reference;
mod runtime;
mod unix;
