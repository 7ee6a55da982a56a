//! What the parent of a collector writes to it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::collect_input(bytes));
