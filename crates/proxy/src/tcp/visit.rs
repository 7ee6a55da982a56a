//! One connection from its admission to its end.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::sleep;
use tracing::debug;

use super::hold::{Passed, hold};
use super::site::TcpSite;
use crate::gatekeeper::{Admission, Gatekeeper, LeaseKind, WaitOutcome};
use crate::pool::{Key, Unreachable};
use crate::proxy::Shared;
use crate::relay::{Means, Silence, relay};
use crate::settings::{ATTEMPTS_MAX, REOPEN_DELAY};

/// One connection and where it leads.
pub(super) struct Visit<G: Gatekeeper> {
    pub(super) shared: Arc<Shared<G>>,
    pub(super) site: Arc<TcpSite<G::Key>>,
    pub(super) client: TcpStream,
}

/// Why a connection is reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many wait for this workload")]
    RoomFull,
    #[error("the workload could not be woken: {0}")]
    Denied(String),
    #[error("the client has left")]
    Left,
    #[error("the workload has no address for the port of this listener")]
    NoAddress,
    #[error("the workload cannot be reached")]
    Unreachable(#[source] Unreachable),
    #[error("one end was reset")]
    Broken(#[source] io::Error),
}

/// A connection that was admitted, and the one that goes on from there.
struct Met<L> {
    lease: L,
    upstream: TcpStream,
    begun: Vec<u8>,
}

impl<G: Gatekeeper> Visit<G> {
    /// Serves the connection to its end. An error means that it has to be reset.
    pub(super) async fn serve(&self, address: IpAddr) -> Result<(), Refused> {
        let Met { lease, upstream, begun } = Box::pin(self.meet(address)).await?;
        let silence = Silence::default();
        let (pipes, bytes) = (self.shared.pool.pipes(), &self.site.counters.tcp_bytes);
        let means = Means { pipes, bytes, silence: &silence };
        let relayed = relay((&self.client, begun), (&upstream, Vec::new()), means);
        let relayed = async { relayed.await.map_err(Refused::Broken) };
        match self.site.connection_idle {
            // The lease lasts to the end of this function.
            None => relayed.await.map(|()| drop(lease)),
            Some(enough) => tokio::select! {
                outcome = relayed => outcome,
                refused = self.count_while_used(lease, enough, &silence) => Err(refused),
            },
        }
    }

    /// Asks for admission until there is a connection to the workload.
    async fn meet(&self, address: IpAddr) -> Result<Met<G::Lease>, Refused> {
        let mut begun = Vec::new();
        let mut delay = REOPEN_DELAY;
        for attempt in 1.. {
            let (lease, upstream, waited) = match self.ask() {
                Admission::Pass(lease, upstream) => (lease, upstream, false),
                Admission::Wait(wait) => {
                    let client = (&self.client, address);
                    let held = hold(&self.shared, &self.site, wait, client, &mut begun);
                    let (lease, upstream): Passed<G> = Box::pin(held).await?;
                    (lease, upstream, true)
                }
                Admission::Denied(denial) => return Err(Refused::Denied(denial.failure.detail)),
            };
            let at = upstream.address(Some(self.site.port)).ok_or(Refused::NoAddress)?;
            let key = Key { epoch: upstream.epoch, address: at };
            // What has proved readiness is as new as the wake; later it may have stood for long.
            let warm = waited.then_some(&*upstream);
            match self.shared.pool.raw(key, warm).await {
                Ok(upstream) => return Ok(Met { lease, upstream, begun }),
                Err(error) if attempt == ATTEMPTS_MAX => return Err(Refused::Unreachable(error)),
                // Nothing was sent. The workload may have died a moment ago, and its gate may shut
                // as soon as the gatekeeper knows.
                Err(error) => {
                    let workload = &self.site.workload;
                    debug!(%workload, %error, attempt, "Ask for admission again");
                    drop(lease);
                    sleep(delay).await;
                    delay *= 3;
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn ask(&self) -> Admission<G::Lease, G::Wait> {
        self.shared.gatekeeper.open(&self.site.key, LeaseKind::Connection)
    }

    /// Gives the lease back while the connection is silent for longer than `enough`, and asks for
    /// another when something passes. Ends only where there is none to be had.
    async fn count_while_used(
        &self,
        mut lease: G::Lease,
        enough: std::time::Duration,
        silence: &Silence,
    ) -> Refused {
        loop {
            silence.lasts(enough).await;
            drop(lease);
            silence.ends().await;
            let outcome = match self.ask() {
                Admission::Pass(lease, upstream) => WaitOutcome::Pass(lease, upstream),
                Admission::Wait(wait) => wait.await,
                Admission::Denied(denial) => WaitOutcome::Denied(denial),
            };
            lease = match outcome {
                WaitOutcome::Pass(lease, _) => lease,
                WaitOutcome::Denied(denial) => return Refused::Denied(denial.failure.detail),
            };
        }
    }
}
