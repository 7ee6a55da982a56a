//! The shapes that someone outside this process sees: what the admin API answers, what its event
//! streams tell, how an error reads, and what an exit code means.
//!
//! Moments are RFC 3339 in UTC, such as `2026-01-31T12:00:00.250Z`. What may be absent is left out
//! rather than null.

mod collect;
mod environment;
mod event;
mod exit;
mod explain;
mod finding;
mod health;
mod problem;
mod request;
mod summary;
mod usage;
mod watch;
mod workload;

pub use collect::{
    BadLine, CollectCommand, CollectReport, Configure, Connection, ContainerUse, EnvId,
    EnvironmentUse, EventMode, Extra, Hidden, RawJson,
};
pub use environment::{Environment, EnvironmentState};
pub use event::{Event, EventKind, ProgressEvent, ProgressKind};
pub use exit::Exit;
pub use explain::{
    Explanation, FailureReport, NeedReport, NextStep, PolicyReport, WorkloadDetails,
};
pub use finding::{Finding, FindingList, FindingSeverity};
pub use health::{Health, HealthStatus, ServiceHealth};
pub use problem::Problem;
pub use request::{Logs, PinOrder, ReloadOutcome, Reloaded};
pub use summary::{EnvironmentTotals, PhaseTotals, Summary};
pub use usage::{
    DiskUsage, EnvironmentMetrics, EnvironmentUsage, Host, Rates, Usage, WorkloadMetrics,
};
pub use watch::{Watch, WatchChange, WatchState};
pub use workload::{LastWake, Leases, Listener, Phase, Pin, Route, WakeParts, Workload};
