//! The one connection to the engine's events, and what is made of them: looks, changes, and a
//! listing after every gap.
//!
//! ```text
//! open events ──▶ list ──▶ install ──▶ ┌ event ──▶ look ──▶ change
//!      ▲                               ├ every RESYNC_EVERY: ping, list, look at what differs
//!      └── wait, doubling ◀── lost ◀── └ end, error, no answer to a ping
//! ```
//! The events are opened before the listing, so nothing falls in between; looks wait until the
//! listing is installed, so what they show is newer than it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dormouse_core::backoff::Backoff;
use dormouse_core::{Condition, limits};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{BodyStream, Call, CallError, chain};
use super::endpoint::DockerEndpoint;
use super::engine::Engine;
use super::events::{Action, Event, EventTime, Heard, Line, Lines};
use super::hub::Hub;
use super::json::{EntryJson, NetworkJson};
use super::looks::{Looks, Tell};
use super::sighting;
use crate::{Found, Sighting, Target};

/// A connection that held for this long deserves one quiet attempt at the next.
const HELD: Duration = Duration::from_secs(1);
/// Listings in a row that showed what no event had told, before the events count as dead.
const DEAF_CHECKS_MAX: u32 = 2;

/// Counts for metrics.
#[derive(Default)]
pub(super) struct FeedCounters {
    pub(super) events: AtomicU64,
    pub(super) lines_skipped: AtomicU64,
    pub(super) listings: AtomicU64,
    pub(super) looks: AtomicU64,
    pub(super) losses: AtomicU64,
}

/// The feed of one engine, for as long as the provider lives.
pub(super) struct Feed {
    engine: Arc<Engine>,
    hub: Arc<Hub>,
    counters: Arc<FeedCounters>,
    /// From where the engine is to replay.
    since: Option<EventTime>,
    heard: Heard,
}

/// Why a connection to the events ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the engine ended its events")]
    Closed,
    #[error("the events miss what happens")]
    Deaf,
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Feed {
    pub(super) fn new(engine: Arc<Engine>, hub: Arc<Hub>, counters: Arc<FeedCounters>) -> Self {
        Self {
            engine,
            hub,
            counters,
            since: None,
            heard: Heard::default(),
        }
    }

    /// Follows the engine for ever.
    pub(super) async fn run(mut self) {
        let backoff = self.backoff();
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let (end, was_listed) = self.session().await;
            let held = was_listed && begun.elapsed() >= HELD;
            if held {
                failures = 0;
                if end.is_cut() {
                    tracing::debug!(reason = chain(&end), "Lost the events; resuming");
                    continue;
                }
            }
            failures += 1;
            self.lose(&end);
            sleep(backoff.delay(failures)).await;
        }
    }

    fn backoff(&self) -> Backoff {
        let longest = match self.engine.endpoint() {
            DockerEndpoint::Unix(_) => limits::ENGINE_RETRY_DELAY_LOCAL_MAX,
            DockerEndpoint::Http { .. } | DockerEndpoint::Https { .. } | DockerEndpoint::Ssh(_) => {
                limits::ENGINE_RETRY_DELAY_MAX
            }
        };
        Backoff {
            first: limits::ENGINE_RETRY_DELAY_MIN,
            longest,
        }
    }

    fn lose(&self, end: &End) {
        let reason = chain(end);
        if self.hub.lose(&reason) {
            self.counters.losses.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(endpoint = %self.engine.endpoint(), reason, "Lost the engine");
        }
    }

    /// One connection, until it ends; whether a listing was installed.
    async fn session(&mut self) -> (End, bool) {
        let stream = match self.open().await {
            Ok(stream) => stream,
            Err(error) => return (error.into(), false),
        };
        let mut session = Session::new(self, stream);
        let end = match session.follow().await {
            Err(end) => end,
            Ok(never) => match never {},
        };
        (end, session.is_listed)
    }

    async fn open(&mut self) -> Result<BodyStream, CallError> {
        let client = &self.engine.client;
        client.forget();
        let deadline = Instant::now() + limits::ENGINE_PING_MAX;
        let negotiated = client.negotiated(deadline).await?;
        // Some engines answer before they listen; the replay covers that moment.
        self.since = self
            .since
            .or(negotiated.engine_time.map(EventTime::from_secs));
        // {"type":["container"]}
        let mut path = "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D".to_owned();
        if let Some(since) = self.since {
            path = format!("{path}&since={since}");
        }
        client.stream(&Call::get("events", path), deadline).await
    }
}

impl End {
    /// The connection has ended; nothing says that the engine is not well.
    fn is_cut(&self) -> bool {
        match self {
            Self::Closed | Self::Deaf => true,
            Self::Call(error) => error.is_cut(),
        }
    }
}

/// One connection to the events.
struct Session<'a> {
    feed: &'a mut Feed,
    stream: BodyStream,
    lines: Lines,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    looks: Looks,
    is_listed: bool,
    /// What the last listing said of each container.
    prints: BTreeMap<Target, Print>,
    next_check: Instant,
    is_checking: bool,
    followed: watch::Receiver<Arc<BTreeSet<Target>>>,
    known_followed: Arc<BTreeSet<Target>>,
    /// Checks in a row that found what no event had told.
    deaf_checks: u32,
    has_heard: bool,
}

/// Work that has ended.
enum Done {
    Listed(Result<Vec<Found>, CallError>),
    Looked(Target, Result<Found, CallError>),
    Checked(Result<Vec<EntryJson>, CallError>),
    Dead(CallError),
}

/// What a listing says of one container, as far as a change in it is worth a look.
#[derive(PartialEq, Eq)]
struct Print {
    id: String,
    state: String,
    condition: Condition,
    networks: BTreeMap<String, NetworkJson>,
    ports: BTreeSet<(i64, i64)>,
}

impl<'a> Session<'a> {
    fn new(feed: &'a mut Feed, stream: BodyStream) -> Self {
        let mut followed = feed.engine.followed();
        let known_followed = followed.borrow_and_update().clone();
        Self {
            feed,
            stream,
            lines: Lines::default(),
            work: FuturesUnordered::new(),
            looks: Looks::default(),
            is_listed: false,
            prints: BTreeMap::new(),
            next_check: Instant::now() + limits::RESYNC_EVERY,
            is_checking: false,
            followed,
            known_followed,
            deaf_checks: 0,
            has_heard: false,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        self.list();
        loop {
            self.begin_looks();
            tokio::select! {
                piece = self.stream.next() => self.hear(&piece?.ok_or(End::Closed)?),
                Some(done) = self.work.next() => self.finish(done)?,
                () = sleep_until(self.next_check) => self.check(),
                Ok(()) = self.followed.changed() => self.look_at_newly_followed(),
            }
        }
    }

    fn list(&mut self) {
        let engine = Arc::clone(&self.feed.engine);
        let deadline = Instant::now() + limits::OBSERVE_MAX;
        self.feed.counters.listings.fetch_add(1, Ordering::Relaxed);
        self.work.push(Box::pin(async move {
            engine.find_vantage(deadline).await;
            Done::Listed(engine.listing(deadline).await)
        }));
    }

    fn begin_looks(&mut self) {
        // What the listing shows was read before what a look would show now.
        if !self.is_listed {
            return;
        }
        while let Some(target) = self.looks.begin() {
            self.feed.counters.looks.fetch_add(1, Ordering::Relaxed);
            let engine = Arc::clone(&self.feed.engine);
            let deadline = Instant::now() + limits::OBSERVE_MAX;
            self.work.push(Box::pin(async move {
                let found = engine.find(&target, deadline).await;
                Done::Looked(target, found)
            }));
        }
    }

    fn check(&mut self) {
        self.next_check = Instant::now() + limits::RESYNC_EVERY;
        if self.is_checking || !self.is_listed {
            return;
        }
        self.is_checking = true;
        let engine = Arc::clone(&self.feed.engine);
        self.work.push(Box::pin(async move {
            let ping = Call::get("ping", "/_ping".to_owned());
            let alive_by = Instant::now() + limits::ENGINE_PING_MAX;
            if let Err(error) = engine.client.command(&ping, alive_by).await {
                return Done::Dead(error);
            }
            Done::Checked(engine.entries(Instant::now() + limits::OBSERVE_MAX).await)
        }));
    }

    fn look_at_newly_followed(&mut self) {
        let followed = self.followed.borrow_and_update().clone();
        for target in followed.difference(&self.known_followed) {
            self.looks.want(target, Tell::Always);
        }
        self.known_followed = followed;
    }

    fn hear(&mut self, piece: &[u8]) {
        self.lines.push(piece);
        while let Some(line) = self.lines.next() {
            match Line::parse(&line) {
                Line::Event(event) => self.on_event(event),
                Line::Aside(at) => self.feed.since = self.feed.since.max(Some(at)),
                Line::Nonsense => {
                    self.feed
                        .counters
                        .lines_skipped
                        .fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(bytes = line.len(), "Skipped a line that is no event");
                }
            }
        }
        let too_long = self.lines.take_skipped();
        if too_long > 0 {
            self.feed
                .counters
                .lines_skipped
                .fetch_add(too_long, Ordering::Relaxed);
            tracing::warn!("Skipped an event that is longer than any should be");
        }
    }

    fn on_event(&mut self, event: Event) {
        self.feed.since = self.feed.since.max(Some(event.at));
        if !self.feed.heard.is_news(&event) {
            return;
        }
        self.has_heard = true;
        self.feed.counters.events.fetch_add(1, Ordering::Relaxed);
        self.feed.engine.beat(&event.target);
        if let Action::Renamed { from } = &event.action {
            for target in from.iter().chain([&event.target]) {
                self.looks.want(target, Tell::Always);
            }
        } else if self.is_worth_a_look(&event) {
            self.looks.want(&event.target, Tell::Always);
        } else if let Some(found) = told(event) {
            self.feed.hub.publish(found, Tell::Always);
        }
        if self.looks.waiting() > limits::FEED_QUEUE {
            self.start_over();
        }
    }

    fn is_worth_a_look(&self, event: &Event) -> bool {
        let known = self.feed.hub.known(&event.target);
        let known_labels = known.iter().flat_map(|found| found.labels.keys());
        !self.is_listed
            || self.looks.has(&event.target)
            || self
                .feed
                .engine
                .is_of_interest(&event.target, event.labels.keys().chain(known_labels))
    }

    /// Too much has happened to look at each: one listing says it all.
    fn start_over(&mut self) {
        self.work.clear();
        self.looks = Looks::default();
        self.is_listed = false;
        self.is_checking = false;
        self.list();
    }

    fn finish(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Listed(listing) => self.install(listing?),
            Done::Looked(target, found) => self.on_look(&target, found),
            Done::Checked(Ok(entries)) => return self.compare(entries),
            Done::Checked(Err(error)) => {
                self.is_checking = false;
                tracing::warn!(
                    error = chain(&error),
                    "Could not list the engine's containers"
                );
            }
            Done::Dead(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn install(&mut self, listing: Vec<Found>) {
        tracing::info!(
            endpoint = %self.feed.engine.endpoint(),
            containers = listing.len(),
            "Listed the engine"
        );
        self.feed.hub.install(listing);
        self.is_listed = true;
        self.next_check = Instant::now() + limits::RESYNC_EVERY;
    }

    fn on_look(&mut self, target: &Target, found: Result<Found, CallError>) {
        let tell = self.looks.end(target);
        match found {
            Ok(found) => {
                self.feed.hub.publish(found, tell);
            }
            Err(error) => {
                tracing::debug!(%target, error = chain(&error), "Could not look at a container");
                // The next check finds out what this look would have shown.
                self.prints.remove(target);
                self.next_check = self.next_check.min(Instant::now() + Duration::from_secs(1));
            }
        }
    }

    /// Has a look at everything that a listing shows differently from what is known.
    fn compare(&mut self, entries: Vec<EntryJson>) -> Result<(), End> {
        self.is_checking = false;
        let mut missing: BTreeSet<Target> = self.feed.hub.targets().into_iter().collect();
        let mut prints = BTreeMap::new();
        let mut is_surprised = false;
        for entry in entries {
            let Some(name) = sighting::entry_name(&entry) else {
                continue;
            };
            let target = Target::new(name);
            let print = Print::of(&entry);
            missing.remove(&target);
            if self.is_news(&target, &entry, &print) {
                is_surprised |= !self.looks.has(&target);
                self.looks.want(&target, Tell::Differences);
            }
            prints.insert(target, print);
        }
        for target in &missing {
            is_surprised |= !self.looks.has(target);
            self.looks.want(target, Tell::Differences);
        }
        self.prints = prints;
        self.is_hearing(is_surprised)
    }

    fn is_news(&self, target: &Target, entry: &EntryJson, print: &Print) -> bool {
        let Some(known) = self.feed.hub.known(target) else {
            return print.condition != Condition::Absent;
        };
        let of_interest = self.feed.engine.is_of_interest(target, entry.labels.keys());
        if !is_alike(known.sighting.condition, print.condition) {
            return true;
        }
        // A container that was stopped and started in between looks the same, but young.
        let changed = self.prints.get(target).is_some_and(|last| last != print);
        of_interest && (changed || is_young(entry))
    }

    /// A stream that says nothing while things happen is dead, whatever the socket says.
    fn is_hearing(&mut self, is_surprised: bool) -> Result<(), End> {
        let is_deaf = is_surprised && !std::mem::take(&mut self.has_heard);
        self.deaf_checks = if is_deaf { self.deaf_checks + 1 } else { 0 };
        if self.deaf_checks >= DEAF_CHECKS_MAX {
            Err(End::Deaf)
        } else {
            Ok(())
        }
    }
}

impl Print {
    fn of(entry: &EntryJson) -> Self {
        let networks = entry.network_settings.networks.iter();
        let ports = entry.ports.iter();
        Self {
            id: entry.id.clone(),
            state: entry.state.clone(),
            condition: sighting::entry_condition(entry),
            networks: networks
                .map(|(name, network)| (name.clone(), network.0.clone()))
                .collect(),
            ports: ports
                .map(|port| (port.0.private_port, port.0.public_port))
                .collect(),
        }
    }
}

/// What an event alone says of a container that nobody follows; only its labels matter.
fn told(event: Event) -> Option<Found> {
    let run = sighting::run_id(&event.id, "");
    let health = dormouse_core::observation::Health::Undeclared;
    let condition = match event.action {
        Action::Created => Condition::Stopped { exit_code: None },
        Action::Started => Condition::Running { run, health },
        Action::Died { exit_code } => Condition::Stopped { exit_code },
        Action::Destroyed => Condition::Absent,
        Action::Renamed { .. } | Action::Changed => return None,
    };
    let mut sighting = Sighting::absent(Instant::now());
    sighting.condition = condition;
    Some(Found {
        target: event.target,
        labels: event.labels,
        sighting,
    })
}

/// Whether two conditions are of the same kind; a listing knows neither runs nor, always, codes.
fn is_alike(known: Condition, listed: Condition) -> bool {
    match (known, listed) {
        (Condition::Running { health: one, .. }, Condition::Running { health: other, .. }) => {
            one == other
        }
        (Condition::Paused { .. }, Condition::Paused { .. })
        | (Condition::Stopped { .. }, Condition::Stopped { .. })
        | (Condition::Restarting { .. }, Condition::Restarting { .. })
        | (Condition::Absent, Condition::Absent) => true,
        (
            Condition::Running { .. }
            | Condition::Paused { .. }
            | Condition::Stopped { .. }
            | Condition::Restarting { .. }
            | Condition::Absent,
            _,
        ) => false,
    }
}

/// `Up Less than a second`, `Up 12 seconds`: it may have been started since the last listing.
fn is_young(entry: &EntryJson) -> bool {
    let Some(age) = entry.status.strip_prefix("Up ") else {
        return false;
    };
    if age.starts_with("Less than") {
        return true;
    }
    let mut words = age.split(' ');
    let seconds = words.next().and_then(|count| count.parse().ok());
    let unit = words.next().unwrap_or_default();
    unit.starts_with("second")
        && seconds.is_some_and(|seconds: u64| seconds < 2 * limits::RESYNC_EVERY.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_just_started_is_young() {
        let young = |status: &str| {
            is_young(&EntryJson {
                status: status.into(),
                ..EntryJson::default()
            })
        };
        for status in [
            "Up Less than a second",
            "Up 1 second",
            "Up 19 seconds (healthy)",
        ] {
            assert!(young(status), "{status}");
        }
        for status in [
            "Up 20 seconds",
            "Up 2 minutes",
            "Up About a minute",
            "Exited (0) 1 second ago",
            "",
        ] {
            assert!(!young(status), "{status}");
        }
    }
}
