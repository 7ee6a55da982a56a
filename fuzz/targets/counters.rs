//! The kernel's files of counters and of groups.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_providers::docker::fuzz::counters(bytes));
