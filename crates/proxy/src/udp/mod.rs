//! UDP: datagrams of a listener's clients to one port of a workload, and the answers back.
//!
//! What one client address sends is a [`flow`]; it holds a lease from its first datagram until both
//! sides have been silent for a while. The first datagrams wait for the gate and are delivered in
//! order. The listener's socket outlives every address that the workload ever has.

mod backlog;
mod drops;
mod flow;
mod line;
pub(crate) mod listener;
mod site;
mod socket;
mod tending;
mod trials;

pub use drops::{UdpDropped, UdpDrops};
pub use site::{UdpRoute, UdpSite};
pub use socket::UdpListener;
