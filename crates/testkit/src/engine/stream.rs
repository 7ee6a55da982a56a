//! The body of `/events`: what is remembered, then what happens, with the faults of the moment.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http_body::Frame;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::events::{Event, Filters};
use super::faults::EventFaults;
use super::shared::{Refusal, Shared};

/// How long an event that is to be overtaken waits for another one.
const OVERTAKE_WITHIN: Duration = Duration::from_millis(50);

/// One subscriber.
pub(super) struct Reader {
    shared: Arc<Shared>,
    filters: Filters,
    past: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    until: Option<Instant>,
    cuts: watch::Receiver<u64>,
    overtaken: Option<Arc<Event>>,
    lines: VecDeque<Bytes>,
}

/// What a reader comes upon next.
enum Next {
    Event(Arc<Event>),
    Overtake,
    End,
    Cut,
}

/// The moments between which events are asked for, as written.
pub(super) struct Window<'a> {
    pub(super) since: Option<&'a str>,
    pub(super) until: Option<&'a str>,
}

impl Reader {
    /// Subscribes; nothing is missed from here on.
    pub(super) fn open(
        shared: &Arc<Shared>,
        window: &Window<'_>,
        filters: Filters,
    ) -> Result<Self, Refusal> {
        let since = window.since.filter(|text| !text.is_empty()).map(nanos).transpose()?;
        let until = window.until.filter(|text| !text.is_empty()).map(nanos).transpose()?;
        if let (Some(since), Some(until)) = (since, until)
            && since > until
        {
            let (since, until) = (since / 1_000_000_000, until / 1_000_000_000);
            let message = format!("`since` time ({since}) cannot be after `until` time ({until})");
            return Err(Refusal::new(400, message));
        }
        let cuts = shared.faults.cuts();
        let mut world = shared.world();
        let now_ns = world.now_ns();
        let (mut past, live) = world.events.subscribe(since);
        past.retain(|event| until.is_none_or(|until| event.time_nano <= until));
        let until =
            until.map(|at| Instant::now() + Duration::from_nanos(at.saturating_sub(now_ns)));
        drop(world);
        Ok(Self {
            shared: Arc::clone(shared),
            filters,
            past,
            live,
            until,
            cuts,
            overtaken: None,
            lines: VecDeque::new(),
        })
    }

    /// The body's frames.
    pub(super) fn frames(self) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
        unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next_line().await {
                Some(Ok(line)) => Some((Ok(Frame::data(line)), Some(reader))),
                Some(Err(cut)) => Some((Err(cut), None)),
                None => None,
            }
        })
    }

    async fn next_line(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            match self.next().await {
                Next::Event(event) => self.take(event).await,
                Next::Overtake => {
                    let overtaken = self.overtaken.take();
                    self.lines.extend(overtaken.map(|event| Bytes::from(event.line())));
                }
                Next::End => return None,
                Next::Cut => return Some(Err(io::Error::other("the stream was cut"))),
            }
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(event) = self.past.pop_front() {
            return Next::Event(event);
        }
        let overtaken = self.overtaken.is_some();
        let until = self.until;
        tokio::select! {
            biased;
            _ = self.cuts.changed() => Next::Cut,
            event = receive(&mut self.live) => event.map_or(Next::Cut, Next::Event),
            () = sleep(OVERTAKE_WITHIN), if overtaken => Next::Overtake,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => Next::End,
        }
    }

    /// Turns an event into the lines that this reader gets to see of it.
    async fn take(&mut self, event: Arc<Event>) {
        if !self.filters.admit_event(&event) {
            return;
        }
        let faults = self.shared.faults.events();
        if faults.hits(faults.lost, event.time_nano, 1) {
            return;
        }
        if !faults.delay.is_zero() {
            let due = Duration::from_nanos(event.time_nano) + faults.delay;
            let now = Duration::from_nanos(self.shared.world().now_ns());
            sleep(due.saturating_sub(now)).await;
        }
        if self.overtaken.is_none() && faults.hits(faults.reordered, event.time_nano, 2) {
            self.overtaken = Some(event);
            return;
        }
        self.write(&event, &faults);
        let overtaken = self.overtaken.take();
        self.lines.extend(overtaken.map(|event| Bytes::from(event.line())));
    }

    fn write(&mut self, event: &Event, faults: &EventFaults) {
        if faults.hits(faults.garbage, event.time_nano, 3) {
            self.lines.push_back(Bytes::from_static(b"{\"status\":\"start\",\"id\":\xff\xfe,,}\n"));
        }
        if faults.hits(faults.long, event.time_nano, 4) {
            let padding = "x".repeat(faults.long_bytes);
            self.lines.push_back(Bytes::from(format!("{{\"status\":\"{padding}\"}}\n")));
        }
        let line = Bytes::from(event.line());
        if faults.hits(faults.doubled, event.time_nano, 5) {
            self.lines.push_back(line.clone());
        }
        self.lines.push_back(line);
    }
}

/// The next live event; what a slow reader missed is not repeated.
async fn receive(live: &mut broadcast::Receiver<Arc<Event>>) -> Option<Arc<Event>> {
    loop {
        match live.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// Reads `seconds` or `seconds.nanoseconds`.
fn nanos(text: &str) -> Result<u64, Refusal> {
    let invalid = |part: &str| {
        Refusal::new(500, format!("strconv.ParseInt: parsing \"{part}\": invalid syntax"))
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: u64 = seconds.parse().map_err(|_| invalid(seconds))?;
    let padded = format!("{fraction:0<9}");
    let fraction: u64 =
        padded.get(..9).and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid(fraction))?;
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(fraction))
}
