//! Accepts client connections, bounds their number, and ends them in an orderly way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::counters::{Gauge, count_one};
use crate::gatekeeper::Gatekeeper;
use crate::http::client::Client;
use crate::http::connection;
use crate::proxy::Shared;
use crate::workers::{Seat, Workers};

/// How the connections of a listener learn that they should end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Finish what is open, begin nothing new.
    pub(crate) draining: CancellationToken,
    /// The time to finish is over.
    pub(crate) over: CancellationToken,
}

/// How long to wait after an accept that failed for want of something.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Accepts until `shutdown`, then drains.
pub(crate) async fn serve<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let ending = Ending { draining: shutdown.clone(), over: CancellationToken::new() };
    let _over = ending.over.clone().drop_guard();
    let tasks = TaskTracker::new();
    info!(%address, "Listen for HTTP");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = accept_all(shared, &listener, &tasks, &ending) => {}
        () = shared.pool.maintain() => {}
    }
    drop(listener);
    tasks.close();
    if timeout(shared.settings.drain, tasks.wait()).await.is_err() {
        warn!(%address, connections = tasks.len(), "Cut connections that did not end in time");
        ending.over.cancel();
        tasks.wait().await;
    }
    Ok(())
}

async fn accept_all<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    listener: &TcpListener,
    tasks: &TaskTracker,
    ending: &Ending,
) {
    let room = Arc::new(Semaphore::new(shared.settings.connections_max));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let trusted = shared.settings.trusts(peer.ip());
                let client = Client::new(peer, trusted, tasks.clone(), ending.clone());
                begin(shared, stream, Arc::new(client), place);
            }
            Err(error) => {
                debug!(%error, "Could not accept a connection");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Has a connection served where connections are.
fn begin<G: Gatekeeper>(
    shared: &Arc<Shared<G>>,
    stream: TcpStream,
    client: Arc<Client>,
    place: OwnedSemaphorePermit,
) {
    let seat = shared.workers.as_ref().map_or_else(Seat::here, Workers::seat);
    let (tasks, runtime) = (client.tasks.clone(), seat.runtime.clone());
    match stream.into_std() {
        Ok(stream) => {
            tasks.spawn_on(run(Arc::clone(shared), stream, client, (place, seat)), &runtime);
        }
        Err(error) => debug!(%error, "Could not take a connection along"),
    }
}

async fn run<G: Gatekeeper>(
    shared: Arc<Shared<G>>,
    stream: std::net::TcpStream,
    client: Arc<Client>,
    _place: (OwnedSemaphorePermit, Seat),
) {
    count_one(&shared.counters.connections_accepted);
    let _open = Gauge::raise(&shared.counters.connections_open);
    match TcpStream::from_std(stream) {
        Ok(stream) => {
            stream.set_nodelay(true).ok();
            connection::serve(&shared, stream, &client).await;
        }
        Err(error) => debug!(%error, "Could not wait for a connection"),
    }
}
