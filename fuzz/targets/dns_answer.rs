//! A DNS server's answer to the probe.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_keeper::fuzz::dns_answer(bytes));
