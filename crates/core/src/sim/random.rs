//! The simulator's own dice: SplitMix64, so that a seed means the same on every machine for ever.

use std::collections::VecDeque;
use std::time::Duration;

/// A stream of draws that its seed decides, or a tape as long as it lasts.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
    /// What is drawn first, a byte or two at a time: whoever writes it steers what happens.
    tape: VecDeque<u8>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, tape: VecDeque::new() }
    }

    /// Draws what stands on `tape`, and once that has ended, as seed zero does.
    pub(super) fn taped(tape: &[u8]) -> Self {
        Self { state: 0, tape: tape.iter().copied().collect() }
    }

    /// Whether there is no tape, or none any more.
    pub(super) fn is_off_tape(&self) -> bool {
        self.tape.is_empty()
    }

    pub(super) fn draw(&mut self) -> u64 {
        if !self.tape.is_empty() {
            return self.read(size_of::<u64>());
        }
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when `bound` is.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            // No more of the tape than the bound needs, so that each of its bytes matters.
            1..=0x100 if !self.is_off_tape() => self.read(1) % bound,
            0x101..=0x1_0000 if !self.is_off_tape() => self.read(2) % bound,
            bound => self.draw() % bound,
        }
    }

    /// An index of something of this length.
    pub(super) fn index(&mut self, len: usize) -> usize {
        let len = u64::try_from(len).expect("a length fits 64 bits");
        usize::try_from(self.below(len)).expect("smaller than a length")
    }

    /// Happens in `permille` of a thousand draws.
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// Evenly between two numbers of milliseconds, both included.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    fn read(&mut self, bytes: usize) -> u64 {
        let taken = self.tape.drain(..bytes.min(self.tape.len()));
        taken.fold(0, |number, byte| number << 8 | u64::from(byte))
    }
}
