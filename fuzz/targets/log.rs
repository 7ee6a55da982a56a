//! A container's log in the engine's frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_providers::docker::fuzz::log(bytes));
