//! Making a container run, from whichever rest it is in.

use dormouse_core::Condition;
use http::StatusCode;
use tokio::time::Instant;

use super::client::{Call, CallError};
use super::engine::{Engine, Look, path_by_name};
use super::pace::Pace;
use crate::{ProviderError, Sighting, Target};

const DURING: &str = "start";
const UNPAUSE: &str = "unpause";
/// How many answers may be lost on the way before the engine counts as unreachable.
const CUTS_MAX: u32 = 3;

/// What became of one order.
pub(super) enum Outcome {
    /// The engine says that it did it.
    Done,
    /// The engine says that there was nothing to do, which it also says of a container that is
    /// about to end.
    Already,
    /// The engine said no; the state decides whether that matters.
    Refused(String),
    /// The answer was lost; it may have been done.
    Unknown,
}

/// Acts, looks, compares, and again until it runs or cannot. What was paused when it was last
/// `known` is told to go on before the first look: where that is right, a look is saved on the way
/// of whoever waits, and where it is not, the engine does nothing and the look says what to do.
pub(super) async fn start(
    engine: &Engine,
    target: &Target,
    known: Option<Condition>,
    deadline: Instant,
) -> Result<Sighting, ProviderError> {
    let mut pace = Pace::new(engine, target, deadline, DURING);
    let mut attempt = Attempt::default();
    if let (Some(Condition::Paused { .. }), Some(path)) = (known, path_by_name(target, UNPAUSE)) {
        let call = Call::post(UNPAUSE, path);
        let unpaused = outcome(engine.client.command(&call, deadline).await);
        unpaused.map_err(|error| error.into_provider(None, DURING))?;
    }
    loop {
        let look = engine.look(target, deadline).await;
        let look = look.map_err(|error| error.into_provider(None, DURING))?;
        let look = look.ok_or_else(|| ProviderError::Absent(target.clone()))?;
        match attempt.next(engine, target, &look)? {
            Next::Ready => return Ok(look.sighting),
            Next::Wait => pace.wait().await?,
            Next::Order(verb) => {
                let outcome = order(engine, verb, &look, deadline).await;
                if attempt.note(outcome.map_err(|e| e.into_provider(None, DURING))?, &look)? {
                    pace.wait().await?;
                }
            }
        }
    }
}

/// Gives one order that is answered at once.
pub(super) async fn order(
    engine: &Engine,
    verb: &'static str,
    look: &Look,
    deadline: Instant,
) -> Result<Outcome, CallError> {
    let call = Call::post(verb, look.path(verb));
    outcome(engine.client.command(&call, deadline).await)
}

/// Reads an answer as what it is worth.
pub(super) fn outcome(answer: Result<StatusCode, CallError>) -> Result<Outcome, CallError> {
    match answer {
        Ok(StatusCode::NOT_MODIFIED) => Ok(Outcome::Already),
        Ok(_) => Ok(Outcome::Done),
        Err(CallError::Refused { message, .. }) => Ok(Outcome::Refused(message)),
        Err(error) if error.is_cut() => Ok(Outcome::Unknown),
        Err(error) => Err(error),
    }
}

/// What has been tried so far.
#[derive(Default)]
struct Attempt {
    /// Which container was ordered to start, and when it had last been started before.
    ordered: Option<(String, String)>,
    /// The engine's no, until a look shows that it does not matter.
    refusal: Option<String>,
    cuts: u32,
}

enum Next {
    Ready,
    Wait,
    Order(&'static str),
}

impl Attempt {
    fn next(
        &mut self,
        engine: &Engine,
        target: &Target,
        look: &Look,
    ) -> Result<Next, ProviderError> {
        let refusal = self.refusal.take();
        match (look.sighting.condition, refusal) {
            // It was told to end, so it will, whatever the engine calls it until then.
            (Condition::Running { run, .. }, _) if engine.is_leaving(target, run) => Ok(Next::Wait),
            (Condition::Running { .. }, _) => Ok(Next::Ready),
            (Condition::Restarting { .. }, _) => Ok(Next::Wait),
            (Condition::Absent, _) => Err(ProviderError::Absent(target.clone())),
            (Condition::Paused { .. } | Condition::Stopped { .. }, Some(message)) => {
                Err(ProviderError::Refused(message))
            }
            (Condition::Paused { .. }, None) => Ok(Next::Order(UNPAUSE)),
            (Condition::Stopped { exit_code }, None) => self.after_end(look, exit_code),
        }
    }

    fn after_end(&self, look: &Look, exit_code: Option<i32>) -> Result<Next, ProviderError> {
        let now = (&look.container.id, &look.container.state.started_at);
        match &self.ordered {
            Some((id, before)) if id == now.0 && before != now.1 => {
                Err(ProviderError::Ended { exit_code })
            }
            Some(_) | None => Ok(Next::Order("start")),
        }
    }

    /// Takes down what became of an order; whether to wait before the next look.
    fn note(&mut self, outcome: Outcome, look: &Look) -> Result<bool, ProviderError> {
        let is_first = self.ordered.is_none();
        let is_start = matches!(look.sighting.condition, Condition::Stopped { .. });
        if is_start && matches!(outcome, Outcome::Done | Outcome::Unknown) {
            let container = &look.container;
            self.ordered = Some((container.id.clone(), container.state.started_at.clone()));
        }
        match outcome {
            Outcome::Done => Ok(!is_first),
            Outcome::Already => Ok(true),
            Outcome::Refused(message) => {
                self.refusal = Some(message);
                Ok(false)
            }
            Outcome::Unknown => {
                self.cuts += 1;
                if self.cuts > CUTS_MAX {
                    let reason = "its answers to a start are cut off".to_owned();
                    return Err(ProviderError::Unreachable(reason));
                }
                Ok(true)
            }
        }
    }
}
