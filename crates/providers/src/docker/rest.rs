//! Putting a container to rest: stop, pause or kill, and the look that proves it.

use std::time::Duration;

use dormouse_core::policy::Rest;
use dormouse_core::{Condition, RunId};
use tokio::time::Instant;

use super::client::{ApiVersion, Call, CallError, Lane};
use super::engine::{Engine, Leaving, Look, encoded};
use super::pace::Pace;
use super::start::{Outcome, order, outcome};
use crate::{ProviderError, RestOrder, Sighting, Target};

const DURING: &str = "rest";
/// How often the engine may say no, or nothing, while the container stays as it is.
const ATTEMPTS_MAX: u32 = 3;
/// How long a killed container may take to be gone. One that lasts longer was never told to end:
/// the order was lost on its way.
const ENDING_MAX: Duration = Duration::from_secs(3);
/// The signal of an image that names none.
const USUAL_SIGNAL: &str = "TERM";

/// Acts, looks, compares, and again until it rests or cannot.
pub(super) async fn rest(
    engine: &Engine,
    target: &Target,
    order: &RestOrder,
    deadline: Instant,
) -> Result<Sighting, ProviderError> {
    let look = look(engine, target, deadline).await?;
    if is_resting(look.sighting.condition, order.rest) {
        return Ok(look.sighting);
    }
    let run = look.sighting.condition.run();
    let task = Resting { engine, target, order, deadline, run };
    let outcome = task.until_it_rests(look).await;
    // Without an answer the engine may still be at it, which whoever starts it next must know.
    let is_known =
        matches!(outcome, Ok(_) | Err(ProviderError::Absent(_) | ProviderError::Refused(_)));
    if is_known {
        engine.leaving().remove(target);
    }
    outcome
}

struct Resting<'a> {
    engine: &'a Engine,
    target: &'a Target,
    order: &'a RestOrder,
    deadline: Instant,
    /// The run that is to end.
    run: Option<RunId>,
}

impl Resting<'_> {
    async fn until_it_rests(&self, mut seen: Look) -> Result<Sighting, ProviderError> {
        let mut pace = Pace::new(self.engine, self.target, self.deadline, DURING);
        let mut attempts = 0;
        let mut own_signal = self.own_signal(&seen).await?;
        loop {
            let before = seen.sighting.condition;
            self.announce(before);
            let outcome = match own_signal.take() {
                Some(signal) => self.signalled(&seen, &signal).await?,
                None => self.act(&seen).await.map_err(|e| e.into_provider(None, DURING))?,
            };
            seen = look(self.engine, self.target, self.deadline).await?;
            let now = seen.sighting.condition;
            if is_resting(now, self.order.rest) {
                return Ok(seen.sighting);
            }
            self.same_run(now)?;
            attempts = if now == before { attempts + 1 } else { 0 };
            match outcome {
                Outcome::Refused(message) if attempts >= ATTEMPTS_MAX => {
                    return Err(ProviderError::Refused(message));
                }
                Outcome::Refused(_) if self.is_stuck_in_pause(now) => {
                    self.give(order(self.engine, "unpause", &seen, self.deadline)).await?;
                    seen = look(self.engine, self.target, self.deadline).await?;
                }
                Outcome::Done | Outcome::Already | Outcome::Refused(_) | Outcome::Unknown => {
                    pace.wait().await?;
                }
            }
        }
    }

    /// Notes that this run may be ending from here on, whether or not anybody waits for it.
    fn announce(&self, condition: Condition) {
        let Some(run) = condition.run() else { return };
        if self.order.rest != Rest::Pause {
            let until = Instant::now() + self.order.grace + ENDING_MAX;
            self.engine.leaving().insert(self.target.clone(), Leaving { run, until });
        }
    }

    /// The one order that leads from this condition to the rest.
    async fn act(&self, seen: &Look) -> Result<Outcome, CallError> {
        match (self.order.rest, seen.sighting.condition) {
            (Rest::Pause, Condition::Restarting { .. }) => Ok(Outcome::Already),
            (Rest::Pause, _) => order(self.engine, "pause", seen, self.deadline).await,
            (Rest::Stop, _) => self.stop(seen, self.order.grace).await,
            // There is no process to kill between two restarts; a stop ends the waiting.
            (Rest::Kill, Condition::Restarting { .. }) => self.stop(seen, Duration::ZERO).await,
            (Rest::Kill, _) => order(self.engine, "kill", seen, self.deadline).await,
        }
    }

    async fn stop(&self, seen: &Look, grace: Duration) -> Result<Outcome, CallError> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let mut path = seen.path(&format!("stop?t={seconds}"));
        if let Some(signal) = &self.order.signal {
            let negotiated = self.engine.client.negotiated(self.deadline).await?;
            if negotiated.version >= ApiVersion::STOP_SIGNAL {
                path = format!("{path}&signal={}", encoded(signal));
            }
        }
        let mut call = Call::post("stop", path);
        call.lane = Lane::Stop;
        outcome(self.engine.client.command(&call, self.deadline).await)
    }

    /// The signal to send by ourselves: the one that is asked for, where it is not the container's
    /// own and the engine is too old to be told.
    async fn own_signal(&self, seen: &Look) -> Result<Option<String>, ProviderError> {
        let Some(signal) = self.order.signal.as_ref().filter(|_| self.order.rest == Rest::Stop)
        else {
            return Ok(None);
        };
        let negotiated = self.engine.client.negotiated(self.deadline).await;
        let negotiated = negotiated.map_err(|error| error.into_provider(None, DURING))?;
        let is_told = negotiated.version >= ApiVersion::STOP_SIGNAL;
        let is_usual = bare_signal(signal) == bare_signal(&seen.container.config.stop_signal);
        Ok((!is_told && !is_usual).then(|| signal.clone()))
    }

    /// Sends the signal and gives it the grace period. What has not ended then is killed, by a stop
    /// without grace: that also keeps a restart policy from bringing it back.
    async fn signalled(&self, seen: &Look, signal: &str) -> Result<Outcome, ProviderError> {
        if matches!(seen.sighting.condition, Condition::Paused { .. }) {
            self.give(order(self.engine, "unpause", seen, self.deadline)).await?;
        }
        let call = Call::post("kill", seen.path(&format!("kill?signal={}", encoded(signal))));
        let sent =
            self.give(async { outcome(self.engine.client.command(&call, self.deadline).await) });
        if let refused @ Outcome::Refused(_) = sent.await? {
            return Ok(refused);
        }
        let grace_end = (Instant::now() + self.order.grace).min(self.deadline);
        let mut pace = Pace::new(self.engine, self.target, self.deadline, DURING);
        let mut now = look(self.engine, self.target, self.deadline).await?;
        while now.sighting.condition.run() == self.run && Instant::now() < grace_end {
            pace.wait().await?;
            now = look(self.engine, self.target, self.deadline).await?;
        }
        if is_resting(now.sighting.condition, Rest::Stop) {
            return Ok(Outcome::Done);
        }
        self.give(self.stop(&now, Duration::ZERO)).await
    }

    async fn give(
        &self,
        order: impl Future<Output = Result<Outcome, CallError>>,
    ) -> Result<Outcome, ProviderError> {
        order.await.map_err(|error| error.into_provider(None, DURING))
    }

    /// Some engines neither stop nor kill what is paused.
    fn is_stuck_in_pause(&self, now: Condition) -> bool {
        self.order.rest != Rest::Pause && matches!(now, Condition::Paused { .. })
    }

    /// Another run is somebody else's wish: it must not be ended by an order that was for the last.
    fn same_run(&self, now: Condition) -> Result<(), ProviderError> {
        match (self.run, now.run()) {
            (Some(ours), Some(other)) if ours != other => Err(ProviderError::Refused(
                "it was started again while it was being put to rest".to_owned(),
            )),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }
}

fn is_resting(condition: Condition, rest: Rest) -> bool {
    match (condition, rest) {
        (Condition::Stopped { .. }, _) | (Condition::Paused { .. }, Rest::Pause) => true,
        (Condition::Paused { .. }, Rest::Stop | Rest::Kill)
        | (Condition::Running { .. } | Condition::Restarting { .. } | Condition::Absent, _) => {
            false
        }
    }
}

async fn look(engine: &Engine, target: &Target, deadline: Instant) -> Result<Look, ProviderError> {
    let look = engine.look(target, deadline).await;
    let look = look.map_err(|error| error.into_provider(None, DURING))?;
    look.ok_or_else(|| ProviderError::Absent(target.clone()))
}

/// `SIGTERM`, `term` and `15` are the same.
fn bare_signal(signal: &str) -> String {
    let upper = signal.trim().to_ascii_uppercase();
    match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "" | "15" => USUAL_SIGNAL,
        "1" => "HUP",
        "2" => "INT",
        "3" => "QUIT",
        "9" => "KILL",
        "10" => "USR1",
        "12" => "USR2",
        name => name,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::bare_signal;

    #[test]
    fn signals_are_the_same_by_any_name() {
        for (one, other) in [("SIGTERM", ""), ("15", "term"), ("SIGQUIT", "3"), ("sigusr1", "10")] {
            assert_eq!(bare_signal(one), bare_signal(other));
        }
        assert_ne!(bare_signal("SIGINT"), bare_signal(""));
    }
}
