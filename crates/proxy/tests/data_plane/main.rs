//! The data plane over real sockets, with a small gatekeeper and small applications.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bounds;
mod corpus;
mod direct;
mod forwarding;
mod holding;
mod pages;
mod smuggling;
mod stale;
mod support;
mod tcp;
mod udp;
mod waking;
