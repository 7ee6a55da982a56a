//! The lines of `dormouse collect`: what it is told on its standard input and what it tells on its
//! standard output, one JSON object a line.

mod command;
mod json;
mod report;

pub use command::{BadLine, CollectCommand, Configure, Connection, EventMode, Hidden};
pub use json::RawJson;
pub use report::{CollectReport, ContainerUse, EnvironmentUse};

/// The number by which the parent knows an environment. Zero is one like any other, and is left out
/// of what is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvId(pub i64);

impl std::fmt::Display for EnvId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The additive messages that a parent can ask for in a `hello`; none is sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extra {
    /// What each container uses, before the environment's `metrics`.
    ContainerMetrics,
    /// That events may have been missed; without it the same is told as an `error`.
    EventsGap,
}

impl Extra {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ContainerMetrics, Self::EventsGap];

    /// The type of the message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContainerMetrics => "container_metrics",
            Self::EventsGap => "events_gap",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extra| extra.as_str() == name)
    }
}
