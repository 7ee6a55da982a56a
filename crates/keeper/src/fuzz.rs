//! The door of the fuzzer: it takes any bytes, and holds what must be true of them.

use bytes::Bytes;

use crate::probe::grpc;

/// What a workload answers to the gRPC probe.
///
/// # Panics
/// When an answer without a state that says `SERVING` counts as ready.
pub fn grpc_answer(bytes: &[u8]) {
    let verdict = grpc::judge(Bytes::copy_from_slice(bytes));
    let serves = bytes.windows(2).any(|pair| pair[0] & 7 == 0 && pair[1] & 0x7f == 1);
    assert!(serves || verdict.is_err(), "ready by {bytes:?}");
    assert!(verdict.err().is_none_or(|why| why.len() < 64));
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_of_grpc_answers_holds() {
        replay("grpc_answer", super::grpc_answer);
    }
}
