//! The Host of a request to the admin side.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::admin_host(bytes));
