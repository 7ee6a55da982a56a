//! A workload's answer to the gRPC probe.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormouse_keeper::fuzz::grpc_answer(bytes));
