//! The transcript: one line for everything that happens, hashed, and kept only where it is read.

use std::fmt;
use std::fmt::Write as _;

use crate::fleet;
use crate::time::Timestamp;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the fleet was told.
    Heard,
    /// What the fleet asked for.
    Asked,
    /// What really happened to a workload.
    Truth,
    /// What a visitor or a person saw.
    Seen,
}

/// What somebody outside could see, in a form that can be compared.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    Effect { workload: usize, effect: fleet::Effect },
    Visitor { visitor: u64, sight: Sight },
}

/// What becomes of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Waits,
    Served,
    TurnedAway,
}

/// One line of a transcript.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The transcript of one run.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    hash: u64,
    scratch: String,
    keep: Keep,
    lines: Vec<Line>,
    outputs: Vec<(Timestamp, Output)>,
}

/// Whether lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    HashOnly,
    Lines,
    Outputs,
}

impl Log {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            hash: 0xCBF2_9CE4_8422_2325,
            scratch: String::new(),
            keep,
            lines: Vec::new(),
            outputs: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, at: Timestamp, kind: Kind, text: fmt::Arguments<'_>) {
        self.scratch.clear();
        let mark = kind.mark();
        write!(self.scratch, "{at} {mark} {text}").expect("a string takes whatever is written");
        for byte in self.scratch.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if self.keep == Keep::Lines {
            let text = text.to_string();
            self.lines.push(Line { at, kind, text });
        }
    }

    pub(super) fn put_out(&mut self, at: Timestamp, output: impl FnOnce() -> Output) {
        if self.keep == Keep::Outputs {
            self.outputs.push((at, output()));
        }
    }

    /// The hash (FNV-1a) of every line so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The outputs since the last time.
    pub(crate) fn take_outputs(&mut self) -> Vec<(Timestamp, Output)> {
        std::mem::take(&mut self.outputs)
    }

    /// The lines since the last time.
    pub(crate) fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

impl Sight {
    fn as_str(self) -> &'static str {
        match self {
            Self::Waits => "waits for",
            Self::Served => "is served by",
            Self::TurnedAway => "is turned away by",
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    fn mark(self) -> char {
        match self {
            Self::Heard => '>',
            Self::Asked => '<',
            Self::Truth => '=',
            Self::Seen => '~',
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.at, self.kind.mark(), self.text)
    }
}
