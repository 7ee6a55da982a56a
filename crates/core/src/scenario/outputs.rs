//! Outputs in the words of a scenario.

use super::script::Shown;
use crate::fleet::Effect;
use crate::lifecycle::{self, SleepAnswer};
use crate::sim::log::{Output, Sight};

/// Names of the workloads and of the visitors.
pub(super) trait Names {
    fn workload(&self, workload: usize) -> &str;
    fn visitor(&self, visitor: u64) -> &str;
}

/// What a scenario says of this output; nothing when it is not shown.
pub(super) fn say(output: &Output, names: &impl Names, shown: &[Shown]) -> Option<String> {
    match output {
        Output::Visitor { visitor, sight } => {
            let visitor = names.visitor(*visitor);
            match sight {
                Sight::Waits => None,
                Sight::Served => Some(format!("serve {visitor}")),
                Sight::TurnedAway => Some(format!("turn away {visitor}")),
            }
        }
        Output::Effect { workload, effect } => {
            let name = names.workload(*workload);
            match effect {
                Effect::Act(_, effect) => act(effect, name, shown),
                Effect::PinEnded(_) => Some(format!("unpin {name}")),
                Effect::Moved { from, to, .. } => {
                    shows(shown, Shown::Moves).then(|| format!("move {name} {from} -> {to}"))
                }
            }
        }
    }
}

fn act(effect: &lifecycle::Effect, name: &str, shown: &[Shown]) -> Option<String> {
    match effect {
        lifecycle::Effect::Start { .. } => Some(format!("start {name}")),
        lifecycle::Effect::Rest { rest, .. } => Some(format!("rest {name} {}", rest.as_str())),
        lifecycle::Effect::OpenGate => Some(format!("open {name}")),
        lifecycle::Effect::CloseGate { .. } => Some(format!("close {name}")),
        lifecycle::Effect::Deny { failure, .. } => {
            Some(format!("deny {name} {}: {failure}", failure.kind.slug()))
        }
        lifecycle::Effect::Answer(_, answer) => Some(match answer {
            SleepAnswer::AlreadyAsleep => format!("answer {name} already asleep"),
            SleepAnswer::Resting => format!("answer {name} resting"),
            SleepAnswer::Refused(why) => format!("answer {name} refused: {why}"),
        }),
        lifecycle::Effect::CountRestFailure(failure) => {
            Some(format!("rest of {name} failed: {failure}"))
        }
        lifecycle::Effect::Tell(step) => shows(shown, Shown::Story)
            .then(|| format!("tell {name} {}: {}", step.kind.as_str(), step.message)),
        lifecycle::Effect::Probe { .. } => {
            shows(shown, Shown::Probes).then(|| format!("probe {name}"))
        }
        lifecycle::Effect::Abandon { .. } => {
            shows(shown, Shown::Probes).then(|| format!("abandon {name}"))
        }
        lifecycle::Effect::ShutGate => shows(shown, Shown::Gates).then(|| format!("shut {name}")),
        lifecycle::Effect::ReadActivity { .. } => {
            shows(shown, Shown::Gates).then(|| format!("read {name}"))
        }
        lifecycle::Effect::Observe
        | lifecycle::Effect::CountFailure { .. }
        | lifecycle::Effect::ForgetRestFailures
        | lifecycle::Effect::Calm
        | lifecycle::Effect::Completed
        | lifecycle::Effect::DropPin => None,
    }
}

fn shows(shown: &[Shown], what: Shown) -> bool {
    shown.contains(&what)
}
