//! One container's counters.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_providers::docker::fuzz::stats(bytes));
