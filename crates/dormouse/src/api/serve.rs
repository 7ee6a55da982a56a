//! Serves the admin API on its sockets until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::door::{AdminListener, Door, Stream};
use super::patience::Impatient;
use super::{AdminState, router};

/// Connections that are open at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take over the head of a request.
const HEADER_READ_MAX: Duration = Duration::from_secs(15);
/// How long a client may read nothing of what it is sent.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// How long requests may go on once dormouse ends.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The pause after an accept that failed, so that a lack of descriptors does not become a spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on every listener until `shutdown`, then lets open requests end for a moment.
pub async fn serve_admin(
    listeners: Vec<AdminListener>,
    state: AdminState,
    shutdown: CancellationToken,
) {
    let router = router(state, shutdown.clone());
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let (router, shutdown) = (router.clone(), shutdown.clone());
        accepting.spawn(accept(listener, router, Arc::clone(&connections), shutdown));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    listener: AdminListener,
    router: Router,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    if let Ok(listen) = listener.listen() {
        tracing::info!(address = %listen, "Listen for the admin API");
    }
    let mut open = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_ended) = open.join_next(), if !open.is_empty() => {}
            (permit, accepted) = next => match accepted {
                Ok((stream, door)) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    open.spawn(async move {
                        serve(stream, door, router, shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "Could not accept an admin connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
        tracing::debug!("Cut admin connections that did not end in time");
    }
}

async fn serve(stream: Stream, door: Door, router: Router, shutdown: CancellationToken) {
    match stream {
        Stream::Tcp(stream) => serve_one(stream, door, router, shutdown).await,
        Stream::Unix(stream) => serve_one(stream, door, router, shutdown).await,
    }
}

async fn serve_one<S>(stream: S, door: Door, router: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Impatient::new(stream, WRITE_STALL_MAX));
    let service = TowerToHyperService::new(router.layer(Extension(door)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_MAX);
    let connection = http.serve_connection(stream, service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "An admin connection ended early");
    }
}
