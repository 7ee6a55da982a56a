//! The receiver's end of the raw events: never waits for the receiver, and owes it what it did not
//! take in time.

use dormouse_core::limits;
use tokio::sync::mpsc;

use crate::{Gap, GapCause, RawEvent, RawItem};

/// Sends what there is room for and remembers what there was no room for.
pub(super) struct Outlet {
    sender: mpsc::Sender<RawItem>,
    /// The last event that was sent.
    last_nanos: Option<i64>,
    missed: u64,
    unreadable: u64,
    is_forgotten: bool,
    /// Whether it is listening or has lost the engine, where that has changed since it was last
    /// told.
    standing: Option<RawItem>,
}

/// What became of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was sent something that it was owed.
    Flushed,
    /// It is gone.
    Closed,
}

impl Outlet {
    pub(super) fn new(sender: mpsc::Sender<RawItem>) -> Self {
        debug_assert!(sender.max_capacity() <= limits::METER_EVENTS_QUEUE);
        Self {
            sender,
            last_nanos: None,
            missed: 0,
            unreadable: 0,
            is_forgotten: false,
            standing: None,
        }
    }

    pub(super) fn event(&mut self, event: RawEvent) {
        let time_nanos = event.time_nanos;
        if self.owes() || self.sender.try_send(RawItem::Event(event)).is_err() {
            self.missed += 1;
        } else {
            self.last_nanos = Some(time_nanos);
        }
    }

    /// Says that it is listening, or that it is not.
    pub(super) fn tell(&mut self, standing: RawItem) {
        if self.owes() {
            self.standing = Some(standing);
        } else if let Err(unsent) = self.sender.try_send(standing) {
            self.standing = Some(unsent.into_inner());
        }
    }

    pub(super) fn gap(&mut self, cause: GapCause) {
        match cause {
            GapCause::Forgotten => self.is_forgotten = true,
            GapCause::Overrun { events } => self.missed += events,
            GapCause::Unreadable { lines } => self.unreadable += lines,
        }
        while self.owes()
            && let Ok(permit) = self.sender.clone().try_reserve_owned()
        {
            permit.send(self.pop().expect("something is owed"));
        }
    }

    /// Sends something that is owed once there is room, or waits for the receiver to go.
    pub(super) async fn attend(&mut self) -> Heard {
        if !self.owes() {
            self.sender.closed().await;
            return Heard::Closed;
        }
        match self.sender.clone().reserve_owned().await {
            Ok(permit) => {
                permit.send(self.pop().expect("something is owed"));
                Heard::Flushed
            }
            Err(_) => Heard::Closed,
        }
    }

    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    fn owes(&self) -> bool {
        self.missed > 0 || self.unreadable > 0 || self.is_forgotten || self.standing.is_some()
    }

    /// Gaps come before what is told: whoever lists because of them lists what is there now.
    fn pop(&mut self) -> Option<RawItem> {
        let gap = |cause| RawItem::Gap(Gap { since_nanos: self.last_nanos, cause });
        if self.is_forgotten {
            self.is_forgotten = false;
            return Some(gap(GapCause::Forgotten));
        }
        if self.missed > 0 {
            return Some(gap(GapCause::Overrun { events: std::mem::take(&mut self.missed) }));
        }
        if self.unreadable > 0 {
            return Some(gap(GapCause::Unreadable { lines: std::mem::take(&mut self.unreadable) }));
        }
        self.standing.take()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::MeterError;

    fn event(time_nanos: i64) -> RawEvent {
        RawEvent { time_nanos, id: "c".into(), change: None, line: Bytes::new() }
    }

    fn said(receiver: &mut mpsc::Receiver<RawItem>) -> Vec<String> {
        let mut said = Vec::new();
        while let Ok(item) = receiver.try_recv() {
            said.push(match item {
                RawItem::Listening => "listening".to_owned(),
                RawItem::Event(event) => event.time_nanos.to_string(),
                RawItem::Gap(gap) => format!("{:?} since {:?}", gap.cause, gap.since_nanos),
                RawItem::Lost(error) => format!("lost: {error}"),
            });
        }
        said
    }

    #[tokio::test]
    async fn a_receiver_that_is_too_slow_is_told_how_much_it_missed_and_how_things_stand() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut outlet = Outlet::new(sender);
        for time in 1..=5 {
            outlet.event(event(time));
        }
        outlet.tell(RawItem::Lost(MeterError::Gone));
        outlet.tell(RawItem::Listening);
        assert_eq!(said(&mut receiver), ["1", "2"]);
        assert_eq!(outlet.attend().await, Heard::Flushed);
        outlet.event(event(6));
        assert_eq!(outlet.attend().await, Heard::Flushed);
        assert_eq!(
            said(&mut receiver),
            ["Overrun { events: 3 } since Some(2)", "Overrun { events: 1 } since Some(2)"]
        );
        assert_eq!(outlet.attend().await, Heard::Flushed);
        outlet.event(event(7));
        assert_eq!(said(&mut receiver), ["listening", "7"]);
        drop(receiver);
        assert_eq!(outlet.attend().await, Heard::Closed);
    }

    #[tokio::test]
    async fn a_gap_is_said_at_once_where_there_is_room() {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut outlet = Outlet::new(sender);
        outlet.event(event(9));
        outlet.gap(GapCause::Forgotten);
        outlet.gap(GapCause::Unreadable { lines: 2 });
        assert_eq!(
            said(&mut receiver),
            ["9", "Forgotten since Some(9)", "Unreadable { lines: 2 } since Some(9)"]
        );
    }
}
