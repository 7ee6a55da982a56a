//! Leases: reasons to be awake that end when they are dropped, and the wait for one.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::failure::Denial;
use dormouse_core::lifecycle::WakeCause;
use dormouse_core::{Failure, FailureKind, limits};

use crate::gate::{Gate, Opening};

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One request and its answer.
    Request,
    /// An upgraded or raw connection.
    Connection,
    /// A UDP flow.
    Flow,
}

/// A reason to be awake. Dropping it ends the activity.
#[derive(Debug)]
pub struct Lease {
    gate: Arc<Gate>,
    kind: Kind,
}

/// A lease and where it leads.
#[derive(Debug)]
pub struct Pass {
    /// Keeps the workload awake.
    pub lease: Lease,
    /// Where it is reached.
    pub opening: Arc<Opening>,
}

/// The answer to [`Gate::ask`].
#[derive(Debug)]
pub enum Admission {
    /// The gate is open.
    Pass(Pass),
    /// It is shut, and somebody has been told.
    Wait(Waiting),
    /// It will not open for now.
    Denied(Denial),
}

/// A place in the waiting room. It counts as a reason not to rest; dropping it leaves.
#[derive(Debug)]
pub struct Waiting {
    place: Place,
    kind: Kind,
    verdicts: tokio::sync::watch::Receiver<crate::gate::Verdict>,
    /// Whether this caller is the one whose want began the wake.
    pub first: bool,
}

#[derive(Debug)]
struct Place(Arc<Gate>);

impl Gate {
    /// Asks for admission. A shut gate begins the wake at once, whether or not the wait is polled.
    pub fn ask(self: &Arc<Self>, kind: Kind) -> Admission {
        match self.try_pass(kind) {
            Some(opening) => Admission::Pass(self.pass(kind, opening)),
            None => self.line_up(kind, WakeCause::Request),
        }
    }

    /// Asks for admission on behalf of the API.
    pub fn ask_for_person(self: &Arc<Self>) -> Admission {
        match self.try_pass(Kind::Request) {
            Some(opening) => Admission::Pass(self.pass(Kind::Request, opening)),
            None => self.line_up(Kind::Request, WakeCause::Asked),
        }
    }

    fn line_up(self: &Arc<Self>, kind: Kind, cause: WakeCause) -> Admission {
        // The place is taken before the verdict is read and the summons sent: a verdict that is
        // spoken after this line is seen by this caller.
        let place = Place::take(self);
        let verdicts = self.verdicts();
        if let Some(denial) = self.denial() {
            return Admission::Denied(denial);
        }
        Admission::Wait(Waiting { place, kind, verdicts, first: self.begin(cause) })
    }

    fn pass(self: &Arc<Self>, kind: Kind, opening: Arc<Opening>) -> Pass {
        Pass { lease: Lease { gate: Arc::clone(self), kind }, opening }
    }
}

impl Waiting {
    /// Waits until the gate opens.
    ///
    /// # Errors
    /// When the wake fails, or has not ended a margin after `wake_timeout`.
    pub async fn ready(mut self) -> Result<Pass, Denial> {
        let gate = Arc::clone(&self.place.0);
        let patience = gate.wake_timeout() + limits::ANSWER_MARGIN + Duration::from_millis(500);
        match tokio::time::timeout(patience, self.admitted()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(out_of_patience(&gate)),
        }
    }

    async fn admitted(&mut self) -> Result<Pass, Denial> {
        let gate = Arc::clone(&self.place.0);
        loop {
            if let Some(opening) = gate.try_pass(self.kind) {
                return Ok(gate.pass(self.kind, opening));
            }
            if self.verdicts.changed().await.is_err() {
                return Err(out_of_patience(&gate));
            }
            let denial = self.verdicts.borrow_and_update().denial_of_waiting(gate.now());
            if let Some(denial) = denial {
                return Err(denial);
            }
        }
    }
}

fn out_of_patience(gate: &Gate) -> Denial {
    let why = gate.published();
    let detail = format!("it was still {} after wake_timeout: {}", why.phase, why.why);
    Denial {
        failure: Failure::new(FailureKind::TimedOut, detail),
        retry_after: limits::RETRY_DELAY_MIN,
    }
}

impl Place {
    fn take(gate: &Arc<Gate>) -> Self {
        gate.enter_waiting();
        Self(Arc::clone(gate))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave_waiting();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.gate.end(self.kind);
    }
}

impl Lease {
    /// The workload it keeps awake.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl Kind {
    /// How many kinds there are.
    pub const COUNT: usize = 3;
    pub(crate) const MASK: u64 = (1 << 21) - 1;

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Request => 0,
            Self::Connection => 1,
            Self::Flow => 2,
        }
    }

    pub(crate) fn shift(self) -> u32 {
        match self {
            Self::Request => 0,
            Self::Connection => 21,
            Self::Flow => 42,
        }
    }

    /// What one lease of this kind adds to the packed count: 21 bits each.
    pub(crate) fn unit(self) -> u64 {
        1 << self.shift()
    }

    /// The kind's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Connection => "connection",
            Self::Flow => "flow",
        }
    }
}
