//! The body of every error: a problem document (RFC 9457) with members of our own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::finding::Finding;
use crate::workload::Leases;

/// Why something was not done, as `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:dormouse:problem:` and the slug.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for a person.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable name of this kind of problem.
    #[schema(example = "no-such-workload")]
    pub slug: String,
    /// What was the matter this time.
    pub detail: String,
    /// What the reader can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The id of the workload it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Seconds until asking again may help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The ids that may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// What keeps the workload in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<Leases>,
    /// The last lines of the workload's log, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What is wrong with the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Problem {
    /// The media type of the document.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// A problem of one kind, with nothing said about this time yet.
    pub fn new(status: u16, slug: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:dormouse:problem:{slug}"),
            title: title.to_owned(),
            status,
            slug: slug.to_owned(),
            ..Self::default()
        }
    }
}
