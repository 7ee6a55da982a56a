//! Server-sent events, as the client reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse::fuzz::server_events(bytes));
