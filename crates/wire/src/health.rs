//! What `/health` answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether dormouse and everything it depends on is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` when every service is ready.
    pub status: HealthStatus,
    /// What dormouse depends on, by name.
    pub services: BTreeMap<String, ServiceHealth>,
}

/// The sum of all services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Every service is ready.
    Ok,
    /// Some service is not; dormouse itself goes on.
    Degraded,
}

/// Something that dormouse depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceHealth {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub ready: bool,
    /// When it was last heard of, or first not; absent before either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub last_check: Option<String>,
    /// Why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl HealthStatus {
    /// The status's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
        }
    }
}
