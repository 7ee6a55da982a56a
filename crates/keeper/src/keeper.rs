//! The loop: the only mutator of the fleet. It takes one thing at a time (an answer, a summons, a
//! command, an item of a feed, a deadline), hands it to the core, executes every effect, and
//! sleeps until the core's next deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use dormouse_core::fleet::{self, Explanation, Fleet, Key};
use dormouse_core::lifecycle::{Event, SleepAnswer, Ticket};
use dormouse_core::{EnvironmentName, Unused, WorkloadId, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::effects::Answer;
use crate::environment::{Environment, Fed};
use crate::gate::{Published, Summons};
use crate::handle::{Command, Handle};
use crate::journal::{Journal, JournalKind};
use crate::watch::Manager;
use crate::witness::Witness;
use crate::workload::{WakeUnderWay, Workload};

/// Things taken in a row before deadlines that are due are looked at all the same.
const STREAK_MAX: u32 = 256;

/// What a keeper is made with.
pub struct KeeperSettings {
    /// Spreads retries; any number.
    pub seed: u64,
    /// Counts what happens.
    pub witness: Arc<dyn Witness>,
    /// How long each workload had gone unused when the keeper before this one ended in order.
    pub recalled: BTreeMap<WorkloadId, Unused>,
    /// Ends the keeper. Workloads are left as they are.
    pub shutdown: CancellationToken,
}

/// The loop and everything it owns.
pub struct Keeper {
    pub(crate) fleet: Fleet,
    pub(crate) clock: Clock,
    /// Boxed: the nodes of a tree that grew in order are half empty.
    pub(crate) workloads: BTreeMap<Key, Box<Workload>>,
    pub(crate) environments: BTreeMap<EnvironmentName, Environment>,
    /// Those of the environments; they end with the loop.
    pub(crate) watches: Manager,
    pub(crate) inbox: VecDeque<(Key, Event)>,
    pub(crate) tickets: BTreeMap<Ticket, oneshot::Sender<Option<SleepAnswer>>>,
    pub(crate) answers: mpsc::Sender<Answer>,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) openings: u64,
    /// For the workloads that nobody has defined yet.
    pub(crate) recalled: BTreeMap<WorkloadId, Unused>,
    answered: mpsc::Receiver<Answer>,
    commands: mpsc::Receiver<Command>,
    pub(crate) feeds: mpsc::Sender<Fed>,
    fed: mpsc::Receiver<Fed>,
    pub(crate) summons: Arc<Summons>,
    /// What was published last, of whichever workload.
    pub(crate) published: Arc<Published>,
    pub(crate) next_ticket: u64,
    journal: Arc<Journal>,
    pub(crate) witness: Arc<dyn Witness>,
    shutdown: CancellationToken,
}

impl Keeper {
    /// Starts the loop as a task of its own, which ends with the settings' token.
    pub fn spawn(settings: KeeperSettings) -> (Handle, tokio::task::JoinHandle<()>) {
        let clock = Clock::start();
        let (commands, commanded) = mpsc::channel(limits::KEEPER_QUEUE);
        let (answers, answered) = mpsc::channel(limits::KEEPER_QUEUE);
        let (feeds, fed) = mpsc::channel(limits::FEED_QUEUE);
        let journal = Arc::new(Journal::default());
        let handle = Handle { commands, journal: Arc::clone(&journal), clock };
        let keeper = Self {
            fleet: Fleet::new(settings.seed),
            clock,
            workloads: BTreeMap::new(),
            environments: BTreeMap::new(),
            watches: Manager::new(),
            inbox: VecDeque::new(),
            tickets: BTreeMap::new(),
            answers,
            tasks: JoinSet::new(),
            openings: 0,
            recalled: settings.recalled,
            answered,
            commands: commanded,
            feeds,
            fed,
            summons: Arc::new(Summons::new(clock)),
            published: Arc::new(Published { phase: "unknown", why: String::new() }),
            next_ticket: 0,
            journal,
            witness: settings.witness,
            shutdown: settings.shutdown,
        };
        (handle, tokio::spawn(keeper.run()))
    }

    async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        let summons = Arc::clone(&self.summons);
        let mut streak = 0;
        loop {
            let next = self.fleet.poll_timeout().map(|(at, _)| self.clock.instant(at));
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            streak += 1;
            // Answers come before deadlines: what was answered in time is not called late.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = std::future::ready(()), if streak > STREAK_MAX => {
                    streak = 0;
                    self.deadlines();
                }
                Some(answer) = self.answered.recv() => self.answer(answer),
                () = summons.arrived() => self.summoned(),
                Some((environment, item)) = self.fed.recv() => self.fed(&environment, item),
                Some(command) = self.commands.recv() => self.command(command),
                Some(_ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                () = timer => {
                    streak = 0;
                    self.deadlines();
                }
            }
        }
        tokio::join!(self.watches.stop_all(), self.tasks.shutdown());
    }

    fn deadlines(&mut self) {
        self.fleet.handle_timeout(self.clock.now());
        self.drain();
    }

    /// Hands an event to the core and executes everything that follows.
    pub(crate) fn tell(&mut self, key: Key, event: Event) {
        self.inbox.push_back((key, event));
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        loop {
            while let Some(effect) = self.fleet.poll_effect() {
                self.execute(effect);
            }
            let Some((key, event)) = self.inbox.pop_front() else {
                return;
            };
            self.fleet.handle(fleet::Event::Workload(key, event), self.clock.now());
        }
    }

    fn execute(&mut self, effect: fleet::Effect) {
        match effect {
            fleet::Effect::Act(key, effect) => self.act(key, effect),
            fleet::Effect::Moved { key, from, to } => self.moved(key, from, to),
            fleet::Effect::PinEnded(key) => {
                let Some(workload) = self.workloads.get_mut(&key) else {
                    return;
                };
                workload.affairs_mut().pin = None;
                let id = workload.id().clone();
                self.write_journal(Some(id), JournalKind::Unpinned);
            }
        }
    }

    fn moved(&mut self, key: Key, from: &'static str, to: &'static str) {
        self.publish(key);
        let now = self.clock.now();
        let Some(workload) = self.workloads.get_mut(&key) else {
            return;
        };
        let id = workload.id().clone();
        let why = workload.gate.published().why.clone();
        tracing::info!(workload = %id, from, to, why, "Moved");
        self.witness.moved(&id, from, to);
        if to == "waking" {
            let wake = WakeUnderWay { began: now, start_sent: None, probe_sent: None };
            workload.affairs_mut().wake = Some(wake);
        } else if let Some(times) = workload.end_wake(now) {
            let explanation = self.fleet.explain(key, None, now);
            let cause = explanation.as_ref().and_then(|e| e.last_wake).map(|(_, cause)| cause);
            let failure = explanation.and_then(|e| e.last_failure).map(|(_, f)| f.kind.slug());
            let outcome = match to {
                "failed" | "gone" | "misconfigured" => failure.unwrap_or(to),
                other => other,
            };
            if let Some(cause) = cause {
                self.witness.woke(&id, cause, outcome, times);
            }
        }
        self.write_journal(Some(id), JournalKind::Phase { from, to, why });
    }

    /// Publishes the phase and why for whoever asks without the loop.
    pub(crate) fn publish(&mut self, key: Key) {
        let Some(workload) = self.workloads.get(&key) else { return };
        if let Some(explanation) = self.explain(key, workload) {
            let news = Published { phase: explanation.phase, why: explanation.why };
            // Many say the same one after the other, such as all who sleep: they share it.
            if *self.published != news {
                self.published = Arc::new(news);
            }
            workload.gate.publish(Arc::clone(&self.published));
        }
    }

    /// The core's explanation, with what only the outside has seen: the gate's counts, and what
    /// the probe in flight has met.
    pub(crate) fn explain(&self, key: Key, workload: &Workload) -> Option<Explanation> {
        let activity = Some(workload.gate.activity());
        let mut explanation = self.fleet.explain(key, activity, self.clock.now())?;
        if explanation.phase == "waking"
            && let Some(probing) = workload.affairs().and_then(|affairs| affairs.probing.as_ref())
            && let Some(met) = &probing.borrow().last_failure
        {
            explanation.why = format!("{}: {met}", explanation.why);
        }
        Some(explanation)
    }

    pub(crate) fn write_journal(&self, workload: Option<WorkloadId>, kind: JournalKind) {
        self.journal.write(self.clock.unix_ms(self.clock.now()), workload, kind);
    }

    fn summoned(&mut self) {
        for (key, cause) in self.summons.take() {
            if let Some(workload) = self.workloads.get(&key) {
                workload.gate.summons_taken();
                self.tell(key, Event::Wanted(cause));
            }
        }
    }
}
