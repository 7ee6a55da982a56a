//! Where the data plane meets the keeper: the proxy's only question, answered by gates.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use dormouse_core::progress::StepKind;
use dormouse_keeper::{Admission as Asked, Gate, Kind, Lease, Opening, Pass, StoryLine, Waiting};
use dormouse_proxy::{Admission, Gatekeeper, LeaseKind, Moment, Story, Upstream, WaitOutcome};
use tokio::sync::{broadcast, mpsc};

/// Lines of a story that wait for one reader; one that falls further behind is dropped.
const STORY_QUEUE: usize = 128;

/// Answers the data plane with the keeper's gates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gatekeeping;

/// The wait of one request for its gate.
pub struct Wait {
    outcome: Pin<Box<dyn Future<Output = WaitOutcome<Lease>> + Send>>,
    /// Whether this request is the one that began the wake.
    first: bool,
}

impl Gatekeeper for Gatekeeping {
    type Key = Arc<Gate>;
    type Lease = Lease;
    type Wait = Wait;

    fn open(&self, gate: &Arc<Gate>, kind: LeaseKind) -> Admission<Lease, Wait> {
        match gate.ask(kind_of(kind)) {
            Asked::Pass(Pass { lease, opening }) => Admission::Pass(lease, upstream(&opening)),
            Asked::Wait(waiting) => {
                Admission::Wait(Wait { first: waiting.first, outcome: Box::pin(wait(waiting)) })
            }
            Asked::Denied(denial) => Admission::Denied(denial),
        }
    }

    fn began(&self, wait: &Wait) -> Option<bool> {
        Some(wait.first)
    }

    fn peek(&self, gate: &Arc<Gate>) -> Option<Arc<Upstream>> {
        gate.peek().map(|opening| upstream(&opening))
    }

    fn wake(&self, gate: &Arc<Gate>) {
        gate.summon(dormouse_core::lifecycle::WakeCause::Request);
    }

    fn moment(&self, gate: &Arc<Gate>) -> Moment {
        let published = gate.published();
        let healthy = !matches!(published.phase, "failed" | "misconfigured" | "gone");
        Moment { phase: published.phase, why: published.why.clone(), healthy }
    }

    fn story(&self, gate: &Arc<Gate>, after_seq: Option<u64>) -> mpsc::Receiver<Story> {
        let (history, live) = gate.story().listen(after_seq);
        let (sender, receiver) = mpsc::channel(STORY_QUEUE);
        // The task ends with its reader: at the first line that finds nobody, or at once when the
        // reader goes while nothing is told.
        tokio::spawn(retell(history, live, sender));
        receiver
    }
}

impl Future for Wait {
    type Output = WaitOutcome<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.as_mut().poll(context)
    }
}

async fn wait(waiting: Waiting) -> WaitOutcome<Lease> {
    match waiting.ready().await {
        Ok(Pass { lease, opening }) => WaitOutcome::Pass(lease, upstream(&opening)),
        Err(denial) => WaitOutcome::Denied(denial),
    }
}

/// The data plane's view of an opening, made once for each.
fn upstream(opening: &Opening) -> Arc<Upstream> {
    let attached = opening.attached.get_or_init(|| {
        let warm = opening.warm.lock().expect("no panic while holding the lock").take();
        let (ports, udp_ports) = (opening.ports.clone(), opening.udp_ports.clone());
        Arc::new(Upstream { epoch: opening.epoch, ports, udp_ports, warm: Mutex::new(warm) })
    });
    Arc::clone(attached).downcast().expect("only this function attaches anything")
}

fn kind_of(kind: LeaseKind) -> Kind {
    match kind {
        LeaseKind::Request => Kind::Request,
        LeaseKind::Connection => Kind::Connection,
        LeaseKind::Flow => Kind::Flow,
    }
}

async fn retell(
    history: Vec<StoryLine>,
    mut live: broadcast::Receiver<StoryLine>,
    sender: mpsc::Sender<Story>,
) {
    for line in history {
        if sender.try_send(story(line)).is_err() {
            return;
        }
    }
    loop {
        let line = tokio::select! {
            line = live.recv() => line,
            () = sender.closed() => return,
        };
        let told = line.is_ok_and(|line| sender.try_send(story(line)).is_ok());
        if !told {
            return;
        }
    }
}

fn story(line: StoryLine) -> Story {
    let error = (line.step.kind == StepKind::Error).then(|| line.step.message.clone());
    Story { seq: line.seq, at_ms: line.at_ms, step: line.step, error }
}
