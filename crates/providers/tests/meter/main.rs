//! What a meter over Docker measures and hears, on fake engines of every kind and on the machine's
//! own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod events;
mod fake;
mod lab;
mod real;
