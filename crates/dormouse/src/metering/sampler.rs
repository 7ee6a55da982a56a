//! The sampling of one environment: a round every so often, the disk now and then.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::EnvironmentName;
use dormouse_core::usage::{RawSample, Totals};
use dormouse_keeper::Handle;
use dormouse_providers::{HostFacts, Meter, MeterError, Target};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::MeteredEnvironment;
use super::board::{Board, Round, Seen};
use super::round::Guests;

/// How long after the beginning the first round begins: the runtime has much to tell at first.
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// The least and the most time that a round may take.
const ROUND_MIN: Duration = Duration::from_secs(5);
const ROUND_MAX: Duration = Duration::from_secs(30);
/// How long after the beginning the disk is asked for.
const DISK_FIRST: Duration = Duration::from_secs(10);
/// How often the disk is asked for.
const DISK_EVERY: Duration = Duration::from_secs(300);
/// How long the runtime may take to account for its disk.
const DISK_MAX: Duration = Duration::from_secs(60);

/// The sampling of one environment.
pub(super) struct Sampler {
    name: EnvironmentName,
    environment: MeteredEnvironment,
    board: Arc<Board>,
    keeper: Handle,
    guests: Guests,
}

impl Sampler {
    pub(super) fn new(
        name: EnvironmentName,
        environment: MeteredEnvironment,
        board: Arc<Board>,
        keeper: Handle,
    ) -> Self {
        Self { name, environment, board, keeper, guests: Guests::default() }
    }

    /// Samples for as long as it is let.
    pub(super) async fn run(mut self) {
        let meter = Arc::clone(&self.environment.meter);
        let disk =
            follow_disk(self.name.clone(), meter, Arc::clone(&self.board), self.keeper.clone());
        tokio::join!(self.follow_counters(), disk);
    }

    async fn follow_counters(&mut self) {
        let every = self.environment.sample_interval;
        let mut feed = self.environment.provider.feed();
        let mut ticks = interval_at(Instant::now() + FIRST_ROUND.min(every), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(item) = feed.recv() => self.guests.hear(&item),
                _ = ticks.tick() => {
                    if let Err(error) = self.round().await {
                        tracing::debug!(environment = %self.name, %error, "Could not measure an environment");
                        self.board.fail(&self.name, error.to_string());
                    }
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), MeterError> {
        let began = Instant::now();
        let deadline = began + self.environment.sample_interval.clamp(ROUND_MIN, ROUND_MAX);
        let meter = Arc::clone(&self.environment.meter);
        if self.guests.needs_listing(began) {
            self.guests.begin_listing();
            match meter.running(deadline).await {
                Ok(listing) => self.guests.install(listing, began),
                Err(error) => {
                    self.guests.listing_failed();
                    return Err(error);
                }
            }
        }
        let host = meter.host(deadline).await?;
        let at = self.keeper.clock().now();
        let (targets, set) = (self.guests.targets(), self.guests.metered());
        let mut sampled = Vec::with_capacity(set.len());
        let mut answer = |index: usize, sample| sampled.push((index, sample));
        meter.sample(&set, deadline, &mut answer).await;
        let mut round = Round::new(self.keeper.clock().unix_ms(at), host);
        for (index, sample) in sampled {
            let seen = self.judge(&targets[index], &set[index], sample, &mut round);
            round.seen.insert(targets[index].clone(), seen);
        }
        let loads = self.board.record(&self.name, round, at);
        if !loads.is_empty() && self.keeper.measured(loads).await.is_err() {
            tracing::debug!("Measured for a keeper that has ended");
        }
        Ok(())
    }

    fn judge(
        &mut self,
        target: &Target,
        metered: &dormouse_providers::Metered,
        sample: Result<RawSample, MeterError>,
        round: &mut Round,
    ) -> Seen {
        let sample = match sample {
            Ok(sample) => sample,
            Err(MeterError::Gone) => {
                self.guests.forget(target);
                return Seen::Gone;
            }
            Err(error) => {
                round.failed += 1;
                round.last_error = Some(format!("{target}: {error}"));
                return Seen::Unknown;
            }
        };
        let before = self.guests.replace(target, metered, sample);
        let usage = before.and_then(|before| sample.usage_since(&before));
        if let Some(usage) = &usage {
            round.totals.add(usage);
        }
        let memory_bytes = sample.used_bytes();
        match self.guests.is_paused(target) {
            true => Seen::Paused { memory_bytes, usage },
            false => Seen::Running { memory_bytes, usage },
        }
    }
}

async fn follow_disk(
    name: EnvironmentName,
    meter: Arc<dyn Meter>,
    board: Arc<Board>,
    keeper: Handle,
) {
    let mut ticks = interval_at(Instant::now() + DISK_FIRST, DISK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match meter.disk(Instant::now() + DISK_MAX).await {
            Ok(usage) => {
                board.record_disk(&name, keeper.clock().unix_ms(keeper.clock().now()), usage)
            }
            Err(error) => {
                tracing::debug!(environment = %name, %error, "Could not measure a disk");
                board.fail(&name, error.to_string());
            }
        }
    }
}

impl Round {
    fn new(at_ms: u64, host: Arc<HostFacts>) -> Self {
        Self {
            at_ms,
            host,
            totals: Totals::default(),
            failed: 0,
            last_error: None,
            seen: std::collections::BTreeMap::new(),
        }
    }
}
