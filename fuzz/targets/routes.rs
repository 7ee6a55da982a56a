//! Routes, and requests that look for one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_core::fuzz::routes(bytes));
