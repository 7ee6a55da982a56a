//! The head of one request.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_proxy::fuzz::head(bytes));
