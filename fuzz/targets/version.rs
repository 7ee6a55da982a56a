//! An engine's version and date.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_providers::docker::fuzz::version(bytes));
