//! The Docker Engine and what speaks its API (Podman among them): a client of our own, and the
//! provider on top of it.
//!
//! ```text
//! provider ── start, rest, logs ──▶ engine ──▶ client ──▶ pool ──▶ transport ──▶ the engine's API
//!     └────── hub ◀── feed ◀── listening ◀────────┤
//! meter ── counters, disk, raw events ◀───────────┘
//! ```
//!
//! A status code is never believed: every act is followed by an inspect, and events are hints that
//! something is worth an inspect. A target is a container's name; whatever is done to it is done to
//! the full id that the inspect gave, because the engine would take a name for an id's beginning.

mod address;
mod client;
mod endpoint;
mod engine;
mod events;
mod feed;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod hub;
mod json;
mod lenient;
mod listening;
mod logs;
mod looks;
mod meter;
mod pace;
mod provider;
mod rest;
mod sighting;
mod start;
mod vantage;

pub use endpoint::{DockerEndpoint, Pem, Secret, SshTarget, TlsOptions};
pub use meter::{Backend, DockerMeter, MeterOptions, Scope};
pub use provider::{DockerConfig, DockerProvider, DockerStats};
