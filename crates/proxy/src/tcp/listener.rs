//! Accepts the connections of one TCP listener, bounds their number, and ends them in an orderly
//! way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::site::{TcpEnds, TcpRoute};
use super::visit::Visit;
use crate::counters::{Gauge, count_one};
use crate::gatekeeper::Gatekeeper;
use crate::proxy::Shared;
use crate::relay::reset;

/// How long to wait after an accept that failed for want of something.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A client that says nothing is asked whether it is still there after this long, and then every
/// [`KEEPALIVE_EVERY`]; one that does not answer [`KEEPALIVE_PROBES`] times has left.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Accepts until one of the ends comes, and serves what was accepted to its own end.
pub(crate) async fn serve<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    listener: TcpListener,
    route: TcpRoute<G::Key>,
    ends: TcpEnds,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let tasks = TaskTracker::new();
    info!(%address, workload = %route.site().workload, "Listen for TCP");
    tokio::select! {
        () = ends.closed.cancelled() => {}
        () = ends.shutdown.cancelled() => {}
        () = accept_all(shared, &listener, &route, (&tasks, &over)) => {}
    }
    drop(listener);
    tasks.close();
    tokio::select! {
        () = ends.shutdown.cancelled() => {}
        () = tasks.wait() => return Ok(()),
    }
    if timeout(shared.settings.drain, tasks.wait()).await.is_err() {
        warn!(%address, connections = tasks.len(), "Cut connections that did not end in time");
        over.cancel();
        tasks.wait().await;
    }
    Ok(())
}

async fn accept_all<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    listener: &TcpListener,
    route: &TcpRoute<G::Key>,
    (tasks, over): (&TaskTracker, &CancellationToken),
) {
    let room = Arc::new(Semaphore::new(shared.settings.connections_max));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((client, peer)) => {
                let visit = Visit { shared: Arc::clone(shared), site: route.site(), client };
                tasks.spawn(run(visit, peer, over.clone(), place));
            }
            Err(error) => {
                debug!(%error, "Could not accept a connection");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn run<G: Gatekeeper>(
    visit: Visit<G>,
    peer: SocketAddr,
    over: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let counters = Arc::clone(&visit.shared.counters);
    count_one(&counters.connections_accepted);
    let _open = Gauge::raise(&counters.connections_open);
    prepare(&visit.client);
    let cut = tokio::select! {
        () = over.cancelled() => true,
        outcome = visit.serve(peer.ip().to_canonical()) => match outcome {
            Ok(()) => false,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                debug!(workload = %visit.site.workload, %peer, %error, cause, "Reset a connection");
                true
            }
        },
    };
    if cut {
        reset(&visit.client);
    }
}

/// Small messages go at once, and a client whose machine is gone is noticed.
fn prepare(client: &TcpStream) {
    use rustix::net::sockopt;
    client.set_nodelay(true).ok();
    // Where one of these cannot be set the connection is as good as without it.
    sockopt::set_socket_keepalive(client, true).ok();
    sockopt::set_tcp_keepidle(client, KEEPALIVE_AFTER).ok();
    sockopt::set_tcp_keepintvl(client, KEEPALIVE_EVERY).ok();
    sockopt::set_tcp_keepcnt(client, KEEPALIVE_PROBES).ok();
}
