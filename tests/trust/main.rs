//! The invariants of trust, broken on purpose: one file each, named by its number. The table in
//! `docs/trust.md` says what each one tries and how it is run alone.
//!
//! Each prints one line, `R03 seed=1 n=10000 failures=0 (what was counted)`. `DORMOUSE_SEED` varies
//! what is drawn, `DORMOUSE_TRUST_SCALE` multiplies how much is tried.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../../crates/proxy/tests/data_plane/corpus.rs"]
mod corpus;
mod fakes;
mod mutants;
mod r01_first_datagrams;
mod r01_first_requests;
mod r02_stubborn_stops;
mod r03_addresses;
mod r07_lost_calls;
mod r08_always_drain;
mod r09_never_ready;
mod r10_crash_loops;
mod r11_dead_workload;
mod r12_bodies;
mod r13_stale_connections;
mod r14_order_of_needs;
mod r19_standing_still;
mod r19_wall_clock;
mod r20_idle_time_survives;
mod r21_slow_and_abusive;
mod r22_smuggling;
mod r23_odd_input;
mod r24_readers_that_never_read;
mod r25_hostile_labels;
mod r27_admin_guard;
mod r28_canaries;
mod r30_reloads;
mod r34_by_hand;
mod r35_soak;
mod r37_two_houses;
mod r38_a_day_away;
mod table;
