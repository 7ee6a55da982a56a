//! Connections that became another protocol: bytes both ways, until both ends have ended.

use std::io;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::body::LeaseHold;
use super::client::{Client, ClientSocket};
use super::headers::prepare_answer;
use crate::counters::Gauge;
use crate::pool::{Connection1, Pool, UpgradedUpstream};
use crate::relay::{Means, PassedBytes, Silence, relay};

/// Prepares the head of a 101 and begins to relay as soon as it has been written. The lease is
/// held until both ends have ended.
pub(crate) async fn begin(
    client: &Arc<Client>,
    parts: &mut Parts,
    connection: Box<Connection1>,
    on_upgrade: OnUpgrade,
    (lease, pool): (LeaseHold, Arc<Pool>),
) -> io::Result<()> {
    let protocol = parts.headers.get(UPGRADE).cloned();
    prepare_answer(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
    }
    let upstream = connection.upgrade().await?;
    let over = client.ending.over.clone();
    client.tasks.spawn(async move {
        let _lease = lease;
        let _open = Gauge::raise(&pool.counters().upgraded_open);
        tokio::select! {
            () = over.cancelled() => {}
            relayed = relay_upgraded(on_upgrade, upstream, &pool) => {
                if let Err(error) = relayed {
                    debug!(%error, "Lost an upgraded connection");
                }
            }
        }
    });
    Ok(())
}

async fn relay_upgraded(
    on_upgrade: OnUpgrade,
    upstream: UpgradedUpstream,
    pool: &Pool,
) -> io::Result<()> {
    let upgraded = on_upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<ClientSocket>>()
        .map_err(|_| io::Error::other("the connection is not a socket"))?;
    let client = parts.io.into_inner().into_stream();
    let (bytes, silence) = (PassedBytes::default(), Silence::default());
    let means = Means { pipes: pool.pipes(), bytes: &bytes, silence: &silence };
    let (client_begun, upstream_begun) = (parts.read_buf.into(), upstream.begun.into());
    relay((&client, client_begun), (&upstream.stream, upstream_begun), means).await
}
