//! A runtime in memory that keeps the contract of a meter, measures by the clock of the test and
//! does what a test orders.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dormouse_core::usage::RawSample;
use dormouse_providers::{
    Answers, DiskUsage, EventMode, EventsWork, Gap, GapCause, HostFacts, Meter, MeterError,
    Metered, RawEvent, RawItem, RunChange, Running,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

pub(super) const GIB: u64 = 1 << 30;
/// The processors of the fake's host.
const CPUS: u32 = 2;

/// A runtime of this process.
pub(super) struct FakeMeter(Mutex<State>);

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Container>,
    /// Why nothing can be had.
    down: Option<MeterError>,
    /// Why only listings fail.
    unlisted: Option<MeterError>,
    disk_takes: Duration,
    disk_is_broken: bool,
    subscribers: Vec<mpsc::Sender<RawItem>>,
    counts: Counts,
}

/// What was asked of the fake so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) listings: usize,
    pub(super) cycles: usize,
    pub(super) disks: usize,
    pub(super) disks_at_once: usize,
    pub(super) disks_at_once_most: usize,
}

struct Container {
    started: Instant,
    /// Processors in use.
    cpus: f64,
    memory_bytes: u64,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Well,
    Hangs,
    /// It gives the empty frame of what ends.
    Empty,
}

impl FakeMeter {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// A container that has begun to run, and says so.
    pub(super) fn begin(&self, id: &str, cpus: f64, memory_bytes: u64) {
        let container =
            Container { started: Instant::now(), cpus, memory_bytes, behaviour: Behaviour::Well };
        self.state().containers.insert(id.to_owned(), container);
        self.event(id, Some(RunChange::Began), r#"{"Action": "start"}"#);
    }

    pub(super) fn hang(&self, id: &str) {
        self.behave(id, Behaviour::Hangs);
    }

    pub(super) fn empty(&self, id: &str) {
        self.behave(id, Behaviour::Empty);
    }

    fn behave(&self, id: &str, behaviour: Behaviour) {
        self.state().containers.get_mut(id).expect("the test began it").behaviour = behaviour;
    }

    /// From now on nothing can be had, and the events end.
    pub(super) fn fall(&self, error: MeterError) {
        self.state().down = Some(error.clone());
        self.tell(RawItem::Lost(error));
    }

    /// The events alone are gone for a moment.
    pub(super) fn stumble(&self, error: MeterError) {
        self.tell(RawItem::Lost(error));
        self.tell(RawItem::Listening);
    }

    pub(super) fn rise(&self) {
        self.state().down = None;
        self.tell(RawItem::Listening);
    }

    pub(super) fn refuse_listings(&self, error: Option<MeterError>) {
        self.state().unlisted = error;
    }

    pub(super) fn slow_disk(&self, takes: Duration) {
        self.state().disk_takes = takes;
    }

    /// The next question about disks ends in a panic.
    pub(super) fn break_disk(&self) {
        self.state().disk_is_broken = true;
    }

    pub(super) fn event(&self, id: &str, change: Option<RunChange>, line: &'static str) {
        let line = Bytes::from_static(line.as_bytes());
        self.tell(RawItem::Event(RawEvent { time_nanos: 1, id: id.into(), change, line }));
    }

    pub(super) fn gap(&self, cause: GapCause) {
        self.tell(RawItem::Gap(Gap { since_nanos: None, cause }));
    }

    /// Whether somebody still listens.
    pub(super) fn listeners(&self) -> usize {
        self.state().subscribers.iter().filter(|subscriber| !subscriber.is_closed()).count()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    fn tell(&self, item: RawItem) {
        for subscriber in &self.state().subscribers {
            // One that has gone needs to know nothing.
            let _ = subscriber.try_send(item.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn read(&self, metered: &Metered, deadline: Instant) -> Result<RawSample, MeterError> {
        let (behaviour, sample) = {
            let state = self.state();
            let container = state.containers.get(&*metered.reference).ok_or(MeterError::Gone)?;
            (container.behaviour, container.sample())
        };
        match behaviour {
            Behaviour::Well => Ok(sample),
            Behaviour::Empty => Ok(RawSample { cpu_nanos: 0, memory_bytes: 0, ..sample }),
            Behaviour::Hangs => {
                sleep_until(deadline).await;
                Err(MeterError::Timeout("sample"))
            }
        }
    }

    fn up(&self) -> Result<(), MeterError> {
        self.state().down.clone().map_or(Ok(()), Err)
    }
}

impl Container {
    fn sample(&self) -> RawSample {
        let age = self.started.elapsed();
        RawSample {
            wall_nanos: u64::try_from(age.as_nanos()).unwrap(),
            cpu_nanos: u64::try_from(age.mul_f64(self.cpus).as_nanos()).unwrap(),
            cpus: CPUS,
            memory_bytes: self.memory_bytes,
            ..RawSample::default()
        }
    }
}

impl Meter for FakeMeter {
    fn host(&self, _: Instant) -> BoxFuture<'_, Result<Arc<HostFacts>, MeterError>> {
        async move {
            self.up()?;
            let raw = Bytes::from_static(b"{\"NCPU\": 2}");
            let version = "1".to_owned();
            Ok(Arc::new(HostFacts { cpus: CPUS, memory_bytes: 8 * GIB, version, raw }))
        }
        .boxed()
    }

    fn running(&self, _: Instant) -> BoxFuture<'_, Result<Vec<Running>, MeterError>> {
        async move {
            self.state().counts.listings += 1;
            self.up()?;
            let state = self.state();
            state.unlisted.clone().map_or(Ok(()), Err)?;
            let ids = state.containers.keys();
            Ok(ids.map(|id| Running { id: id.as_str().into(), name: id.clone() }).collect())
        }
        .boxed()
    }

    fn sample<'a>(
        &'a self,
        set: &'a [Metered],
        deadline: Instant,
        answer: &'a mut Answers<'_>,
    ) -> BoxFuture<'a, ()> {
        async move {
            self.state().counts.cycles += 1;
            for (place, metered) in set.iter().enumerate() {
                let result = match self.up() {
                    Ok(()) => self.read(metered, deadline).await,
                    Err(error) => Err(error),
                };
                answer(place, result);
            }
        }
        .boxed()
    }

    fn disk(&self, deadline: Instant) -> BoxFuture<'_, Result<DiskUsage, MeterError>> {
        async move {
            let is_broken = std::mem::take(&mut self.state().disk_is_broken);
            assert!(!is_broken, "the test broke it");
            let takes = {
                let mut state = self.state();
                let takes = state.disk_takes;
                let counts = &mut state.counts;
                counts.disks += 1;
                counts.disks_at_once += 1;
                counts.disks_at_once_most = counts.disks_at_once_most.max(counts.disks_at_once);
                takes
            };
            let in_time = timeout_at(deadline, sleep(takes)).await;
            self.state().counts.disks_at_once -= 1;
            in_time.map_err(|_| MeterError::Timeout("df"))?;
            let raw = Bytes::from_static(b"{\"LayersSize\": 3}\n");
            Ok(DiskUsage {
                images_bytes: 3,
                containers_bytes: 0,
                volumes_bytes: 0,
                build_cache_bytes: 0,
                raw,
            })
        }
        .boxed()
    }

    fn events(&self, _: watch::Receiver<EventMode>) -> (mpsc::Receiver<RawItem>, EventsWork) {
        let (sender, receiver) = mpsc::channel(64);
        let first = self.up().map_or_else(RawItem::Lost, |()| RawItem::Listening);
        sender.try_send(first).expect("it is empty");
        self.state().subscribers.push(sender);
        (receiver, std::future::pending().boxed())
    }
}
