//! One environment: the task that owns everything of it. Ending the task ends every call,
//! connection and timer of the environment.
//!
//! ```text
//!  events ──▶ what runs ──▶ cycles of samples ──▶ metrics
//!    │            ▲
//!    ▼            │
//! standing ──▶ listings ──▶ env_status        disk plan ──▶ disk_usage
//! ```

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::limits;
use dormouse_providers::{
    Continuity, EventMode, Gap, GapCause, HostFacts, Meter, MeterError, RawEvent, RawItem, Running,
    RunningSet,
};
use dormouse_wire::{CollectReport, EnvId, Extra, RawJson};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::cycle::{self, Book, Findings, Order};
use super::disk::{self, DiskAnswer, DiskPlan};
use super::outbox::Outbox;
use super::pace::Pace;
use super::settings::Settings;
use super::standing::{Duty, Standing};

/// The shortest time that a cycle may take, and the longest.
const CYCLE_MAX: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// What an environment's task is made from.
pub(super) struct Plan {
    pub(super) env: EnvId,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) outbox: Outbox,
    pub(super) settings: watch::Receiver<Settings>,
    pub(super) event_mode: watch::Receiver<EventMode>,
    /// Whose turn it is to ask for disk usage; absent where nobody wants to know.
    pub(super) disk_turns: Option<Arc<Semaphore>>,
}

/// One environment.
struct Environment {
    plan: Plan,
    settings: Settings,
    standing: Standing,
    running: RunningSet,
    continuity: Continuity,
    host: Option<Arc<HostFacts>>,
    listening: bool,
    listed_at: Option<Instant>,
    /// What is listed may not be all that has begun to run since.
    must_list: bool,
    listing: Work<Result<Listing, MeterError>>,
    pace: Pace,
    cycle: Work<Findings>,
    /// At home while no cycle has it.
    book: Book,
    disk_plan: DiskPlan,
    disk: Work<Result<DiskAnswer, String>>,
    said: Said,
}

/// What an environment that answers has shown.
enum Listing {
    Complete(Vec<Running>),
    /// It does not want to be asked for what runs, and answers all the same.
    Withheld(String),
}

/// Work under way, if any.
type Work<T> = Option<BoxFuture<'static, T>>;

/// What was said last, so that it is said once.
#[derive(Default)]
struct Said {
    refused: Option<String>,
    listing: Option<String>,
    disk: Option<String>,
    failed: usize,
}

/// Collects from one environment until the future is dropped.
pub(super) async fn run(plan: Plan) {
    let (mut items, work) = plan.meter.events(plan.event_mode.clone());
    let mut work = work.fuse();
    let mut environment = Environment::new(plan);
    loop {
        environment.do_duties();
        let alarm = environment.alarm();
        let Environment { plan, listing, cycle, disk, .. } = &mut environment;
        tokio::select! {
            () = &mut work => {}
            Some(item) = items.recv() => environment.hear(item),
            listed = finished(listing) => environment.listed(listed),
            findings = finished(cycle) => environment.measured(findings),
            answer = finished(disk) => environment.disk_answered(answer),
            Ok(()) = plan.settings.changed() => environment.resettle(),
            () = sleep_until(alarm) => environment.on_time(),
        }
    }
}

/// Lists what runs. A refusal alone does not mean that nothing answers: something else is asked.
async fn list(meter: Arc<dyn Meter>) -> Result<Listing, MeterError> {
    match meter.running(Instant::now() + limits::OBSERVE_MAX).await {
        Ok(running) => Ok(Listing::Complete(running)),
        Err(MeterError::Refused(reason)) => {
            meter.host(Instant::now() + limits::OBSERVE_MAX).await?;
            Ok(Listing::Withheld(reason))
        }
        Err(error) => Err(error),
    }
}

/// The end of work under way; without any, there is none.
async fn finished<T>(work: &mut Work<T>) -> T {
    match work {
        Some(future) => {
            let outcome = future.await;
            *work = None;
            outcome
        }
        None => pending().await,
    }
}

impl Environment {
    fn new(mut plan: Plan) -> Self {
        let settings = plan.settings.borrow_and_update().clone();
        let seed = plan.env.0.cast_unsigned();
        Self {
            pace: Pace::new(settings.metrics_interval, seed),
            standing: Standing::new(seed),
            plan,
            settings,
            running: RunningSet::default(),
            continuity: Continuity::Broken,
            host: None,
            listening: false,
            listed_at: None,
            must_list: true,
            listing: None,
            cycle: None,
            book: Book::default(),
            disk_plan: DiskPlan::new(),
            disk: None,
            said: Said::default(),
        }
    }

    fn alarm(&self) -> Instant {
        let mut alarm = self.standing.alarm().unwrap_or_else(far_away);
        if self.standing.is_up() {
            if self.cycle.is_none() && self.listed_at.is_some() {
                alarm = alarm.min(self.pace.due());
            }
            if self.disk.is_none() && self.plan.disk_turns.is_some() {
                alarm = alarm.min(self.disk_plan.due());
            }
        }
        alarm
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.standing.alarm().is_some_and(|alarm| alarm <= now) {
            self.standing.on_time();
        }
        if !self.standing.is_up() {
            return;
        }
        if self.cycle.is_none() && self.listed_at.is_some() && self.pace.due() <= now {
            self.begin_cycle();
        }
        if self.disk.is_none() && self.disk_plan.due() <= now {
            self.begin_disk();
        }
    }

    fn do_duties(&mut self) {
        while let Some(duty) = self.standing.duty() {
            match duty {
                Duty::Ask => self.ask(),
                Duty::StopAsking => self.listing = None,
                Duty::Tell(Ok(())) => self.tell_status(None),
                Duty::Tell(Err(reason)) => self.tell_status(Some(reason)),
            }
        }
    }

    /// A listing is the question, and what it shows is needed now and then anyway.
    fn ask(&mut self) {
        let is_fresh = self.listed_at.is_some_and(|at| at.elapsed() < limits::COLLECT_LIST_EVERY);
        if is_fresh && !self.must_list && self.listening && self.standing.is_well() {
            return self.standing.answered(Ok(()));
        }
        self.must_list = false;
        self.running.begin_listing();
        let meter = Arc::clone(&self.plan.meter);
        self.listing = Some(Box::pin(list(meter)));
    }

    fn tell_status(&mut self, reason: Option<Arc<str>>) {
        let env = self.plan.env;
        match &reason {
            None => tracing::info!(%env, "Reached an environment"),
            Some(reason) => tracing::warn!(%env, ?reason, "Lost an environment"),
        }
        let online = reason.is_none();
        let error = reason.map(|reason| format!("Docker not reachable: {reason}"));
        self.report(CollectReport::EnvStatus { env, online, error });
    }

    fn hear(&mut self, item: RawItem) {
        match item {
            RawItem::Listening => {
                self.listening = true;
                self.must_list = true;
                self.standing.ask_again();
            }
            RawItem::Event(event) => self.hear_event(event),
            RawItem::Gap(gap) => self.hear_gap(&gap),
            RawItem::Lost(error) => {
                self.listening = false;
                self.host = None;
                self.note_refusal(&error);
                self.standing.failed(error.to_string().into());
            }
        }
    }

    fn hear_event(&mut self, event: RawEvent) {
        self.running.hear(&event);
        let env = self.plan.env;
        match RawJson::read(event.line) {
            Some(event) => self.report(CollectReport::ContainerEvent { env, event }),
            None => tracing::warn!(%env, "Passed over an event that is no JSON"),
        }
    }

    fn hear_gap(&mut self, gap: &Gap) {
        self.continuity = Continuity::Broken;
        self.listed_at = None;
        self.standing.ask_again();
        let (reason, lost) = match gap.cause {
            GapCause::Forgotten => ("the engine has forgotten some of its events", None),
            GapCause::Overrun { events } => {
                ("events came faster than they were read", Some(events))
            }
            GapCause::Unreadable { lines } => ("some events could not be read", Some(lines)),
        };
        let env = self.plan.env;
        let report = match self.settings.wants(Extra::EventsGap) {
            true => CollectReport::EventsGap { env, lost, reason: reason.to_owned() },
            false => {
                let count = lost.map(|lost| format!(" ({lost})")).unwrap_or_default();
                CollectReport::Error { env: Some(env), error: format!("events: {reason}{count}") }
            }
        };
        self.report(report);
    }

    fn listed(&mut self, listing: Result<Listing, MeterError>) {
        match listing {
            Ok(Listing::Complete(listing)) => {
                self.running.install(&listing, self.continuity);
                self.continuity = Continuity::Unbroken;
                self.listed_at = Some(Instant::now());
                self.said.refused = None;
                self.said.listing = None;
                self.standing.answered(Ok(()));
            }
            Ok(Listing::Withheld(reason)) => {
                self.say_listing_failed(reason);
                self.standing.answered(Ok(()));
            }
            Err(error) => {
                self.note_refusal(&error);
                self.standing.answered(Err(error.to_string().into()));
                if self.standing.is_up() {
                    self.say_listing_failed(error.to_string());
                }
            }
        }
    }

    fn begin_cycle(&mut self) {
        let order = Order {
            set: self.running.metered().collect(),
            deadline: self.pace.begin() + self.pace.interval().clamp(CYCLE_MAX.0, CYCLE_MAX.1),
            each: self.settings.wants(Extra::ContainerMetrics),
            host: self.host.clone(),
        };
        let meter = Arc::clone(&self.plan.meter);
        let book = std::mem::take(&mut self.book);
        self.cycle = Some(Box::pin(cycle::measure(meter, order, book)));
    }

    fn measured(&mut self, mut findings: Findings) {
        let env = self.plan.env;
        if self.settings.wants(Extra::ContainerMetrics) {
            let containers = std::mem::take(&mut findings.each);
            let failed = findings.failed;
            self.report(CollectReport::ContainerMetrics { env, containers, failed });
        }
        if let Some(figures) = findings.figures() {
            self.report(CollectReport::Metrics(env, figures));
        }
        for metered in &findings.gone {
            self.running.forget(metered);
        }
        self.say_failed(findings.failed, findings.failure.as_ref());
        let nothing_came = findings.measured == 0;
        let failure = findings.failure.filter(|_| nothing_came);
        if let Some(error) = findings.host.as_ref().err().or(failure.as_ref()) {
            self.note_refusal(error);
            self.standing.failed(error.to_string().into());
        }
        self.host = findings.host.ok();
        self.book = findings.book;
    }

    fn begin_disk(&mut self) {
        if let Some(turns) = &self.plan.disk_turns {
            let (meter, turns) = (Arc::clone(&self.plan.meter), Arc::clone(turns));
            self.disk = Some(Box::pin(disk::ask(meter, turns)));
        }
    }

    fn disk_answered(&mut self, answer: Result<DiskAnswer, String>) {
        self.disk_plan.done(answer.is_ok());
        let env = self.plan.env;
        match answer {
            Ok(DiskAnswer { data, info }) => {
                self.said.disk = None;
                self.report(CollectReport::DiskUsage { env, data, info });
            }
            Err(reason) => {
                if self.said.disk.as_ref() != Some(&reason) {
                    self.error(format!("disk usage: {reason}"));
                }
                self.said.disk = Some(reason);
            }
        }
    }

    fn resettle(&mut self) {
        self.settings = self.plan.settings.borrow_and_update().clone();
        self.pace.change(self.settings.metrics_interval);
    }

    fn say_listing_failed(&mut self, reason: String) {
        if self.said.listing.as_ref() != Some(&reason) {
            self.error(format!("list containers: {reason}"));
        }
        self.said.listing = Some(reason);
    }

    /// Refused credentials are somebody's to mend, so they are said, once for each reason.
    fn note_refusal(&mut self, error: &MeterError) {
        match error {
            MeterError::Credentials(_) => {
                let error = error.to_string();
                if self.said.refused.as_ref() != Some(&error) {
                    self.error(error.clone());
                }
                self.said.refused = Some(error);
            }
            MeterError::Gone
            | MeterError::Refused(_)
            | MeterError::Unreachable(_)
            | MeterError::Timeout(_)
            | MeterError::Nonsense(_)
            | MeterError::Misconfigured(_) => {}
        }
    }

    fn say_failed(&mut self, failed: usize, failure: Option<&MeterError>) {
        let env = self.plan.env;
        if failed != self.said.failed {
            let reason = failure.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%env, failed, ?reason, "Counted the containers that gave no sample");
        }
        self.said.failed = failed;
    }

    fn error(&self, error: String) {
        self.report(CollectReport::Error { env: Some(self.plan.env), error });
    }

    fn report(&self, report: CollectReport) {
        self.plan.outbox.push(report);
    }
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(24 * 60 * 60)
}
