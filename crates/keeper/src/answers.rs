//! Takes the answers of the outside back to the core, in the core's words.

use dormouse_core::fleet::Key;
use dormouse_core::lifecycle::{Event, Phase, StartFailure};
use dormouse_core::{Condition, Epoch, Failure, FailureKind};
use dormouse_providers::{ProviderError, Sighting};

use crate::effects::Answer;
use crate::keeper::Keeper;

impl Keeper {
    pub(crate) fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Observed { key, result } => match self.noted(key, result) {
                Ok(sighting) => self.sighted(key, sighting),
                Err(ProviderError::Absent(_)) => {
                    self.sighted(key, Sighting::absent(tokio::time::Instant::now()));
                }
                Err(error) => tracing::debug!(%key, %error, "Could not look"),
            },
            Answer::Started { key, epoch, result, took } => {
                self.witness.engine_called("start", took);
                let result = self.noted(key, result);
                self.started(key, epoch, result);
            }
            Answer::Rested { key, epoch, rest, result, took } => {
                self.witness.engine_called("rest", took);
                if let Some(workload) = self.workloads.get(&key) {
                    let outcome = result.as_ref().map(|_| ()).map_err(|_| ());
                    self.witness.rested(workload.id(), rest, outcome);
                }
                let result = self.noted(key, result);
                self.rested(key, epoch, result);
            }
            Answer::Probed { key, epoch, result } => {
                let Some(workload) = self.workloads.get_mut(&key) else {
                    return;
                };
                let current = self.fleet.phase(key).and_then(Phase::in_flight) == Some(epoch);
                let result = result.map(|proven| {
                    if current {
                        workload.affairs_mut().proven = Some(proven);
                    }
                });
                self.tell(key, Event::Probed { epoch, result });
            }
            Answer::LeasesEnded { key, epoch } => self.tell(key, Event::LeasesEnded { epoch }),
            Answer::LogRead { key, failure, retry_at } => {
                let Some(workload) = self.workloads.get_mut(&key) else {
                    return;
                };
                workload.affairs_mut().log = None;
                let log = failure.log.clone();
                // A wake that has begun meanwhile is not denied by an old failure.
                if matches!(self.fleet.phase(key), Some(Phase::Failed(_))) {
                    workload.gate.deny(failure, retry_at);
                }
                self.tell(key, Event::LogRead(log));
            }
        }
    }

    /// A call that was not answered is a reason to doubt the environment.
    fn noted<T>(&self, key: Key, result: Result<T, ProviderError>) -> Result<T, ProviderError> {
        if let Err(error @ (ProviderError::Unreachable(_) | ProviderError::Timeout(_))) = &result
            && let Some(workload) = self.workloads.get(&key)
            && let Some(environment) = self.environments.get(workload.id().environment())
        {
            environment.doubt(&error.to_string());
        }
        result
    }

    fn started(&mut self, key: Key, epoch: Epoch, result: Result<Sighting, ProviderError>) {
        let as_of = match &result {
            Ok(sighting) => self.clock.at(sighting.as_of),
            Err(_) => self.clock.now(),
        };
        let result = match result {
            Ok(sighting) => match sighting.condition {
                Condition::Running { run, .. } => {
                    if let Some(workload) = self.workloads.get_mut(&key) {
                        workload.sightings.replace(sighting);
                    }
                    Ok(run)
                }
                Condition::Stopped { exit_code } | Condition::Restarting { exit_code } => {
                    Err(StartFailure::Ended { exit_code })
                }
                Condition::Absent => Err(StartFailure::Absent),
                Condition::Paused { .. } => Err(StartFailure::Passing(Failure::new(
                    FailureKind::StartRefused,
                    "it is still paused after its start",
                ))),
            },
            Err(error) => Err(start_failure(error)),
        };
        self.tell(key, Event::Started { epoch, as_of, result });
    }

    fn rested(&mut self, key: Key, epoch: Epoch, result: Result<Sighting, ProviderError>) {
        let as_of = match &result {
            Ok(sighting) => self.clock.at(sighting.as_of),
            Err(_) => self.clock.now(),
        };
        let result = match result {
            Ok(sighting) => {
                let condition = sighting.condition;
                if let Some(workload) = self.workloads.get_mut(&key) {
                    workload.sightings.replace(sighting);
                }
                Ok(condition)
            }
            Err(ProviderError::Absent(_)) => Ok(Condition::Absent),
            Err(error) => Err(failure_of(&error)),
        };
        self.tell(key, Event::Rested { epoch, as_of, result });
    }
}

fn start_failure(error: ProviderError) -> StartFailure {
    match error {
        ProviderError::Absent(_) => StartFailure::Absent,
        ProviderError::Ended { exit_code } => StartFailure::Ended { exit_code },
        ProviderError::Misconfigured(_) => StartFailure::Lasting(failure_of(&error)),
        ProviderError::Refused(_) | ProviderError::Unreachable(_) | ProviderError::Timeout(_) => {
            StartFailure::Passing(failure_of(&error))
        }
    }
}

fn failure_of(error: &ProviderError) -> Failure {
    let kind = match error {
        ProviderError::Absent(_) => FailureKind::Absent,
        ProviderError::Ended { exit_code } => FailureKind::Crashed { exit_code: *exit_code },
        ProviderError::Refused(_) => FailureKind::StartRefused,
        ProviderError::Unreachable(_) => FailureKind::Unreachable,
        ProviderError::Timeout(_) => FailureKind::TimedOut,
        ProviderError::Misconfigured(_) => FailureKind::Misconfigured,
    };
    Failure::new(kind, error.to_string())
}
