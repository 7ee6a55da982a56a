//! A gatekeeper whose gates a test opens, shuts and denies.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use dormouse_core::failure::Denial;
use dormouse_proxy::{Admission, Gatekeeper, LeaseKind, Moment, Story, Upstream, WaitOutcome};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

pub(crate) struct FakeGatekeeper;

/// One workload's gate, and what was asked of it.
pub(crate) struct Gate {
    upstream: ArcSwapOption<Upstream>,
    changes: watch::Sender<u64>,
    denial: Mutex<Option<Denial>>,
    pub(crate) leases: AtomicI64,
    pub(crate) waits: AtomicI64,
    pub(crate) wakes: AtomicUsize,
    asked: AtomicUsize,
    /// Shuts the gate when it is asked for the n-th time from now.
    pub(crate) shut_in: AtomicI64,
    stories: Mutex<Vec<Story>>,
    readers: Mutex<Vec<mpsc::Sender<Story>>>,
    pub(crate) healthy: std::sync::atomic::AtomicBool,
}

pub(crate) struct Lease(Arc<Gate>);
struct Waiting(Arc<Gate>);

impl Default for Gate {
    fn default() -> Self {
        Self {
            upstream: ArcSwapOption::empty(),
            changes: watch::channel(0).0,
            denial: Mutex::default(),
            leases: AtomicI64::new(0),
            waits: AtomicI64::new(0),
            wakes: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            shut_in: AtomicI64::new(i64::MAX),
            stories: Mutex::default(),
            readers: Mutex::default(),
            healthy: true.into(),
        }
    }
}

impl Gate {
    pub(crate) fn open(&self, address: SocketAddr) -> u64 {
        self.open_with(address, None)
    }

    pub(crate) fn open_with(&self, address: SocketAddr, warm: Option<TcpStream>) -> u64 {
        static EPOCHS: AtomicU64 = AtomicU64::new(1);
        let epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        let (ports, udp_ports) = (vec![(80, address)], vec![(80, address)]);
        let warm = Mutex::new(warm);
        self.upstream.store(Some(Arc::new(Upstream { epoch, ports, udp_ports, warm })));
        *self.denial.lock().unwrap() = None;
        self.changes.send_modify(|change| *change += 1);
        epoch
    }

    pub(crate) fn shut(&self) {
        self.upstream.store(None);
    }

    /// Shuts, and hands out what it takes to open again to the same upstream.
    pub(crate) fn shut_for_now(&self) -> Arc<Upstream> {
        self.upstream.swap(None).expect("it was open")
    }

    pub(crate) fn reopen(&self, upstream: Arc<Upstream>) {
        self.upstream.store(Some(upstream));
        self.changes.send_modify(|change| *change += 1);
    }

    pub(crate) fn deny(&self, denial: Denial) {
        *self.denial.lock().unwrap() = Some(denial);
        self.changes.send_modify(|change| *change += 1);
    }

    pub(crate) fn tell(&self, story: Story) {
        self.stories.lock().unwrap().push(story.clone());
        self.readers.lock().unwrap().retain(|reader| reader.try_send(story.clone()).is_ok());
    }

    pub(crate) fn leases(&self) -> i64 {
        self.leases.load(Ordering::SeqCst)
    }

    pub(crate) fn waits(&self) -> i64 {
        self.waits.load(Ordering::SeqCst)
    }

    /// How often somebody asked for admission.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn lease(self: &Arc<Self>) -> Lease {
        self.leases.fetch_add(1, Ordering::SeqCst);
        Lease(Arc::clone(self))
    }
}

impl Gatekeeper for FakeGatekeeper {
    type Key = Arc<Gate>;
    type Lease = Lease;
    type Wait = Pin<Box<dyn Future<Output = WaitOutcome<Lease>> + Send>>;

    fn open(&self, gate: &Arc<Gate>, _: LeaseKind) -> Admission<Lease, Self::Wait> {
        gate.asked.fetch_add(1, Ordering::SeqCst);
        if gate.shut_in.fetch_sub(1, Ordering::SeqCst) == 1 {
            gate.shut();
        }
        if let Some(upstream) = gate.upstream.load_full() {
            return Admission::Pass(gate.lease(), upstream);
        }
        if let Some(denial) = gate.denial.lock().unwrap().clone() {
            return Admission::Denied(denial);
        }
        gate.wakes.fetch_add(1, Ordering::SeqCst);
        gate.waits.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(Arc::clone(gate));
        let mut changes = gate.changes.subscribe();
        Admission::Wait(Box::pin(async move {
            let gate = &waiting.0;
            loop {
                if let Some(upstream) = gate.upstream.load_full() {
                    return WaitOutcome::Pass(gate.lease(), upstream);
                }
                if let Some(denial) = gate.denial.lock().unwrap().clone() {
                    return WaitOutcome::Denied(denial);
                }
                changes.changed().await.expect("the gate lives as long as the wait");
            }
        }))
    }

    fn peek(&self, gate: &Arc<Gate>) -> Option<Arc<Upstream>> {
        gate.upstream.load_full()
    }

    fn wake(&self, gate: &Arc<Gate>) {
        gate.wakes.fetch_add(1, Ordering::SeqCst);
    }

    fn moment(&self, gate: &Arc<Gate>) -> Moment {
        let healthy = gate.healthy.load(Ordering::SeqCst);
        let phase = match (healthy, gate.upstream.load().is_some()) {
            (false, _) => "failed",
            (true, true) => "ready",
            (true, false) => "asleep",
        };
        Moment { phase, why: "the test says so".into(), healthy }
    }

    fn story(&self, gate: &Arc<Gate>, after_seq: Option<u64>) -> mpsc::Receiver<Story> {
        let (sender, receiver) = mpsc::channel(64);
        for story in gate.stories.lock().unwrap().iter() {
            if after_seq.is_none_or(|seq| story.seq > seq) {
                sender.try_send(story.clone()).unwrap();
            }
        }
        gate.readers.lock().unwrap().push(sender);
        receiver
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leases.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waits.fetch_sub(1, Ordering::SeqCst);
    }
}
