//! Why a workload is in its phase, what keeps it awake, and until when.

use super::Fleet;
use super::entry::Entry;
use super::event::Key;
use crate::failure::Failure;
use crate::id::WorkloadId;
use crate::lifecycle::{
    Activity, Check, DrainCause, Ignorance, Needs, Phase, Retry, TimerReason, WakeCause, WakeStep,
    Waking,
};
use crate::observation::Condition;
use crate::policy::Until;
use crate::time::Timestamp;

/// The answer to "why is it awake, until when, and what keeps it".
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Which workload.
    pub id: WorkloadId,
    /// The phase's word.
    pub phase: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// One sentence, lower case, without a full stop.
    pub why: String,
    /// When it will be idle, if nothing happens before.
    pub idle_at: Option<Timestamp>,
    /// The next thing that happens by itself.
    pub next: Option<(Timestamp, TimerReason)>,
    /// Until when a pin holds it; `Some(None)` is for good.
    pub pin: Option<Option<Timestamp>>,
    /// Who holds a `dependent` lease on it.
    pub dependents: Vec<WorkloadId>,
    /// What it needs, and how far that has come.
    pub needs: Vec<NeedState>,
    /// What the runtime last showed.
    pub condition: Option<Condition>,
    /// The last failure, and when.
    pub last_failure: Option<(Timestamp, Failure)>,
    /// When and why the last wake began.
    pub last_wake: Option<(Timestamp, WakeCause)>,
    /// When a denied caller may ask again.
    pub retry_at: Option<Timestamp>,
}

/// One need and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedState {
    /// What is needed.
    pub on: WorkloadId,
    /// How far it must come.
    pub until: Until,
    /// The phase it is in; absent when nobody defined it.
    pub phase: Option<&'static str>,
    /// Whether it has come far enough.
    pub met: bool,
}

impl Fleet {
    /// Explains one workload. What its gate counts is known to the keeper only.
    pub fn explain(
        &self,
        key: Key,
        activity: Option<Activity>,
        now: Timestamp,
    ) -> Option<Explanation> {
        let entry = self.entry(key)?;
        let dependents: Vec<WorkloadId> =
            entry.dependents.iter().filter_map(|&key| self.id(key).cloned()).collect();
        let idle_at = idle_at(entry, activity);
        Some(Explanation {
            id: entry.id.clone(),
            phase: entry.phase.name(),
            since: entry.phase.since(),
            why: why(entry, activity, &dependents, idle_at, now),
            idle_at,
            next: entry.phase.deadline(),
            pin: entry.pin.map(|pin| pin.until),
            needs: self.need_states(entry, now),
            dependents,
            condition: entry.condition,
            last_failure: entry.last_failure.as_deref().cloned(),
            last_wake: entry.last_wake,
            retry_at: retry_at(&entry.phase),
        })
    }

    fn need_states(&self, entry: &Entry, now: Timestamp) -> Vec<NeedState> {
        let unmet = match self.needs_of(entry, now) {
            Needs::Met => Vec::new(),
            Needs::Waiting(waiting) => waiting,
            Needs::Failed { .. } => (0..entry.policy.needs.len()).collect(),
        };
        let state = |(position, need): (usize, &crate::policy::Need)| NeedState {
            on: need.on.clone(),
            until: need.until,
            phase: self.key(&need.on).and_then(|key| self.phase(key)).map(Phase::name),
            met: !unmet.contains(&position),
        };
        entry.policy.needs.iter().enumerate().map(state).collect()
    }
}

fn idle_at(entry: &Entry, activity: Option<Activity>) -> Option<Timestamp> {
    let Phase::Ready(ready) = &entry.phase else {
        return None;
    };
    if ready.check == Check::Never || entry.pin.is_some() || !entry.dependents.is_empty() {
        return None;
    }
    let activity = activity?;
    let (load, below) = (entry.load(), entry.policy.idle_below);
    if activity.open() > 0 || load.is_busy(below) {
        return None;
    }
    let last_use = activity.last_use.max(entry.released_at).max(load.last_use(below));
    let due = ready.idle_at(entry.policy.idle_timeout?, last_use);
    Some(match ready.check {
        // One that was adopted, or whose gate has opened again, gets a whole period from then on.
        Check::At(at) | Check::PutOff(at) => due.max(at),
        Check::Asked { .. } | Check::Never => due,
    })
}

fn retry_at(phase: &Phase) -> Option<Timestamp> {
    match phase {
        Phase::Failed(failed) => match failed.retry {
            Retry::At(at) => Some(at),
            Retry::Open => None,
        },
        Phase::Gone(gone) => Some(gone.retry_at),
        Phase::Unknown(_)
        | Phase::Asleep(_)
        | Phase::Waking(_)
        | Phase::Ready(_)
        | Phase::Draining(_)
        | Phase::Settling(_)
        | Phase::Misconfigured(_) => None,
    }
}

fn why(
    entry: &Entry,
    activity: Option<Activity>,
    dependents: &[WorkloadId],
    idle_at: Option<Timestamp>,
    now: Timestamp,
) -> String {
    match &entry.phase {
        Phase::Unknown(unknown) => match unknown.why {
            Ignorance::NotYetObserved => "its environment has not shown it yet".to_owned(),
            Ignorance::RestUnclear => "its last rest ended without a clear answer".to_owned(),
        },
        Phase::Asleep(_) => why_asleep(entry),
        Phase::Waking(waking) => why_waking(waking, entry),
        Phase::Ready(ready) => match (ready.check, idle_at) {
            (Check::Never, _) => "its idle_timeout is \"never\"".to_owned(),
            (_, Some(at)) => {
                format!("nobody uses it; it will be idle in {}", seconds(at.since(now)))
            }
            (_, None) => keeps_awake(entry, activity, dependents),
        },
        Phase::Draining(draining) => why_draining(draining.cause),
        Phase::Settling(settling) => format!("its rest ({}) is in flight", settling.rest.as_str()),
        Phase::Failed(failed) => match failed.retry {
            Retry::At(at) => {
                format!("{}; retry in {}", failed.failure, seconds(at.since(now)))
            }
            Retry::Open => format!("{}; the next request tries again", failed.failure),
        },
        Phase::Misconfigured(wrong) => wrong.message.clone(),
        Phase::Gone(_) => "the runtime knows nothing under its name".to_owned(),
    }
}

fn why_asleep(entry: &Entry) -> String {
    match entry.last_failure.as_deref() {
        Some((_, failure)) if entry.failures > 0 => {
            format!("nobody wants it; its last wake failed: {failure}")
        }
        Some(_) | None => "nobody wants it".to_owned(),
    }
}

fn why_waking(waking: &Waking, entry: &Entry) -> String {
    let cause = match waking.cause {
        WakeCause::Request => "a request came",
        WakeCause::Asked => "somebody asked for it",
        WakeCause::Pin => "a pin wants it awake",
        WakeCause::Dependent => "a workload that is waking needs it",
        WakeCause::Adopted => "it was found running",
        WakeCause::StartedByHand => "it was started by hand",
        WakeCause::Crash => "it ended while it was wanted",
    };
    match &waking.step {
        WakeStep::Backoff { after: Some(failure), .. } => {
            format!("{cause}; it is started again soon, because {failure}")
        }
        WakeStep::Backoff { after: None, .. } => {
            format!("{cause}; it is started soon, because it failed before")
        }
        WakeStep::Needs { waiting } => {
            let name = |&position: &usize| entry.policy.needs.get(position).map(|n| n.on.name());
            let names: Vec<&str> = waiting.iter().filter_map(name).collect();
            format!("{cause}; it waits for {}", names.join(", "))
        }
        WakeStep::Starting { .. } => format!("{cause}; the runtime is starting it"),
        WakeStep::Probing { .. } => format!("{cause}; it is being probed"),
        WakeStep::Completing { .. } => format!("{cause}; it is running to its end"),
    }
}

fn why_draining(cause: DrainCause) -> String {
    match cause {
        DrainCause::Idle => "it is idle".to_owned(),
        DrainCause::Asked(_) => "somebody asked it to sleep".to_owned(),
        DrainCause::Forced { .. } => "somebody forced it to sleep".to_owned(),
        DrainCause::Adopted => "it was found running, and its policy says it rests".to_owned(),
    }
}

fn keeps_awake(entry: &Entry, activity: Option<Activity>, dependents: &[WorkloadId]) -> String {
    let mut reasons = Vec::new();
    if let Some(activity) = activity.filter(|activity| activity.open() > 0) {
        let open = activity.open();
        let noun =
            if open == 1 { "request or connection is" } else { "requests or connections are" };
        reasons.push(format!("{open} {noun} open"));
    }
    if !dependents.is_empty() {
        let names: Vec<&str> = dependents.iter().map(WorkloadId::name).collect();
        reasons.push(format!("needed by {}", names.join(", ")));
    }
    if entry.pin.is_some() {
        reasons.push("a pin holds it".to_owned());
    }
    let load = entry.load();
    if let Some(last) = load.last.filter(|_| load.is_busy(entry.policy.idle_below)) {
        reasons.push(format!("it is at work: {last}"));
    }
    if reasons.is_empty() { "it was used just now".to_owned() } else { reasons.join("; ") }
}

fn seconds(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        s if s >= 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}
