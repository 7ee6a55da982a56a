//! The doors of the fuzzer: each takes any bytes, and holds what must be true of them.

use bytes::Bytes;

use crate::probe::Record;
use crate::probe::dns::{self, Verdict};
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

/// What a server answers to the DNS probe: the first byte says which record was asked for, the next
/// two are the question's number.
///
/// # Panics
/// When a name counts as known by anything but an answer to the question, or when less of an answer
/// says something else than all of it.
pub fn dns_answer(bytes: &[u8]) {
    let [record, id_high, id_low, answer @ ..] = bytes else { return };
    let record = if record % 2 == 0 { Record::A } else { Record::Aaaa };
    let id = u16::from_be_bytes([*id_high, *id_low]);
    let verdict = dns::judge(id, record, answer);
    if verdict == Some(Verdict::Known) {
        assert!(answer.starts_with(&[*id_high, *id_low]), "an answer to another question");
        assert!(answer[2] & 0x80 != 0 && answer[3] & 0x0f == 0, "known by {answer:?}");
    }
    for length in 0..answer.len() {
        let said = dns::judge(id, record, &answer[..length]);
        assert!(said.is_none() || said == verdict, "{length} bytes of {answer:?} say {said:?}");
    }
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

    #[test]
    fn the_corpus_of_dns_answers_holds() {
        replay("dns_answer", super::dns_answer);
    }
}
