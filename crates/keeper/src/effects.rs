//! Executes effects: each question to the outside is a task of its own whose answer comes back to
//! the loop with the question's epoch.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::fleet::Key;
use dormouse_core::lifecycle::{Effect, Event, Phase};
use dormouse_core::policy::Rest;
use dormouse_core::{Epoch, Failure, FailureKind, Timestamp, limits};
use dormouse_providers::{Provider, ProviderError, RestOrder, Sighting, StartOrder};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::journal::JournalKind;
use crate::keeper::Keeper;
use crate::probe::{Prober, Proven};

/// How long reading a log may delay the telling of a failure.
const LOG_READ_MAX: Duration = Duration::from_secs(1);

/// The answer to a question, on its way to the loop.
pub(crate) enum Answer {
    Observed {
        key: Key,
        result: Result<Sighting, ProviderError>,
    },
    Started {
        key: Key,
        epoch: Epoch,
        result: Result<Sighting, ProviderError>,
        took: Duration,
    },
    Rested {
        key: Key,
        epoch: Epoch,
        rest: Rest,
        result: Result<Sighting, ProviderError>,
        took: Duration,
    },
    Probed {
        key: Key,
        epoch: Epoch,
        result: Result<Proven, Failure>,
    },
    LeasesEnded {
        key: Key,
        epoch: Epoch,
    },
    LogRead {
        key: Key,
        failure: Failure,
        retry_at: Option<Timestamp>,
    },
}

impl Keeper {
    /// Executes one effect of one lifecycle.
    pub(crate) fn act(&mut self, key: Key, effect: Effect) {
        match effect {
            Effect::Observe => self.observe(key),
            Effect::Start { epoch, deadline } => self.start(key, epoch, deadline),
            Effect::Rest { epoch, rest, deadline } => self.rest(key, epoch, rest, deadline),
            Effect::Probe { epoch, deadline } => self.probe(key, epoch, deadline),
            Effect::Abandon { epoch } => {
                if let Some(workload) = self.workloads.get_mut(&key) {
                    workload.abandon(epoch);
                }
            }
            Effect::ReadActivity { epoch } => {
                let Some(workload) = self.workloads.get(&key) else {
                    return;
                };
                let activity = workload.gate.activity();
                self.inbox.push_back((key, Event::ActivityRead { epoch, activity }));
            }
            Effect::CloseGate { epoch } => self.close_gate(key, epoch),
            Effect::ShutGate => {
                if let Some(workload) = self.workloads.get_mut(&key) {
                    workload.shut();
                }
            }
            Effect::OpenGate => self.open_gate(key),
            Effect::Deny { failure, retry_at } => self.deny(key, failure, retry_at),
            Effect::Tell(step) => {
                let Some(workload) = self.workloads.get(&key) else {
                    return;
                };
                workload.gate.story().tell(step, self.clock.unix_ms(self.clock.now()));
                self.publish(key);
            }
            Effect::Answer(ticket, answer) => {
                if let Some(asker) = self.tickets.remove(&ticket) {
                    // An asker who has gone needs no answer.
                    let _ = asker.send(Some(answer));
                }
            }
            Effect::CountRestFailure(failure) => self.rest_failed(key, &failure),
            Effect::CountFailure { .. }
            | Effect::ForgetRestFailures
            | Effect::Calm
            | Effect::Completed
            | Effect::DropPin => {}
        }
    }

    /// Looks at a workload; the answer is an observation.
    pub(crate) fn observe(&mut self, key: Key) {
        let Some((provider, workload)) = self.provider_of(key) else {
            return;
        };
        let target = workload.target.clone();
        let answers = self.answers.clone();
        self.tasks.spawn(async move {
            let deadline = Instant::now() + limits::OBSERVE_MAX;
            let result = provider.observe(&target, deadline).await;
            let _ = answers.send(Answer::Observed { key, result }).await;
        });
    }

    fn start(&mut self, key: Key, epoch: Epoch, deadline: Timestamp) {
        let now = self.clock.now();
        let Some((provider, workload)) = self.provider_of(key) else {
            return;
        };
        let (target, launch) = (workload.target.clone(), workload.launch.clone());
        let deadline = self.clock.instant(deadline);
        let answers = self.answers.clone();
        let task = self.tasks.spawn(async move {
            let asked = Instant::now();
            let order = StartOrder { launch };
            let result =
                bounded(deadline, "start", provider.start(&target, &order, deadline)).await;
            let took = asked.elapsed();
            let _ = answers.send(Answer::Started { key, epoch, result, took }).await;
        });
        if let Some(workload) = self.workloads.get_mut(&key) {
            let affairs = workload.affairs_mut();
            affairs.in_flight = Some((epoch, task));
            affairs.probing = None;
            if let Some(wake) = &mut affairs.wake {
                wake.start_sent = Some(wake.start_sent.unwrap_or(now));
            }
        }
    }

    fn rest(&mut self, key: Key, epoch: Epoch, rest: Rest, deadline: Timestamp) {
        let policy = self.fleet.policy(key).cloned();
        let Some((provider, workload)) = self.provider_of(key) else {
            return;
        };
        let Some(policy) = policy else { return };
        // From here on the upstream is not to be trusted: connections to it are dropped.
        workload.gate.shut();
        let target = workload.target.clone();
        let signal = policy.stop_signal.clone();
        let order = RestOrder { rest, signal, grace: policy.stop_timeout };
        let deadline = self.clock.instant(deadline);
        let answers = self.answers.clone();
        let task = self.tasks.spawn(async move {
            let asked = Instant::now();
            let result = bounded(deadline, "rest", provider.rest(&target, &order, deadline)).await;
            let took = asked.elapsed();
            let _ = answers.send(Answer::Rested { key, epoch, rest, result, took }).await;
        });
        if let Some(workload) = self.workloads.get_mut(&key) {
            let affairs = workload.affairs_mut();
            affairs.proven = None;
            affairs.in_flight = Some((epoch, task));
        }
    }

    fn probe(&mut self, key: Key, epoch: Epoch, deadline: Timestamp) {
        let now = self.clock.now();
        let Some(policy) = self.fleet.policy(key).cloned() else {
            return;
        };
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        if let Some((_, earlier)) = workload.affairs_mut().in_flight.take() {
            earlier.abort();
        }
        let prober = Prober {
            readiness: workload.readiness(&policy),
            port: workload.main_port(&policy),
            sightings: workload.sightings.listen(),
        };
        let progress = watch::Sender::default();
        workload.affairs_mut().probing = Some(progress.subscribe());
        let deadline = self.clock.instant(deadline);
        let answers = self.answers.clone();
        let task = self.tasks.spawn(async move {
            let result = prober.run_telling(deadline, &progress).await;
            let result = result.map_err(|error| never_ready(&error));
            let _ = answers.send(Answer::Probed { key, epoch, result }).await;
        });
        let affairs = workload.affairs_mut();
        affairs.in_flight = Some((epoch, task));
        if let Some(wake) = &mut affairs.wake {
            wake.probe_sent = Some(now);
        }
    }

    fn close_gate(&mut self, key: Key, epoch: Epoch) {
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        let activity = workload.gate.close();
        self.inbox.push_back((key, Event::GateClosed { epoch, activity }));
        if activity.served == 0 {
            return;
        }
        let (gate, answers) = (Arc::clone(&workload.gate), self.answers.clone());
        let task = self.tasks.spawn(async move {
            gate.drained().await;
            let _ = answers.send(Answer::LeasesEnded { key, epoch }).await;
        });
        if let Some(earlier) = workload.affairs_mut().drain.replace(task) {
            earlier.abort();
        }
    }

    fn open_gate(&mut self, key: Key) {
        let ready = match self.fleet.phase(key) {
            Some(Phase::Ready(ready)) => Some((ready.run, ready.unused)),
            Some(_) | None => None,
        };
        let Some(policy) = self.fleet.policy(key).cloned() else {
            return;
        };
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        if let Some(drain) = workload.affairs_mut().drain.take() {
            drain.abort();
        }
        match workload.affairs_mut().proven.take() {
            Some(proven) => {
                self.openings += 1;
                workload.affairs_mut().ready_run = ready.map(|(run, _)| run);
                let opening = workload.opening(self.openings, proven, &policy);
                if ready.is_none_or(|(_, unused)| unused.is_zero()) {
                    // The opening counts as a use, unless an earlier idle period goes on.
                    workload.gate.touch();
                }
                workload.gate.open(opening);
            }
            None if workload.gate.has_opening() => workload.gate.reopen(),
            None => tracing::error!(workload = %workload.id(), "Opened a gate that leads nowhere"),
        }
    }

    /// Tells a failure, with the last lines of the log where they may explain it.
    fn deny(&mut self, key: Key, failure: Failure, retry_at: Option<Timestamp>) {
        let wants_log =
            matches!(failure.kind, FailureKind::Crashed { .. } | FailureKind::NeverReady);
        if !wants_log || !failure.log.is_empty() {
            if let Some(workload) = self.workloads.get(&key) {
                workload.gate.deny(failure, retry_at);
            }
            return;
        }
        let Some((provider, workload)) = self.provider_of(key) else {
            return;
        };
        let target = workload.target.clone();
        let answers = self.answers.clone();
        let task = self.tasks.spawn(async move {
            let deadline = Instant::now() + LOG_READ_MAX;
            let lines = provider.log_tail(&target, limits::FAILURE_LOG_LINES_MAX, deadline);
            let log = tokio::time::timeout_at(deadline, lines).await;
            let log = log.ok().and_then(Result::ok).unwrap_or_default();
            let failure = Failure { log, ..failure };
            let _ = answers.send(Answer::LogRead { key, failure, retry_at }).await;
        });
        if let Some(workload) = self.workloads.get_mut(&key)
            && let Some(earlier) = workload.affairs_mut().log.replace(task)
        {
            earlier.abort();
        }
    }

    fn rest_failed(&mut self, key: Key, failure: &Failure) {
        let Some(workload) = self.workloads.get(&key) else {
            return;
        };
        tracing::warn!(workload = %workload.id(), error = %failure, "Could not rest");
        let error = failure.detail.clone();
        self.write_journal(Some(workload.id().clone()), JournalKind::RestFailed { error });
    }

    fn provider_of(&self, key: Key) -> Option<(Arc<dyn Provider>, &crate::workload::Workload)> {
        let workload = self.workloads.get(&key)?;
        let environment = self.environments.get(workload.id().environment())?;
        Some((Arc::clone(&environment.provider), workload))
    }
}

/// The provider promises to keep the deadline; this holds it to the promise.
async fn bounded<T>(
    deadline: Instant,
    what: &'static str,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let answer = tokio::time::timeout_at(deadline, call).await;
    answer.unwrap_or(Err(ProviderError::Timeout(what)))
}

fn never_ready(error: &crate::probe::ProbeError) -> Failure {
    Failure::new(FailureKind::NeverReady, format!("it was not ready within wake_timeout: {error}"))
}
