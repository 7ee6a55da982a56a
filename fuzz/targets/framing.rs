//! A client's side of an HTTP/1 connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_proxy::fuzz::framing(bytes));
