//! One connection to the events: what is heard, looked at and told while it holds.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dormouse_core::observation::Health;
use dormouse_core::{Condition, limits};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::check::Check;
use super::{End, Feed};
use crate::docker::client::{CallError, chain};
use crate::docker::events::{Action, Event, Line};
use crate::docker::json::EntryJson;
use crate::docker::listening::EventStream;
use crate::docker::looks::{Looks, Tell};
use crate::docker::sighting;
use crate::{Found, Sighting, Target};

/// One connection to the events.
pub(super) struct Session<'a> {
    feed: &'a mut Feed,
    stream: EventStream,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    looks: Looks,
    /// Whether a listing has been installed: only then do looks and changes mean anything.
    is_listed: bool,
    check: Check,
    followed: watch::Receiver<Arc<BTreeSet<Target>>>,
    known_followed: Arc<BTreeSet<Target>>,
}

/// Work that has ended.
enum Done {
    Listed(Result<Vec<Found>, CallError>),
    Looked(Target, Result<Found, CallError>),
    Checked(Result<Vec<EntryJson>, CallError>),
    Dead(CallError),
}

impl<'a> Session<'a> {
    pub(super) fn new(feed: &'a mut Feed, stream: EventStream) -> Self {
        let mut followed = feed.engine.followed();
        let known_followed = followed.borrow_and_update().clone();
        Self {
            feed,
            stream,
            work: FuturesUnordered::new(),
            looks: Looks::default(),
            is_listed: false,
            check: Check::new(),
            followed,
            known_followed,
        }
    }

    /// Follows the events until they end.
    pub(super) async fn follow(&mut self) -> Result<Infallible, End> {
        self.list();
        let engine = Arc::clone(&self.feed.engine);
        loop {
            self.begin_looks();
            tokio::select! {
                filled = self.stream.fill() => if filled? { self.hear() } else { return Err(End::Closed) },
                Some(done) = self.work.next() => self.finish(done)?,
                () = sleep_until(self.check.next) => self.begin_check(),
                () = engine.doubt.notified() => self.begin_check(),
                Ok(()) = self.followed.changed() => self.look_at_newly_followed(),
            }
        }
    }

    /// Whether it held for long enough, a listing being installed, that its end says nothing bad of
    /// the engine.
    pub(super) fn has_held(&self) -> bool {
        self.is_listed && self.stream.has_held()
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

    fn begin_check(&mut self) {
        if !self.check.begin() {
            return;
        }
        let engine = Arc::clone(&self.feed.engine);
        self.work.push(Box::pin(async move {
            let deadline = Instant::now() + limits::OBSERVE_MAX;
            if let Err(error) = engine.ping(deadline).await {
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

    fn hear(&mut self) {
        while let Some(line) = self.stream.lines.next() {
            match Line::parse(&line) {
                Line::Event(event) => self.on_event(event),
                Line::Aside(at) => self.feed.cursor.pass(at),
                Line::Nonsense => {
                    self.feed.counters.lines_skipped.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(bytes = line.len(), "Skipped a line that is no event");
                }
            }
        }
        let too_long = self.stream.lines.take_skipped();
        if too_long > 0 {
            self.feed.counters.lines_skipped.fetch_add(too_long, Ordering::Relaxed);
            tracing::warn!("Skipped an event that is longer than any should be");
        }
    }

    fn on_event(&mut self, event: Event) {
        let key = (event.at, event.id.clone(), event.action.clone());
        if !self.feed.cursor.is_news(event.at, key) {
            return;
        }
        self.check.hear();
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
        self.check = Check::new();
        self.list();
    }

    fn finish(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Listed(listing) => self.install(listing?),
            Done::Looked(target, found) => self.on_look(&target, found),
            Done::Checked(Ok(entries)) => return self.compare(&entries),
            Done::Checked(Err(error)) => {
                self.check.end();
                tracing::warn!(error = chain(&error), "Could not list the engine's containers");
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
        self.check = Check::new();
    }

    fn on_look(&mut self, target: &Target, found: Result<Found, CallError>) {
        let tell = self.looks.end(target);
        match found {
            Ok(found) => {
                let is_told = self.feed.hub.publish(found, tell);
                if is_told && tell == Tell::Differences {
                    self.check.be_surprised();
                }
            }
            Err(error) => {
                tracing::debug!(%target, error = chain(&error), "Could not look at a container");
                self.check.hurry(target);
            }
        }
    }

    fn compare(&mut self, entries: &[EntryJson]) -> Result<(), End> {
        self.check.end();
        if self.check.is_deaf() {
            return Err(End::Deaf);
        }
        for target in self.check.compare(entries, &self.feed.engine, &self.feed.hub) {
            self.looks.want(&target, Tell::Differences);
        }
        Ok(())
    }
}

/// What an event alone says of a container that nobody follows; only its labels matter.
fn told(event: Event) -> Option<Found> {
    let run = sighting::run_id(&event.id, "");
    let health = Health::Undeclared;
    let condition = match event.action {
        Action::Created => Condition::Stopped { exit_code: None },
        Action::Started => Condition::Running { run, health },
        Action::Died { exit_code } => Condition::Stopped { exit_code },
        Action::Destroyed => Condition::Absent,
        Action::Renamed { .. } | Action::Changed => return None,
    };
    let mut sighting = Sighting::absent(Instant::now());
    sighting.condition = condition;
    Some(Found { target: event.target, labels: event.labels, sighting })
}
