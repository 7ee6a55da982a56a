//! What counts for all environments: how often they are measured and what the parent asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use dormouse_wire::Extra;

/// How often environments are measured until the parent says otherwise.
const METRICS_INTERVAL: Duration = Duration::from_secs(30);
/// How often events are asked for, where they are asked for, until the parent says otherwise.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The settings of all environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) metrics_interval: Duration,
    /// The additive messages that the parent understands.
    pub(super) extras: BTreeSet<Extra>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { metrics_interval: METRICS_INTERVAL, extras: BTreeSet::new() }
    }
}

impl Settings {
    /// Whether the parent asked for an additive message.
    pub(super) fn wants(&self, extra: Extra) -> bool {
        self.extras.contains(&extra)
    }
}
