//! The invariants of trust, broken on purpose: one file each, named by its number. The table in
//! `docs/trust.md` says what each one tries and how it is run alone.
//!
//! Each prints one line, `R03 seed=1 n=10000 failures=0 (what was counted)`. `DORMOUSE_SEED` varies
//! what is drawn, `DORMOUSE_TRUST_SCALE` multiplies how much is tried.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../harness/mod.rs"]
mod harness;

mod r34_by_hand;
mod table;
