//! Every event of every container as the engine wrote it, by cursor: streamed or polled, resumed
//! after each end, and with what was missed said aloud.
//!
//! ```text
//! open ──▶ listening ──▶ lines ──▶ ┌ end of a poll: wait, open again
//!   ▲                              ├ cut: open again at once
//!   └── wait, doubling ◀── lost ◀──┴ cannot be opened
//! ```
//! A replay that reaches back to the last event heard leaves no gap. Where the engine remembers less
//! than that (it keeps 256 events, and forgets them when it is started anew) there is one.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::meter_error;
use super::outlet::{Heard, Outlet};
use crate::docker::client::{Call, CallError, Client, chain};
use crate::docker::endpoint::DockerEndpoint;
use crate::docker::events::{Cursor, EventTime};
use crate::docker::json::EventJson;
use crate::docker::listening::{EventStream, Retry, Until};
use crate::{EventMode, GapCause, MeterError, RawEvent, RawItem, RunChange};

/// How long a replay may take to begin.
const REPLAY_BEGINS_WITHIN: Duration = Duration::from_secs(2);
/// Lines are passed over at most this long without a look at anything else.
const LINES_AT_A_TIME: usize = 256;

/// The subscription of one receiver.
pub(super) struct RawFeed {
    client: Arc<Client>,
    mode: watch::Receiver<EventMode>,
    outlet: Outlet,
    cursor: Cursor<Key>,
    retry: Retry,
    /// Whether the receiver was last told that it is listening.
    is_listening: bool,
    /// By when the replay must have begun; none where it has, or where nothing is to be replayed.
    replay_due: Option<Instant>,
}

/// Two events with the same are the same.
type Key = (EventTime, String, String);

/// Why a turn has ended.
enum End {
    ModeChanged,
    Unheard,
    /// The engine has ended its events, or the connection was cut.
    Ended {
        has_held: bool,
        reason: MeterError,
    },
    Failed(CallError),
}

impl RawFeed {
    pub(super) fn new(
        client: Arc<Client>,
        endpoint: &DockerEndpoint,
        mode: watch::Receiver<EventMode>,
        sender: mpsc::Sender<RawItem>,
    ) -> Self {
        Self {
            client,
            mode,
            outlet: Outlet::new(sender),
            cursor: Cursor::default(),
            retry: Retry::new(endpoint),
            is_listening: false,
            replay_due: None,
        }
    }

    /// Brings events for as long as somebody takes them.
    pub(super) async fn run(mut self) {
        loop {
            let mode = *self.mode.borrow_and_update();
            let wait = match self.turn(mode).await {
                End::Unheard => return,
                End::ModeChanged => {
                    self.is_listening = false;
                    self.retry.reset();
                    continue;
                }
                End::Ended { has_held, reason } => match mode {
                    EventMode::Poll { every } => {
                        self.retry.reset();
                        every
                    }
                    EventMode::Stream => self.after_a_cut(has_held, reason),
                },
                End::Failed(error) => {
                    tracing::debug!(error = chain(&error), "Could not listen to the engine");
                    self.lose(meter_error(error, "events"))
                }
            };
            if !self.wait(wait).await {
                return;
            }
        }
    }

    /// One connection, until it ends.
    async fn turn(&mut self, mode: EventMode) -> End {
        let opened = tokio::select! {
            opened = open(&self.client, &mut self.cursor, mode) => opened,
            () = changed(&mut self.mode) => return End::ModeChanged,
            () = self.outlet.closed() => return End::Unheard,
        };
        let (mut stream, until) = match opened {
            Ok(opened) => opened,
            Err(error) => return End::Failed(error),
        };
        if !self.is_listening || mode == EventMode::Stream {
            self.outlet.tell(RawItem::Listening);
            self.is_listening = true;
        }
        self.replay_due = self
            .cursor
            .last_event()
            .filter(|last| until.is_none_or(|it| it >= *last))
            .map(|_| Instant::now() + REPLAY_BEGINS_WITHIN);
        let end = self.follow(&mut stream).await;
        // A poll that ends without the event that was heard last says the same as a replay that does
        // not begin.
        if self.replay_due.take().is_some() && until.is_some() && matches!(end, End::Ended { .. }) {
            self.say_forgotten();
        }
        end
    }

    async fn follow(&mut self, stream: &mut EventStream) -> End {
        loop {
            let filled = tokio::select! {
                filled = stream.fill() => filled,
                () = due(self.replay_due) => {
                    self.replay_due = None;
                    self.say_forgotten();
                    continue;
                }
                () = changed(&mut self.mode) => return End::ModeChanged,
                heard = self.outlet.attend() => match heard {
                    Heard::Flushed => continue,
                    Heard::Closed => return End::Unheard,
                },
            };
            let has_held = stream.has_held();
            match filled {
                Ok(true) => self.hear(stream).await,
                Ok(false) => {
                    let reason = "the engine ended its events".to_owned();
                    return End::Ended { has_held, reason: MeterError::Unreachable(reason) };
                }
                Err(error) if error.is_cut() => {
                    return End::Ended { has_held, reason: meter_error(error, "events") };
                }
                Err(error) => return End::Failed(error),
            }
        }
    }

    async fn hear(&mut self, stream: &mut EventStream) {
        let mut lines = 0;
        while let Some(line) = stream.lines.next() {
            self.on_line(line);
            lines += 1;
            if lines % LINES_AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
        }
        let too_long = stream.lines.take_skipped();
        if too_long > 0 {
            self.outlet.gap(GapCause::Unreadable { lines: too_long });
        }
    }

    fn on_line(&mut self, line: Bytes) {
        let Some(event) = Told::read(&line) else {
            return self.outlet.gap(GapCause::Unreadable { lines: 1 });
        };
        if self.replay_due.take().is_some() && self.cursor.last_event() < Some(event.at) {
            self.say_forgotten();
        }
        let key = (event.at, event.json.actor.id, event.json.action);
        if !self.cursor.is_news(event.at, key.clone()) || event.json.kind != "container" {
            return;
        }
        let (_, id, action) = key;
        let change = run_change(&action);
        let time_nanos = event.at.nanos();
        self.outlet.event(RawEvent { time_nanos, id: id.into(), change, line });
    }

    fn say_forgotten(&mut self) {
        self.cursor.forget_last_event();
        self.outlet.gap(GapCause::Forgotten);
    }

    /// A stream that had held is opened again at once and in silence; one that ends again and again
    /// is as good as none.
    fn after_a_cut(&mut self, has_held: bool, reason: MeterError) -> Duration {
        if has_held {
            self.retry.reset();
            return Duration::ZERO;
        }
        if self.retry.failures() > 0 {
            return self.lose(reason);
        }
        self.retry.delay()
    }

    fn lose(&mut self, reason: MeterError) -> Duration {
        self.is_listening = false;
        self.outlet.tell(RawItem::Lost(reason));
        self.retry.delay()
    }

    /// Waits before the next turn; whether anybody still listens.
    async fn wait(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                () = changed(&mut self.mode) => {
                    // The next turn reads it.
                    self.mode.mark_changed();
                    return true;
                }
                heard = self.outlet.attend() => match heard {
                    Heard::Flushed => {}
                    Heard::Closed => return false,
                },
            }
        }
    }
}

/// Opens the events, and says up to when for a poll.
async fn open(
    client: &Client,
    cursor: &mut Cursor<Key>,
    mode: EventMode,
) -> Result<(EventStream, Option<EventTime>), CallError> {
    match mode {
        EventMode::Stream => {
            // It may be another engine by now.
            client.forget();
            Ok((EventStream::open(client, cursor, Until::Cut).await?, None))
        }
        EventMode::Poll { .. } => {
            let now = engine_now(client).await?;
            // A clock that was set back would have nothing to tell until it has caught up.
            cursor.not_after(now);
            let stream = EventStream::open(client, cursor, Until::Time(now)).await?;
            Ok((stream, Some(now)))
        }
    }
}

/// The engine's own clock, to the second; what happened within the present one is left for later.
async fn engine_now(client: &Client) -> Result<EventTime, CallError> {
    let deadline = Instant::now() + dormouse_core::limits::ENGINE_PING_MAX;
    let said = client.time(&Call::get("ping", "/_ping".to_owned()), deadline).await?;
    let here = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(EventTime::from_secs(said.unwrap_or_else(here)))
}

/// A line that is an event.
struct Told {
    at: EventTime,
    json: EventJson,
}

impl Told {
    fn read(line: &[u8]) -> Option<Self> {
        let json: EventJson = serde_json::from_slice(line).ok()?;
        Some(Self { at: EventTime::of(&json)?, json })
    }
}

fn run_change(action: &str) -> Option<RunChange> {
    match action {
        "start" => Some(RunChange::Began),
        "die" | "died" | "destroy" | "remove" => Some(RunChange::Ended),
        _ => None,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// A mode that nobody can change any more stays as it is.
async fn changed(mode: &mut watch::Receiver<EventMode>) {
    if mode.changed().await.is_err() {
        pending().await
    }
}
