//! A POST of JSON to somebody who wants to know, tried a few times.

use std::time::Duration;

use bytes::Bytes;
use dormouse_core::backoff::Backoff;
use dormouse_core::limits;
use tokio::time::{sleep, timeout};

use super::service::{Probe, Unreached};

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It was refused, or could not be sent.
    #[error("{0}")]
    Refused(#[source] Unreached),
    /// There was no answer.
    #[error("no answer within {:?}", limits::WEBHOOK_ATTEMPT_MAX)]
    Late,
}

/// Sends `json` to where the probe points, until one answer counts as reached by it.
///
/// # Errors
/// With what the last of the attempts met.
pub async fn post(probe: &Probe, json: Bytes) -> Result<(), WebhookError> {
    let pauses = Backoff::doubling(limits::WEBHOOK_RETRY_DELAY_MIN, limits::WEBHOOK_ATTEMPT_MAX);
    let mut attempt: u32 = 1;
    loop {
        let sent = timeout(limits::WEBHOOK_ATTEMPT_MAX, probe.post(json.clone())).await;
        let error = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => WebhookError::Refused(error),
            Err(_) => WebhookError::Late,
        };
        if attempt >= limits::WEBHOOK_ATTEMPTS_MAX {
            return Err(error);
        }
        let pause: Duration = pauses.delay(attempt);
        tracing::debug!(%error, attempt, "Trying a webhook again");
        sleep(pause).await;
        attempt += 1;
    }
}
