//! Raw TCP: an address of a workload's own, whose connections wake it and keep it awake.
//!
//! A connection asks for admission when it is accepted. While the gate is shut it has a place in
//! the waiting room, and a bounded amount of what it says is read ahead; that is delivered first,
//! in order, on the connection that is made once the gate is open. Whatever goes wrong is told in
//! the only way that TCP has: a reset.

mod hold;
mod listener;
mod site;
mod visit;

pub(crate) use listener::serve;
pub use site::{TcpEnds, TcpRoute, TcpSite};
