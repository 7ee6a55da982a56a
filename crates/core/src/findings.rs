//! Findings: what linting a configuration or a plan has to say.

use std::ops::Range;
use std::path::PathBuf;

/// One result of linting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, such as `unknown-key`.
    pub slug: &'static str,
    /// One sentence, lower case, without a full stop.
    pub message: String,
    /// Where it stands, when it stands in a file or on a label.
    pub place: Option<Place>,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// The workload it concerns, when it concerns one.
    pub workload: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, and is probably not what was meant.
    Warning,
    /// Cannot be applied.
    Error,
}

/// Where a finding stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, at a range of bytes.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Bytes from the start of the file.
        span: Range<usize>,
    },
    /// On a label of a container.
    Label {
        /// The container.
        target: String,
        /// The label's key.
        key: String,
    },
}
