//! Golden scenarios: a story that a person writes, played on the simulated world, and compared.
//!
//! ```text
//! workload db    idle=30s
//! workload blog  idle=20s  needs=db
//! at 0s    request blog as ann      # both sleep
//! expect 0s   start db
//! expect 2s   open db
//! expect 2s   start blog
//! expect 4s   open blog
//! expect 4s   serve ann
//! expect 24s  close blog
//! expect 24s  rest blog stop
//! nothing until 54s
//! check blog is asleep
//! ```
//!
//! A start, becoming ready and a stop take a second each, everything else no time at all, unless
//! the workload is said to be different (`start=5s`, `ready=never`, `answers=lost`). Every output
//! of importance must be expected, in its order; a moment may be left out, or be a range
//! (`2s..4s`) where a backoff is drawn. Every invariant is checked after every step, too.
//!
//! `scenarios/README.md` lists all the words.

mod outputs;
mod policies;
mod script;
mod stage;
mod temper;
mod words;

use std::fmt;

/// Where a scenario went another way than it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The line of the file, from 1.
    pub line: usize,
    /// What was expected, what came instead, and what came before.
    pub message: String,
}

/// Plays a scenario to its end.
pub fn play(text: &str) -> Result<(), Mismatch> {
    let lines = script::read(text).map_err(|(line, message)| Mismatch { line, message })?;
    stage::play(&lines)
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for Mismatch {}
