//! Connections that became another protocol: bytes both ways, until both ends have ended.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tracing::debug;

use super::body::LeaseHold;
use super::client::{Client, ClientSocket};
use super::headers::prepare_answer;
use crate::counters::{Counters, Gauge};
use crate::pool::{Connection1, UpgradedUpstream};
use crate::settings::RELAY_BUFFER_BYTES;

/// Prepares the head of a 101 and begins to relay as soon as it has been written. The lease is
/// held until both ends have ended.
pub(crate) async fn begin(
    client: &Arc<Client>,
    parts: &mut Parts,
    connection: Box<Connection1>,
    on_upgrade: OnUpgrade,
    held: (LeaseHold, Arc<Counters>),
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
        let (_lease, counters) = held;
        let _open = Gauge::raise(&counters.upgraded_open);
        tokio::select! {
            () = over.cancelled() => {}
            relayed = relay_upgraded(on_upgrade, upstream) => {
                if let Err(error) = relayed {
                    debug!(%error, "Lost an upgraded connection");
                }
            }
        }
    });
    Ok(())
}

async fn relay_upgraded(on_upgrade: OnUpgrade, upstream: UpgradedUpstream) -> io::Result<()> {
    let upgraded = on_upgrade.await.map_err(io::Error::other)?;
    let parts = upgraded
        .downcast::<TokioIo<ClientSocket>>()
        .map_err(|_| io::Error::other("the connection is not a socket"))?;
    relay(parts.io.into_inner().into_stream(), parts.read_buf, upstream).await
}

/// Copies both ways. What the ends had sent before is sent first.
async fn relay(
    mut client: TcpStream,
    begun: Bytes,
    mut upstream: UpgradedUpstream,
) -> io::Result<()> {
    let (client_reads, client_writes) = client.split();
    let (upstream_reads, upstream_writes) = upstream.stream.split();
    tokio::try_join!(
        copy(client_reads, upstream_writes, begun),
        copy(upstream_reads, client_writes, upstream.begun),
    )?;
    Ok(())
}

async fn copy(from: ReadHalf<'_>, mut to: WriteHalf<'_>, begun: Bytes) -> io::Result<()> {
    if !begun.is_empty() {
        to.write_all(&begun).await?;
    }
    // An idle connection keeps no buffer.
    drop(begun);
    loop {
        from.readable().await?;
        match pass_on(&from, &to) {
            Ok(Passed::All) => {}
            Ok(Passed::Ended) => return to.shutdown().await,
            Ok(Passed::Left(rest)) => to.write_all(&rest).await?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

enum Passed {
    All,
    Ended,
    /// What the other end did not take.
    Left(Vec<u8>),
}

/// Passes on what can be read at once, through a buffer that all connections of a thread share.
fn pass_on(from: &ReadHalf<'_>, to: &WriteHalf<'_>) -> io::Result<Passed> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; RELAY_BUFFER_BYTES].into());
    }
    BUFFER.with_borrow_mut(|buffer| {
        let amount = from.try_read(buffer)?;
        if amount == 0 {
            return Ok(Passed::Ended);
        }
        let written = match to.try_write(&buffer[..amount]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written == amount {
            return Ok(Passed::All);
        }
        Ok(Passed::Left(buffer[written..amount].to_vec()))
    })
}
