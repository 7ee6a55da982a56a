//! A single value of the configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::value(bytes));
