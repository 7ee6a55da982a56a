//! What can happen to a fleet, in any order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_core::fuzz::fleet(bytes));
