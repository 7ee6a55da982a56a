//! Replays a corpus in an ordinary test: each of its inputs as it stands, and a bounded number of
//! mutations of it that are the same at every run. `DORMOUSE_FUZZ_MUTATIONS` says how many, for a
//! search without a nightly compiler.

use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of each input.
const MUTATIONS: u64 = 200;
/// The largest input of a corpus; larger ones have not been minimised.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Hands every input of the corpus of `target` to `check`, and then what the dice make of it.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    replay_with(target, MUTATIONS, check);
}

/// The same with so many mutations of each input, where one costs more or less than usual.
pub(crate) fn replay_with(target: &str, mutations: u64, check: fn(&[u8])) {
    let said = std::env::var("DORMOUSE_FUZZ_MUTATIONS").ok();
    let mutations = said.and_then(|said| said.parse().ok()).unwrap_or(mutations);
    let inputs = corpus(target);
    assert!(!inputs.is_empty(), "{target} has no corpus");
    let mut dice = Dice(0x5EED);
    for (path, input) in &inputs {
        assert!(input.len() <= INPUT_BYTES_MAX, "{} is too large", path.display());
        told(path, 0, input, check);
        for mutation in 1..=mutations {
            let (_, other) = &inputs[dice.below(inputs.len())];
            told(path, mutation, &mutate(input, other, &mut dice), check);
        }
    }
    println!("{target}: {} inputs, {} mutations", inputs.len(), inputs.len() as u64 * mutations);
}

/// Says which input it was when `check` fails.
fn told(path: &Path, mutation: u64, input: &[u8], check: fn(&[u8])) {
    let told = Told { path, mutation, input };
    check(input);
    std::mem::forget(told);
}

/// Speaks where a panic unwinds through it.
struct Told<'a> {
    path: &'a Path,
    mutation: u64,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let (path, text) = (self.path.display(), self.input.escape_ascii());
        println!("{path}, mutation {} (0 is none): {text}", self.mutation);
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("each target has a folder of inputs");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let input = fs::read(&path).expect("a readable input");
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

/// One to four changes, each a small one or a graft from another input.
fn mutate(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(16)).min(bytes.len());
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = ODD_BYTES[dice.below(ODD_BYTES.len())],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again.repeat(1 + dice.below(4)));
            }
            4 => {
                let word = ODD_WORDS[dice.below(ODD_WORDS.len())];
                bytes.splice(at..end, word.iter().copied());
            }
            5 => {
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(64)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// What parsers stumble over, byte by byte.
const ODD_BYTES: [u8; 16] = *b"\0\t\n\r \"#,-./:=[\x7f\xff";
/// And in words.
const ODD_WORDS: [&[u8]; 16] = [
    b"\r\n",
    b"\r\n\r\n",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"9223372036854775807",
    b"null",
    b"{}",
    b"[[",
    b"\"\"",
    b"\xc3\xa9",
    b"%00",
    b"..",
    b"*",
    b"::",
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 1) % bound.max(1) as u64) as usize
    }
}
