//! What a runtime must let a test do, so that its provider can be checked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::policy::Rest;
use dormouse_core::{Condition, RunId};
use dormouse_providers::{Provider, ProviderError, RestOrder, Sighting, StartOrder, Target};
use tokio::time::{Instant, sleep};

/// More than any step takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A provider, and a hand behind its back. Every target that it sets up is a new one.
pub trait Bench: Send + Sync {
    /// The provider under test.
    fn provider(&self) -> Arc<dyn Provider>;

    /// Sets up a target, unless this runtime knows no such setting. The answer comes when it is
    /// there.
    fn set_up(&self, kind: Kind, setting: Setting) -> impl Future<Output = Option<Target>> + Send;

    /// How the target is started.
    fn start_order(&self, target: &Target) -> StartOrder;

    /// Does something to the target behind the provider's back, unless this runtime knows no such
    /// thing. The answer comes when it is done.
    fn by_hand(&self, target: &Target, deed: HandDeed) -> impl Future<Output = Option<()>> + Send;

    /// How often the runtime itself has really started the target, where it can be known.
    fn real_starts(&self, target: &Target) -> impl Future<Output = Option<usize>> + Send;

    /// Disturbs the connection to the runtime, where that can be done.
    fn disturb(&self, disturbance: Disturbance) -> impl Future<Output = Option<()>> + Send;
}

/// How the program of a target behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ends with exit code 0 when it is asked to, and does not mind a HUP.
    Obedient,
    /// Goes on when it is asked to end.
    Deaf,
    /// Obedient, and writes `line 1` to `line 5` first.
    Talkative,
}

/// In which condition a target is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Nothing is called so.
    Absent,
    /// Defined, and never started.
    Created,
    /// It has run and has ended.
    Stopped,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
}

/// What a hand does behind the provider's back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandDeed {
    /// Starts it.
    Start,
    /// Asks it to end, and waits until it has.
    Stop,
    /// Sends it `KILL`.
    Kill,
    /// Sends it `HUP`.
    HangUp,
    /// Freezes it.
    Pause,
    /// Thaws it.
    Unpause,
    /// Stops and starts it.
    Restart,
    /// Gives it another name.
    Rename(Target),
    /// Removes it.
    Remove,
    /// Removes it, and creates and starts another one under its name.
    Recreate,
}

/// What happens between the provider and the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The stream of events ends.
    CutEvents,
    /// The runtime's own process is gone.
    KillRuntime,
    /// It is back, and what ran goes on.
    RestartRuntime,
    /// It is back, and what ran has ended.
    RestartRuntimeWithoutSurvivors,
    /// Events are not said any more.
    LoseEvents,
    /// Events come doubled, late, in the wrong order and between lines that are none.
    GarbleEvents,
    /// All of that is over.
    Calm,
}

/// A deadline that is not the point of the check.
pub(super) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A stop with a grace that is not the point of the check.
pub(super) fn order(rest: Rest) -> RestOrder {
    RestOrder { rest, signal: None, grace: Duration::from_secs(10) }
}

pub(super) async fn start<B: Bench>(bench: &B, target: &Target) -> Sighting {
    try_start(bench, target).await.expect("a start succeeds")
}

pub(super) async fn try_start<B: Bench>(
    bench: &B,
    target: &Target,
) -> Result<Sighting, ProviderError> {
    bench.provider().start(target, &bench.start_order(target), soon()).await
}

pub(super) async fn rest<B: Bench>(bench: &B, target: &Target, rest: Rest) -> Sighting {
    bench.provider().rest(target, &order(rest), soon()).await.expect("a rest succeeds")
}

pub(super) async fn observe<B: Bench>(bench: &B, target: &Target) -> Sighting {
    bench.provider().observe(target, soon()).await.expect("a look succeeds")
}

/// Looks until the condition is as wanted.
pub(super) async fn comes_to<B: Bench>(
    bench: &B,
    target: &Target,
    wanted: impl Fn(Condition) -> bool,
) -> Sighting {
    let give_up_at = soon();
    loop {
        let seen = observe(bench, target).await;
        if wanted(seen.condition) {
            return seen;
        }
        assert!(Instant::now() < give_up_at, "{target} stays {:?}", seen.condition);
        sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn is_running(condition: Condition) -> bool {
    matches!(condition, Condition::Running { .. })
}

pub(super) fn is_paused(condition: Condition) -> bool {
    matches!(condition, Condition::Paused { .. })
}

pub(super) fn is_stopped(condition: Condition) -> bool {
    matches!(condition, Condition::Stopped { .. })
}

/// The run of a look, which must show one.
pub(super) fn run_of(sighting: &Sighting) -> RunId {
    sighting.condition.run().unwrap_or_else(|| panic!("no run in {:?}", sighting.condition))
}
