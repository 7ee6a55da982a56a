//! When an environment's disk usage is asked for, and the asking itself.

use std::sync::Arc;
use std::time::Duration;

use dormouse_providers::Meter;
use dormouse_wire::RawJson;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// From an environment's configuration to its first disk answer.
const FIRST: Duration = Duration::from_secs(10);
/// From one disk answer to the next.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// The longest wait after failures.
const EVERY_MAX: Duration = Duration::from_secs(60 * 60);
/// How long an engine may count.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to describe itself.
const INFO_PATIENCE: Duration = Duration::from_secs(10);

/// When the next answer is due. Each failure in a row doubles the wait: an engine that needs
/// minutes to count must not do nothing else.
#[derive(Clone, Debug)]
pub(super) struct DiskPlan {
    due: Instant,
    failures: u32,
}

/// An answer about disks.
pub(super) struct DiskAnswer {
    pub(super) data: RawJson,
    pub(super) info: Option<RawJson>,
}

impl DiskPlan {
    /// Of an environment that is configured now.
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + FIRST, failures: 0 }
    }

    /// When to ask.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// An answer has come, or not.
    pub(super) fn done(&mut self, succeeded: bool) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.due = Instant::now() + EVERY.saturating_mul(factor).min(EVERY_MAX);
    }
}

/// Asks once, when it is this environment's turn.
///
/// # Errors
/// In words.
pub(super) async fn ask(
    meter: Arc<dyn Meter>,
    turns: Arc<Semaphore>,
) -> Result<DiskAnswer, String> {
    let _turn = turns.acquire().await.expect("the semaphore is never closed");
    let usage = meter.disk(Instant::now() + PATIENCE).await.map_err(|error| error.to_string())?;
    let data = RawJson::read(usage.raw).ok_or("the answer is no JSON")?;
    let host = meter.host(Instant::now() + INFO_PATIENCE).await;
    let info = host.ok().and_then(|host| RawJson::read(host.raw.clone()));
    Ok(DiskAnswer { data, info })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_due_after_ten_seconds_and_failures_make_it_rarer() {
        let mut plan = DiskPlan::new();
        let wait = |plan: &DiskPlan| (plan.due() - Instant::now()).as_secs();
        assert_eq!(wait(&plan), 10);
        let mut waits = Vec::new();
        for succeeded in [true, false, false, false, false, false, true] {
            plan.done(succeeded);
            waits.push(wait(&plan));
        }
        assert_eq!(waits, [300, 600, 1200, 2400, 3600, 3600, 300]);
    }
}
