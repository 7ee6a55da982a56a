//! The task of one flow: asks the gatekeeper, sends what waited, passes the answers on, and ends
//! the flow when it has fallen silent.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_core::limits::UDP_REFUSED_MAX;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::drops::{UdpDropped, is_unreachable};
use super::flow::Flow;
use super::line::Line;
use super::listener::Hall;
use super::trials::{AGAIN_DELAY_MAX, AGAIN_DELAY_MIN, REFUSAL_MAX};
use crate::gatekeeper::{Admission, Gatekeeper, LeaseKind, Upstream, WaitOutcome};

/// A flow and the hall of its listener.
struct Tending<'a, G: Gatekeeper> {
    hall: &'a Hall<G>,
    flow: &'a Flow<G::Key>,
}

/// What lets a flow through: the lease is held for as long as the flow is not over.
struct Pass<L> {
    _lease: L,
    line: Arc<Line>,
}

/// Why what waits could not be sent.
enum Stuck {
    /// The gate has shut, or opened anew, meanwhile.
    GateMoved,
    /// It will not work.
    Dropped(UdpDropped),
}

/// Lives until the flow is over, and ends it.
pub(super) async fn tend<G: Gatekeeper>(hall: &Hall<G>, flow: &Flow<G::Key>) {
    let tending = Tending { hall, flow };
    tokio::select! {
        () = flow.ended.notified() => {}
        outcome = tending.run() => if let Err(why) = outcome {
            debug!(workload = flow.destination.site.workload, why = why.as_str(), "End a UDP flow");
            flow.end(why);
        }
    }
}

impl<G: Gatekeeper> Tending<'_, G> {
    async fn run(&self) -> Result<(), UdpDropped> {
        let silence = self.flow.destination.site.silence;
        let mut silent = pin!(sleep(silence));
        let mut pass = None;
        loop {
            if self.flow.first().is_some() {
                let admitted = self.admit(pass.take()).await?;
                match self.send_waiting(&admitted.line).await {
                    Ok(()) | Err(Stuck::GateMoved) => pass = Some(admitted),
                    Err(Stuck::Dropped(why)) => return Err(why),
                }
                continue;
            }
            tokio::select! {
                () = self.flow.waits.notified() => {}
                error = self.answers(pass.as_ref()) => {
                    self.flow.shut();
                    // A socket whose refusal was read is as good as before.
                    pass = pass.filter(|pass| self.is_refusal(&pass.line, &error));
                }
                () = &mut silent => match self.flow.end_if_silent(silence) {
                    Some(left) => silent.as_mut().reset(Instant::now() + left),
                    None => return Ok(()),
                },
            }
        }
    }

    /// Asks for admission. What was admitted before counts until somebody waits in its stead, and
    /// its socket goes on where the gate has only been shut for a moment: to the workload it stays
    /// the same peer.
    async fn admit(&self, before: Option<Pass<G::Lease>>) -> Result<Pass<G::Lease>, UdpDropped> {
        let site = &self.flow.destination.site;
        let asked = self.hall.shared.gatekeeper.open(&site.key, LeaseKind::Flow);
        let line = before.map(|before| before.line);
        let (lease, upstream) = match asked {
            Admission::Pass(lease, upstream) => (lease, upstream),
            Admission::Wait(wait) => match wait.await {
                WaitOutcome::Pass(lease, upstream) => (lease, upstream),
                WaitOutcome::Denied(_) => return Err(UdpDropped::Denied),
            },
            Admission::Denied(_) => return Err(UdpDropped::Denied),
        };
        let line = match line {
            Some(line) if line.epoch == upstream.epoch => line,
            Some(_) | None => Arc::new(self.connect(&upstream)?),
        };
        Ok(Pass { _lease: lease, line })
    }

    fn connect(&self, upstream: &Upstream) -> Result<Line, UdpDropped> {
        let address = upstream.udp_address(self.flow.destination.site.port);
        let address = address.ok_or(UdpDropped::Unreachable)?;
        Line::connect(address, upstream.epoch).map_err(|error| UdpDropped::of(&error))
    }

    async fn answers(&self, pass: Option<&Pass<G::Lease>>) -> io::Error {
        match pass {
            Some(pass) => pass.line.relay(self.hall, self.flow).await,
            None => std::future::pending().await,
        }
    }

    /// Sends everything that waits, in order, and opens the way behind it.
    async fn send_waiting(&self, line: &Arc<Line>) -> Result<(), Stuck> {
        while !self.flow.open(line) {
            let proven = timeout(UDP_REFUSED_MAX, self.prove(line)).await;
            proven.unwrap_or(Err(Stuck::Dropped(UdpDropped::Unreachable)))?;
            while let Some(datagram) = self.flow.first() {
                if !self.leads_there(line) {
                    return Err(Stuck::GateMoved);
                }
                match line.send(&datagram).await {
                    Ok(()) => self.flow.sent(),
                    Err(error) if self.is_refusal(line, &error) => break,
                    Err(error) => self.flow.drop_first(UdpDropped::of(&error)),
                }
            }
        }
        Ok(())
    }

    /// Sends the first datagram until it is not refused, or until another flow has.
    async fn prove(&self, line: &Line) -> Result<(), Stuck> {
        let trials = &self.flow.destination.trials;
        if trials.is_proven(line.epoch) {
            return Ok(());
        }
        let _turn = trials.turn().await;
        let mut again = AGAIN_DELAY_MIN;
        while !trials.is_proven(line.epoch) {
            let Some(datagram) = self.flow.first() else {
                return Ok(());
            };
            if !self.leads_there(line) {
                return Err(Stuck::GateMoved);
            }
            match self.try_first(line, &datagram).await {
                Ok(()) => trials.prove(line.epoch),
                Err(error) if is_unreachable(&error) => {
                    sleep(again).await;
                    again = (again * 2).min(AGAIN_DELAY_MAX);
                }
                Err(error) => self.flow.drop_first(UdpDropped::of(&error)),
            }
        }
        Ok(())
    }

    /// Sends the first datagram, and waits for an answer or a refusal. Neither is an arrival.
    async fn try_first(&self, line: &Line, datagram: &Bytes) -> io::Result<()> {
        line.send(datagram).await?;
        let told = timeout(REFUSAL_MAX, line.relay_some(self.hall, self.flow)).await;
        told.unwrap_or(Ok(()))?;
        self.flow.sent();
        Ok(())
    }

    fn leads_there(&self, line: &Line) -> bool {
        let site = &self.flow.destination.site;
        self.hall.open_epoch(&site.key) == Some(line.epoch)
    }

    /// Whether the upstream refuses; it is tried anew then.
    fn is_refusal(&self, line: &Line, error: &io::Error) -> bool {
        let refused = is_unreachable(error);
        if refused {
            self.flow.destination.trials.doubt(line.epoch);
        }
        refused
    }
}
