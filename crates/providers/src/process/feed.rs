//! One subscription: a listing, then every change, and a listing again when some were missed.
//!
//! Nothing is listed now and then: a change cannot be lost on the way, for there is no way. Whoever
//! falls behind is told so, and what happens to a process is looked at by the table itself.

use std::sync::Arc;

use dormouse_core::limits::FEED_QUEUE;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::table::Table;
use crate::provider::{FeedItem, Found};

/// A subscription and the task that fills it. Changes count from this call on.
pub(super) fn subscribe(
    table: Arc<Table>,
) -> (impl Future<Output = ()> + Send + 'static, mpsc::Receiver<FeedItem>) {
    let (sender, receiver) = mpsc::channel(FEED_QUEUE);
    let changes = table.changes();
    let pump = async move {
        // An error means that nobody listens any more.
        let _ = pump(&table, changes, &sender).await;
    };
    (pump, receiver)
}

async fn pump(
    table: &Table,
    mut changes: broadcast::Receiver<Found>,
    sender: &mpsc::Sender<FeedItem>,
) -> Result<(), SendError<FeedItem>> {
    let mut listed_at = list(table, sender).await?;
    loop {
        tokio::select! {
            biased;
            () = sender.closed() => return Ok(()),
            change = changes.recv() => match change {
                // The listing knew better.
                Ok(found) if found.sighting.as_of < listed_at => {}
                Ok(found) => sender.send(FeedItem::Changed(found)).await?,
                Err(RecvError::Lagged(_)) => listed_at = list(table, sender).await?,
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// Sends everything; answers when the listing began.
async fn list(
    table: &Table,
    sender: &mpsc::Sender<FeedItem>,
) -> Result<Instant, SendError<FeedItem>> {
    let began = Instant::now();
    let listing = table.list();
    sender.send(FeedItem::Resync).await?;
    for found in listing {
        sender.send(FeedItem::Listed(found)).await?;
    }
    sender.send(FeedItem::ResyncDone).await?;
    Ok(began)
}
