//! The data plane over real sockets, with a small gatekeeper and small applications.

mod bounds;
mod crowd;
mod forwarding;
mod holding;
mod pages;
mod smuggling;
mod stale;
mod support;
mod waking;
