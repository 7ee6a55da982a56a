//! The second door of this crate: what a runtime can measure, and every event as the runtime wrote
//! it. Separate from [`crate::Provider`], because not every runtime has it.

mod running;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dormouse_core::usage::RawSample;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use self::running::{Continuity, RunningSet};
use crate::ProviderError;

/// What measures one environment. Every method is bounded by the caller's deadline and cancel-safe.
pub trait Meter: Send + Sync + 'static {
    /// The machine under the runtime; asked for once per connection to the runtime, and anew after
    /// [`Self::disk`], because some runtimes tell of their disks there.
    fn host(&self, deadline: Instant) -> BoxFuture<'_, Result<Arc<HostFacts>, MeterError>>;

    /// Everything that runs now, paused things included: a full listing.
    fn running(&self, deadline: Instant) -> BoxFuture<'_, Result<Vec<Running>, MeterError>>;

    /// Reads the counters of everything in `set`. `answer` is called once for each, with its place
    /// in the set, in the order in which they come; what is not answered by the deadline is
    /// answered with [`MeterError::Timeout`]. One that cannot be read is an error of its own, never
    /// a zero.
    fn sample<'a>(
        &'a self,
        set: &'a [Metered],
        deadline: Instant,
        answer: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, ()>;

    /// What the runtime keeps on disk. It may look at every file it has: give it a minute.
    fn disk(&self, deadline: Instant) -> BoxFuture<'_, Result<DiskUsage, MeterError>>;

    /// Every event of everything that can be metered, as the runtime wrote it, and the work of
    /// bringing them, which the caller runs; it ends soon after the receiver is dropped. It
    /// reconnects by itself, resumes where it was, drops what it brought before, and says what was
    /// missed. A receiver that falls [`dormouse_core::limits::METER_EVENTS_QUEUE`] items behind misses events and is
    /// told how many. A change of the mode counts at once.
    fn events(&self, mode: watch::Receiver<EventMode>) -> (mpsc::Receiver<RawItem>, EventsWork);
}

/// Takes the answers of [`Meter::sample`].
pub type Answers<'a> = dyn FnMut(usize, Result<RawSample, MeterError>) + Send + 'a;

/// The work behind [`Meter::events`].
pub type EventsWork = BoxFuture<'static, ()>;

/// One start of one thing that can be sampled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metered {
    /// The runtime's id of it, or its name.
    pub reference: Arc<str>,
    /// Which start of it. Two samples are of the same start only where this is the same.
    pub run: u64,
}

/// One thing that runs, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The runtime's id of it.
    pub id: Arc<str>,
    /// What people call it.
    pub name: String,
}

/// The machine under a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Its processors.
    pub cpus: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// The runtime's own version.
    pub version: String,
    /// What the runtime says of itself, as it wrote it: JSON.
    pub raw: Bytes,
}

/// What a runtime keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images, each layer once.
    pub images_bytes: u64,
    /// What containers have written into themselves.
    pub containers_bytes: u64,
    /// Volumes.
    pub volumes_bytes: u64,
    /// What builds keep to be faster the next time.
    pub build_cache_bytes: u64,
    /// What the runtime says, as it wrote it: JSON.
    pub raw: Bytes,
}

/// How events are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMode {
    /// Over one open connection, as they happen.
    Stream,
    /// By asking every so often for what happened since.
    Poll {
        /// How often.
        every: Duration,
    },
}

/// An item of the raw events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawItem {
    /// The runtime is being listened to from here on, the first time or again. What was known of it
    /// may have changed: list.
    Listening,
    /// Something happened.
    Event(RawEvent),
    /// Events were missed, and nothing brings them back. A listing shows what came of them.
    Gap(Gap),
    /// The runtime is not listened to; it is tried again with backoff.
    Lost(MeterError),
}

/// One event, as the runtime wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// When, on the runtime's clock, in nanoseconds since 1970.
    pub time_nanos: i64,
    /// To whom.
    pub id: Arc<str>,
    /// What it did to a run, if it did.
    pub change: Option<RunChange>,
    /// One line of JSON, without its end.
    pub line: Bytes,
}

/// What an event did to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunChange {
    /// A run began.
    Began,
    /// A run ended.
    Ended,
}

/// Events that were missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last event before the gap, where there was one.
    pub since_nanos: Option<i64>,
    /// Why.
    pub cause: GapCause,
}

/// Why events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// More happened meanwhile than the runtime remembers, or it was started anew and has forgotten.
    Forgotten,
    /// The receiver did not take them in time.
    Overrun {
        /// How many.
        events: u64,
    },
    /// Lines that were no events, or too long to be any.
    Unreadable {
        /// How many.
        lines: u64,
    },
}

/// Why nothing was measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// It does not run, or is not there.
    #[error("it does not run")]
    Gone,
    /// The runtime, or what stands in front of it, does not let us in.
    #[error("the credentials are refused: {0}")]
    Credentials(String),
    /// It understood and said no.
    #[error("the runtime refused: {0}")]
    Refused(String),
    /// It could not be spoken to.
    #[error("{0}")]
    Unreachable(String),
    /// It did not answer before the deadline.
    #[error("the runtime did not answer in time to {0}")]
    Timeout(&'static str),
    /// What it answered is of no use.
    #[error("{0}")]
    Nonsense(String),
    /// It cannot work, whatever the state of the runtime.
    #[error("{0}")]
    Misconfigured(String),
}

impl From<ProviderError> for MeterError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Absent(_) | ProviderError::Ended { .. } => Self::Gone,
            ProviderError::Refused(message) => Self::Refused(message),
            ProviderError::Unreachable(reason) => Self::Unreachable(reason),
            ProviderError::Timeout(during) => Self::Timeout(during),
            ProviderError::Misconfigured(reason) => Self::Misconfigured(reason),
        }
    }
}
