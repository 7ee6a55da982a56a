//! Routes: which workload a request is for, by hostname, wildcard and path prefix.

use std::fmt;

/// What a route matches: `example.com`, `*.example.com`, `example.com/blog`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    hostname: String,
    prefix: String,
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

impl Pattern {
    /// Reads `HOSTNAME[/PREFIX]`; the hostname is made lower case, and a wildcard stands for
    /// exactly the labels left of it.
    ///
    /// # Errors
    /// When the hostname is not one, has a port or a scheme, or the prefix has a query.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (hostname, prefix) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { hostname: hostname.to_ascii_lowercase(), prefix: format!("/{prefix}") })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hostname, self.prefix.trim_end_matches('/'))
    }
}
