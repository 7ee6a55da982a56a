//! An engine's account of its disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_providers::docker::fuzz::disk(bytes));
