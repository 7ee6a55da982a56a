//! Findings: what linting a configuration or a plan has to say.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

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

/// Where a finding stands. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, at a range of bytes.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// Bytes from the start of the file.
        span: Range<usize>,
    },
    /// On a label of a container.
    Label {
        /// The container.
        target: Arc<str>,
        /// The label's key.
        key: Arc<str>,
    },
}

impl Finding {
    /// Something that cannot be applied.
    pub fn error(slug: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, slug, message.into())
    }

    /// Something that works, and is probably not what was meant.
    pub fn warning(slug: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, slug, message.into())
    }

    /// The same finding with the place where it stands.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same finding with what the reader can do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same finding with the workload it concerns.
    #[must_use]
    pub fn about(self, workload: impl Into<String>) -> Self {
        Self { workload: Some(workload.into()), ..self }
    }

    /// Whether it keeps what it was found in from being applied.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn new(severity: Severity, slug: &'static str, message: String) -> Self {
        Self { severity, slug, message, place: None, hint: None, workload: None }
    }
}

impl Severity {
    /// The word of listings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
