//! The gate of one workload: open with an upstream, or shut. Read by the data plane at every
//! request, moved by the keeper's loop alone.
//!
//! Closing and passing race by design. A caller first counts its lease and then reads whether the
//! gate is shut; the loop first shuts the gate and then reads the count. With both in one total
//! order (`SeqCst`), either the caller sees the shut gate or the loop sees the caller's lease; a
//! lease that neither saw cannot exist.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use dormouse_core::failure::Denial;
use dormouse_core::fleet::Key;
use dormouse_core::lifecycle::{Activity, WakeCause};
use dormouse_core::{Failure, Timestamp, WorkloadId};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::lease::Kind;
use crate::story::{StoryBook, StoryLine};

/// A summons is on its way to the loop.
const SUMMONED: u8 = 1;
/// Somebody has begun the wake that comes or is under way.
const BEGUN: u8 = 2;

/// One workload's admission valve.
#[derive(Debug)]
pub struct Gate {
    id: WorkloadId,
    key: Key,
    shut: AtomicBool,
    opening: ArcSwapOption<Opening>,
    /// Leases served, packed by kind: see [`Kind::unit`].
    served: AtomicU64,
    waiting: AtomicU32,
    /// Leases ever opened, by kind.
    opened: [AtomicU64; Kind::COUNT],
    last_use: AtomicU64,
    wake_timeout_ms: AtomicU64,
    /// [`SUMMONED`] and [`BEGUN`]: one word, so that of all who ask at once one has begun the wake.
    wanted: AtomicU8,
    summons: Arc<Summons>,
    published: ArcSwap<Published>,
    /// Made by the first who asks, and by the first opening or denial: most of many sleepers have
    /// none.
    room: OnceLock<Box<WaitingRoom>>,
}

/// What only a workload needs that somebody has asked for.
#[derive(Debug)]
struct WaitingRoom {
    verdict: watch::Sender<Verdict>,
    drained: Notify,
    story: StoryBook,
}

/// Where a ready workload is reached, from one opening of its gate to the next.
#[derive(Debug)]
pub struct Opening {
    /// Unique among all openings of all gates of this process.
    pub epoch: u64,
    /// Own port to address; the first is the default.
    pub ports: Vec<(u16, SocketAddr)>,
    /// The same for ports of UDP, without a default.
    pub udp_ports: Vec<(u16, SocketAddr)>,
    /// The connection that proved readiness, until somebody takes it.
    pub warm: Mutex<Option<TcpStream>>,
    /// What the data plane makes of this opening, made once.
    pub attached: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What anybody may read of a workload without asking the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The phase's word.
    pub phase: &'static str,
    /// One sentence.
    pub why: String,
}

/// How many leases of each kind are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Requests in flight.
    pub request: u32,
    /// Upgraded and raw connections.
    pub connection: u32,
    /// UDP flows.
    pub flow: u32,
}

/// What those who wait are told.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Wait on.
    Shut,
    /// Come in.
    Open,
    /// Not before this moment, because of this.
    Denied { failure: Arc<Failure>, retry_at: Option<Timestamp> },
}

/// The way from all gates to their loop: the workloads that somebody wants, each at most once, and
/// the clock that both read.
#[derive(Debug)]
pub(crate) struct Summons {
    clock: Clock,
    wanted: Mutex<Vec<(Key, WakeCause)>>,
    notify: Notify,
}

impl Summons {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, wanted: Mutex::default(), notify: Notify::new() }
    }

    /// Waits until somebody is wanted.
    pub(crate) async fn arrived(&self) {
        self.notify.notified().await;
    }

    /// Takes everybody who is wanted.
    pub(crate) fn take(&self) -> Vec<(Key, WakeCause)> {
        std::mem::take(&mut self.wanted.lock().expect("no panic while holding the lock"))
    }

    fn call(&self, key: Key, cause: WakeCause) {
        self.wanted.lock().expect("no panic while holding the lock").push((key, cause));
        self.notify.notify_one();
    }
}

impl Gate {
    /// A shut gate that shows `published` until the loop knows better.
    pub(crate) fn new(
        id: WorkloadId,
        key: Key,
        published: Arc<Published>,
        summons: Arc<Summons>,
    ) -> Self {
        Self {
            id,
            key,
            shut: AtomicBool::new(true),
            opening: ArcSwapOption::empty(),
            served: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            opened: Default::default(),
            last_use: AtomicU64::new(0),
            wake_timeout_ms: AtomicU64::new(60_000),
            wanted: AtomicU8::new(0),
            summons,
            published: ArcSwap::new(published),
            room: OnceLock::new(),
        }
    }

    /// The workload's id.
    pub fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// The current opening, while the gate is open. Neither wakes nor counts as use.
    pub fn peek(&self) -> Option<Arc<Opening>> {
        if self.shut.load(Ordering::SeqCst) { None } else { self.opening.load_full() }
    }

    /// Wants the workload awake, without waiting for it. Says whether this want is the first one
    /// since the loop last listened.
    pub fn summon(&self, cause: WakeCause) -> bool {
        self.want(SUMMONED, cause) & SUMMONED == 0
    }

    /// Counts as use now, without waking anything.
    pub fn touch(&self) {
        // Zero is never.
        self.last_use.fetch_max(self.now().0.max(1), Ordering::AcqRel);
    }

    /// The stories of its wakes. Whoever asks may listen, and has a room made.
    pub fn story(&self) -> &StoryBook {
        &self.room().story
    }

    /// The current or last wake's story, as far as one was told.
    pub fn story_so_far(&self) -> Vec<StoryLine> {
        self.room.get().map(|room| room.story.current()).unwrap_or_default()
    }

    /// The phase and why, as last published by the loop.
    pub fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Why callers are denied now, if they are.
    pub fn denial(&self) -> Option<Denial> {
        self.room.get()?.verdict.borrow().denial(self.now())
    }

    /// Leases open, by kind.
    pub fn counts(&self) -> LeaseCounts {
        LeaseCounts::unpack(self.served.load(Ordering::SeqCst))
    }

    /// Callers that wait for the gate to open.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Leases ever opened of a kind.
    pub fn opened(&self, kind: Kind) -> u64 {
        self.opened[kind.index()].load(Ordering::Relaxed)
    }

    /// How long one wake may take.
    pub fn wake_timeout(&self) -> Duration {
        Duration::from_millis(self.wake_timeout_ms.load(Ordering::Relaxed))
    }

    /// Counts a lease, then looks whether the gate is open: the order that makes closing safe.
    pub(crate) fn try_pass(&self, kind: Kind) -> Option<Arc<Opening>> {
        self.served.fetch_add(kind.unit(), Ordering::SeqCst);
        if let Some(opening) = self.peek() {
            self.opened[kind.index()].fetch_add(1, Ordering::Relaxed);
            return Some(opening);
        }
        self.release(kind);
        None
    }

    /// Ends a lease that was served.
    pub(crate) fn end(&self, kind: Kind) {
        self.touch();
        self.release(kind);
    }

    pub(crate) fn enter_waiting(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave_waiting(&self) {
        self.touch();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn verdicts(&self) -> watch::Receiver<Verdict> {
        self.room().verdict.subscribe()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.summons.clock.now()
    }

    /// The loop has taken the summons; from here on a new want is a new summons.
    pub(crate) fn summons_taken(&self) {
        self.wanted.store(BEGUN, Ordering::Release);
    }

    pub(crate) fn open(&self, opening: Opening) {
        // Whoever passes from here on, and is waited for when the gate has closed, finds the room.
        let room = self.room();
        self.opening.store(Some(Arc::new(opening)));
        self.shut.store(false, Ordering::SeqCst);
        room.verdict.send_replace(Verdict::Open);
    }

    /// Opens again to the upstream that it had.
    pub(crate) fn reopen(&self) {
        self.shut.store(false, Ordering::SeqCst);
        self.say(Verdict::Open);
    }

    /// Whether it still has the upstream it was opened with.
    pub(crate) fn has_opening(&self) -> bool {
        self.opening.load().is_some()
    }

    /// Shuts, and keeps the upstream for those who passed and for opening again.
    pub(crate) fn close(&self) -> Activity {
        self.shut.store(true, Ordering::SeqCst);
        self.say(Verdict::Shut);
        self.activity()
    }

    /// Shuts for good: the upstream is gone.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.opening.store(None);
        // Who finds no room yet finds it as it is made: shut.
        if let Some(room) = self.room.get() {
            room.verdict.send_replace(Verdict::Shut);
        }
    }

    pub(crate) fn deny(&self, failure: Failure, retry_at: Option<Timestamp>) {
        self.say(Verdict::Denied { failure: Arc::new(failure), retry_at });
    }

    /// What is counted now. The last use is read after the count, so that a lease that has just
    /// ended has already said when.
    pub(crate) fn activity(&self) -> Activity {
        let served = self.counts().total();
        let waiting = self.waiting();
        let last_use = Timestamp(self.last_use.load(Ordering::SeqCst));
        Activity { served, waiting, last_use }
    }

    /// Waits until no lease is served.
    pub(crate) async fn drained(&self) {
        loop {
            let notified = self.room().drained.notified();
            if self.served.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn publish(&self, published: Arc<Published>) {
        let has_begun = published.has_begun();
        self.published.store(published);
        if !has_begun {
            // Somebody who has just asked has begun the next one.
            let (before, none) = (BEGUN, 0);
            self.wanted.compare_exchange(before, none, Ordering::AcqRel, Ordering::Relaxed).ok();
        }
    }

    /// Summons the loop. Says whether this begins a wake: the loop takes a summons a moment before
    /// it publishes the wake, and publishes its end a moment before the gate opens. Who comes in
    /// these moments joins it.
    pub(crate) fn begin(&self, cause: WakeCause) -> bool {
        // Read before the loop can publish what this begins.
        let has_begun = self.published().has_begun();
        self.want(SUMMONED | BEGUN, cause) == 0 && !has_begun
    }

    /// Summons the loop, unless a summons is on its way. Answers what was there before.
    fn want(&self, flags: u8, cause: WakeCause) -> u8 {
        let before = self.wanted.fetch_or(flags, Ordering::AcqRel);
        if before & SUMMONED == 0 {
            self.summons.call(self.key, cause);
        }
        before
    }

    pub(crate) fn set_wake_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.wake_timeout_ms.store(ms, Ordering::Relaxed);
    }

    fn release(&self, kind: Kind) {
        let before = self.served.fetch_sub(kind.unit(), Ordering::SeqCst);
        if before == kind.unit()
            && self.shut.load(Ordering::SeqCst)
            && let Some(room) = self.room.get()
        {
            room.drained.notify_waiters();
        }
    }

    /// Tells those who wait, and those who come. What is said is never lost for want of a room: who
    /// comes while it is made reads it there.
    fn say(&self, verdict: Verdict) {
        self.room().verdict.send_replace(verdict);
    }

    fn room(&self) -> &WaitingRoom {
        self.room.get_or_init(|| {
            Box::new(WaitingRoom {
                verdict: watch::Sender::new(Verdict::Shut),
                drained: Notify::new(),
                story: StoryBook::default(),
            })
        })
    }
}

impl Published {
    /// Whether a wake is under way, or has ended well.
    fn has_begun(&self) -> bool {
        matches!(self.phase, "waking" | "ready")
    }
}

impl Verdict {
    /// Whether this denies a caller who comes now.
    pub(crate) fn denial(&self, now: Timestamp) -> Option<Denial> {
        match self {
            Self::Denied { failure, retry_at } => match retry_at {
                Some(at) if *at <= now => None,
                Some(at) => Some(denial(failure, at.since(now))),
                None => Some(denial(failure, FOR_EVER)),
            },
            Self::Shut | Self::Open => None,
        }
    }

    /// What a caller is told who was waiting when this was said.
    pub(crate) fn denial_of_waiting(&self, now: Timestamp) -> Option<Denial> {
        match self {
            Self::Denied { failure, retry_at } => {
                let wait = retry_at.map_or(FOR_EVER, |at| at.since(now));
                Some(denial(failure, wait))
            }
            Self::Shut | Self::Open => None,
        }
    }
}

/// What "nothing but a correction helps" says as `Retry-After`.
const FOR_EVER: Duration = Duration::from_secs(60);

fn denial(failure: &Arc<Failure>, retry_after: Duration) -> Denial {
    Denial { failure: Failure::clone(failure), retry_after }
}

impl LeaseCounts {
    /// All kinds together.
    pub fn total(self) -> u32 {
        self.request.saturating_add(self.connection).saturating_add(self.flow)
    }

    fn unpack(served: u64) -> Self {
        let part = |kind: Kind| {
            u32::try_from((served >> kind.shift()) & Kind::MASK).expect("a part has 21 bits")
        };
        Self {
            request: part(Kind::Request),
            connection: part(Kind::Connection),
            flow: part(Kind::Flow),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use crate::lease::Admission;

    use super::*;

    fn gate() -> Arc<Gate> {
        let id = WorkloadId::parse("test/w").expect("an id");
        let published = Arc::new(Published { phase: "unknown", why: String::new() });
        Arc::new(Gate::new(id, Key(0), published, Arc::new(Summons::new(Clock::start()))))
    }

    fn opening(epoch: u64) -> Opening {
        let (ports, udp_ports) = (Vec::new(), Vec::new());
        Opening { epoch, ports, udp_ports, warm: Mutex::new(None), attached: OnceLock::new() }
    }

    #[test]
    fn a_gate_that_nobody_asks_has_no_waiting_room() {
        let gate = gate();
        gate.shut();
        assert!(gate.denial().is_none() && gate.peek().is_none());
        assert_eq!((gate.story_so_far(), gate.activity().open()), (Vec::new(), 0));
        assert!(gate.room.get().is_none());
        assert!(size_of::<Gate>() <= 144, "{} bytes for each sleeper", size_of::<Gate>());
        drop(gate.ask(Kind::Request));
        assert!(gate.room.get().is_some());
    }

    #[tokio::test]
    async fn a_shut_gate_summons_once_and_counts_who_waits() {
        let gate = gate();
        let first = gate.ask(Kind::Request);
        let second = gate.ask(Kind::Connection);
        assert!(matches!(&first, Admission::Wait(waiting) if waiting.first));
        assert!(matches!(&second, Admission::Wait(waiting) if !waiting.first));
        assert_eq!(gate.summons.take().len(), 1);
        assert_eq!(gate.activity().waiting, 2);
        drop((first, second));
        assert_eq!(gate.activity().open(), 0);
    }

    #[tokio::test]
    async fn one_of_those_who_wait_for_a_wake_has_begun_it() {
        let gate = gate();
        let is_first =
            || matches!(gate.ask(Kind::Request), Admission::Wait(waiting) if waiting.first);
        let publish = |phase| {
            gate.publish(Arc::new(Published { phase, why: String::new() }));
        };
        assert!(is_first());
        gate.summons_taken();
        assert!(!is_first(), "the loop knows, and has not published it");
        for phase in ["waking", "ready"] {
            publish(phase);
            gate.summons_taken();
            assert!(!is_first(), "{phase}, and the gate is still shut");
        }
        gate.summons_taken();
        publish("asleep");
        assert!(is_first(), "the next wake");
        publish("asleep");
        assert!(!is_first(), "the loop does not know yet");
    }

    #[tokio::test]
    async fn everybody_who_waits_comes_in_when_it_opens() {
        let gate = gate();
        let Admission::Wait(waiting) = gate.ask(Kind::Connection) else { panic!("it is shut") };
        let arrival = tokio::spawn(waiting.ready());
        gate.open(opening(7));
        let pass = arrival.await.expect("no panic").expect("admitted");
        assert_eq!(pass.opening.epoch, 7);
        assert_eq!(gate.counts(), LeaseCounts { connection: 1, ..LeaseCounts::default() });
        assert_eq!(gate.activity(), Activity { waiting: 0, ..gate.activity() });
        drop(pass);
        assert_eq!(gate.counts().total(), 0);
    }

    #[tokio::test]
    async fn a_denial_reaches_those_who_wait_and_those_who_come_too_early() {
        let gate = gate();
        let Admission::Wait(waiting) = gate.ask(Kind::Request) else { panic!("it is shut") };
        let failure = Failure::new(dormouse_core::FailureKind::NeverReady, "no");
        gate.deny(failure.clone(), Some(gate.now() + Duration::from_secs(60)));
        assert_eq!(waiting.ready().await.expect_err("denied").failure, failure);
        assert!(matches!(gate.ask(Kind::Request), Admission::Denied(_)));
        gate.deny(failure, Some(gate.now()));
        assert!(matches!(gate.ask(Kind::Request), Admission::Wait(_)));
    }

    #[tokio::test]
    async fn an_old_denial_does_not_answer_who_came_after_it() {
        let gate = gate();
        let failure = Failure::new(dormouse_core::FailureKind::NeverReady, "no");
        gate.deny(failure, Some(gate.now()));
        let Admission::Wait(waiting) = gate.ask(Kind::Request) else { panic!("it is over") };
        let arrival = tokio::spawn(waiting.ready());
        gate.open(opening(1));
        assert!(arrival.await.expect("no panic").is_ok());
    }

    /// The proof of the order in `try_pass` and `close`: whoever has passed is counted by whoever
    /// closes, whatever the interleaving.
    #[test]
    fn nobody_passes_a_gate_that_was_closed_on_an_empty_room() {
        const ROUNDS: usize = 20_000;
        let gate = gate();
        gate.open(opening(1));
        let resting = AtomicBool::new(false);
        let done = AtomicBool::new(false);
        let served_in_rest = AtomicU64::new(0);
        let passes = AtomicU64::new(0);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        if gate.try_pass(Kind::Request).is_some() {
                            passes.fetch_add(1, Ordering::Relaxed);
                            if resting.load(Ordering::SeqCst) {
                                served_in_rest.fetch_add(1, Ordering::SeqCst);
                            }
                            gate.end(Kind::Request);
                        }
                    }
                });
            }
            for _ in 0..ROUNDS {
                if gate.close().served == 0 {
                    // Nobody is inside, and nobody may come in until it opens again.
                    resting.store(true, Ordering::SeqCst);
                    std::hint::spin_loop();
                    resting.store(false, Ordering::SeqCst);
                }
                gate.reopen();
                std::thread::yield_now();
            }
            done.store(true, Ordering::Release);
        });
        assert_eq!(served_in_rest.load(Ordering::SeqCst), 0);
        assert!(passes.load(Ordering::Relaxed) > 0);
    }
}
