//! Watches: services whose reachability is followed, and the notices of their transitions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A service that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Watch {
    /// Its configured name.
    #[schema(example = "homeassistant")]
    pub name: String,
    /// Whether it is up.
    pub ready: bool,
    /// What is known of it.
    pub state: WatchState,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
    /// What is probed.
    #[schema(example = "http://ha.lan:8123/api")]
    pub probe: String,
    /// Failures in a row, up to now.
    pub failures: u32,
    /// When the last probe ended; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub last_check: Option<String>,
    /// When the next probe begins; in the past while one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub next_check: Option<String>,
    /// Why the last probe failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What is known of a watched service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchState {
    /// It has not been reached yet, and has startup tries left.
    Pending,
    /// It is reached.
    Up,
    /// It is not.
    Down,
}

/// A transition: what a webhook is sent, and a line of `dormouse watch --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WatchChange {
    /// Whose.
    pub watch: String,
    /// The state it left.
    pub from: WatchState,
    /// The state it entered.
    pub state: WatchState,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Why, where it fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl WatchState {
    /// The state's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}
