//! The address of a dormouse.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::client_url(bytes));
