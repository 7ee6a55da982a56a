//! One question to an engine, and how it is to be treated.

use dormouse_core::limits;
use http::Method;

/// One question.
pub(in crate::docker) struct Call {
    /// For errors: `inspect`, `start`.
    pub(in crate::docker) name: &'static str,
    pub(in crate::docker) method: Method,
    /// Path and query behind the version.
    pub(in crate::docker) path: String,
    pub(in crate::docker) bytes_max: usize,
    /// Waits for a container to end, so it must not keep shorter calls from their turn.
    pub(in crate::docker) lane: Lane,
}

/// Which calls a call waits its turn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::docker) enum Lane {
    /// Those that are answered at once.
    Quick,
    /// Those that wait for a container to end.
    Stop,
    /// Those that wait for the engine's next tick.
    Sample,
}

impl Call {
    pub(in crate::docker) fn get(name: &'static str, path: String) -> Self {
        let bytes_max = limits::ENGINE_ANSWER_BYTES_MAX;
        Self { name, method: Method::GET, path, bytes_max, lane: Lane::Quick }
    }

    pub(in crate::docker) fn post(name: &'static str, path: String) -> Self {
        let bytes_max = limits::ENGINE_ANSWER_BYTES_MAX;
        Self { name, method: Method::POST, path, bytes_max, lane: Lane::Quick }
    }

    /// The counters of one container, read once, without a second reading to compare them with.
    pub(in crate::docker) fn stats(reference: &str) -> Self {
        let path = format!("/containers/{reference}/stats?stream=false&one-shot=true");
        Self { lane: Lane::Sample, ..Self::get("stats", path) }
    }

    /// Only what changes nothing may be sent twice.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method == Method::GET
    }
}
