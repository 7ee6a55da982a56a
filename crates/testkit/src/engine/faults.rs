//! How a fake engine misbehaves: by rule on its answers, by chance on its events.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Every fault of one engine; by default there is none.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    events: Mutex<EventFaults>,
    /// Changes whenever the event streams that are open shall be cut.
    cuts: watch::Sender<u64>,
}

/// Which calls misbehave, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    method: Option<String>,
    path: Option<String>,
    container: Option<String>,
    skip: u32,
    times: Option<u32>,
    fault: Fault,
}

/// How a call misbehaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is heard this much later.
    Delay(Duration),
    /// It is done, and answered this much later.
    AnswerLate(Duration),
    /// It is not heard, and never answered.
    Hang,
    /// It is done, and never answered.
    HangAfterDeed,
    /// It is not heard, and answered with this instead.
    Answer {
        /// The status of the answer.
        status: u16,
        /// Its body.
        body: String,
    },
    /// It is not heard; the connection ends without an answer.
    Drop,
    /// It is done; the connection ends without an answer.
    DropAfterDeed,
    /// It is done; the connection ends after so many bytes of the body, whose full length had been
    /// announced.
    CutAfter(usize),
    /// It is done, and answered with a body that ends half-way, of a length that claims to be all.
    Truncate,
    /// It is done, and answered with something that is not JSON.
    Garbage,
}

/// How events misbehave. Shares are of 1; which events they hit is decided by `seed` and by the
/// event alone, so that a replay loses the same ones.
#[derive(Clone, Debug, PartialEq)]
pub struct EventFaults {
    /// Decides which events are hit.
    pub seed: u64,
    /// The share that is never sent.
    pub lost: f64,
    /// The share that is sent twice.
    pub doubled: f64,
    /// The share that is sent after the event that follows it (or a moment later, where none does).
    pub reordered: f64,
    /// How late every event is.
    pub delay: Duration,
    /// The share before which a line that is no JSON is sent.
    pub garbage: f64,
    /// The share before which a line of [`EventFaults::long_bytes`] is sent.
    pub long: f64,
    /// How long a long line is.
    pub long_bytes: usize,
}

impl Rule {
    /// Every call misbehaves so; narrow it down with the methods below.
    pub fn any(fault: Fault) -> Self {
        Self { method: None, path: None, container: None, skip: 0, times: None, fault }
    }

    /// Only calls of this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only calls whose path contains this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Only calls about this container, by the name or id in the path.
    #[must_use]
    pub fn container(mut self, reference: &str) -> Self {
        self.container = Some(reference.to_owned());
        self
    }

    /// Not the first `calls` of them.
    #[must_use]
    pub fn after(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, method: &str, path: &str, container: Option<&str>) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|part| path.contains(part))
            && self.container.as_deref().is_none_or(|wanted| Some(wanted) == container)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Mutex::default(), events: Mutex::default(), cuts: watch::Sender::new(0) }
    }
}

impl Default for EventFaults {
    fn default() -> Self {
        Self {
            seed: 0,
            lost: 0.0,
            doubled: 0.0,
            reordered: 0.0,
            delay: Duration::ZERO,
            garbage: 0.0,
            long: 0.0,
            long_bytes: 4 << 20,
        }
    }
}

impl Faults {
    /// Adds a rule; of several that match a call, the oldest that is not used up applies.
    pub fn add(&self, rule: Rule) {
        self.rules().push(rule);
    }

    /// From now on calls are answered as they should be.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// From now on events misbehave so.
    pub fn set_events(&self, faults: EventFaults) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Ends every event stream that is open.
    pub fn cut_events(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(super) fn events(&self) -> EventFaults {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// The fault that hits this call, which uses up one of its times.
    pub(super) fn hit(&self, method: &str, path: &str, container: Option<&str>) -> Option<Fault> {
        let mut rules = self.rules();
        let matching = rules.iter_mut().filter(|rule| rule.matches(method, path, container));
        for rule in matching {
            if rule.times == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(rule.fault.clone());
        }
        None
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventFaults {
    /// Whether the event at `time_nano` is one of `share`, for the purpose that `salt` names.
    pub(super) fn hits(&self, share: f64, time_nano: u64, salt: u64) -> bool {
        if share <= 0.0 {
            return false;
        }
        let mixed = (time_nano ^ self.seed.rotate_left(17) ^ salt.wrapping_mul(0x9E37_79B9))
            .wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let drawn = (mixed >> 40) as f64 / f64::from(1_u32 << 24);
        drawn < share
    }
}
