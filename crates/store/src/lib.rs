//! What survives a restart: pins, and how long each workload has gone unused; in memory and in
//! SQLite.
//!
//! A [`Store`] remembers and decides nothing. What it says at a start is what was true when it was
//! told, never what is true now: the runtime is asked for that.

mod error;
mod memory;
mod schema;
mod sqlite;
mod store;

#[cfg(test)]
mod conformance;

pub use error::StoreError;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::{Pin, Store, UnixMillis};
