//! An upstream's answer on the proxy's direct way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_proxy::fuzz::answer(bytes));
