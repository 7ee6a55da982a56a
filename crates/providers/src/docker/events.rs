//! The engine's event stream: lines, what they say, and which were heard before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use bytes::{Bytes, BytesMut};
use dormouse_core::limits;

use super::json::EventJson;
use crate::Target;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// The engine replays at most this many events.
const REPLAY_MAX: usize = 256;
/// A replay begins this much before the last event: two that happen at once may be told in the order
/// in which they did not happen.
const OVERLAP_NANOS: i64 = NANOS_PER_SECOND;
/// What the engine writes among the labels of an event.
const ATTRIBUTES: [&str; 8] = [
    "image",
    "name",
    "exitCode",
    "containerExitCode",
    "signal",
    "oldName",
    "execDuration",
    "healthStatus",
];

/// When something happened, on the engine's clock, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventTime(i64);

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: EventTime,
    pub(super) id: String,
    pub(super) target: Target,
    pub(super) action: Action,
    pub(super) labels: BTreeMap<String, String>,
}

/// What happened, as far as it can change what an inspect shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Created,
    Started,
    Died {
        exit_code: Option<i32>,
    },
    Destroyed,
    Renamed {
        from: Option<Target>,
    },
    /// Stopped, paused, unpaused, restarted, out of memory, another health.
    Changed,
}

/// What one line turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Event(Event),
    /// An event that changes nothing, such as a signal or an exec; its time counts all the same.
    Aside(EventTime),
    /// No event at all.
    Nonsense,
}

impl EventTime {
    /// When an event happened; `None` where it does not say, or says nonsense.
    pub(super) fn of(json: &EventJson) -> Option<Self> {
        let nanos = if json.time_nano > 0 {
            json.time_nano
        } else {
            json.time.saturating_mul(NANOS_PER_SECOND)
        };
        (nanos > 0).then_some(Self(nanos))
    }

    /// Nanoseconds since 1970.
    pub(super) fn nanos(self) -> i64 {
        self.0
    }

    fn earlier(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    pub(super) fn from_secs(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_SECOND))
    }
}

/// As `since` takes it.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND)
    }
}

impl Line {
    pub(super) fn parse(line: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<EventJson>(line) else {
            return Self::Nonsense;
        };
        let Some(at) = EventTime::of(&json) else {
            return Self::Nonsense;
        };
        Event::read(at, json).map_or(Self::Aside(at), Self::Event)
    }
}

impl Event {
    fn read(at: EventTime, json: EventJson) -> Option<Self> {
        let mut attributes = json.actor.attributes;
        let action = Action::read(&json.action, |key: &str| {
            attributes.get(key).map(|value| value.0.as_str())
        })?;
        if json.kind != "container" {
            return None;
        }
        let target = Target::new(attributes.get("name")?.0.trim_start_matches('/'));
        attributes.retain(|key, _| !ATTRIBUTES.contains(&key.as_str()));
        let labels = attributes.into_iter().map(|(key, value)| (key, value.0)).collect();
        Some(Self { at, id: json.actor.id, target, action, labels })
    }
}

impl Action {
    /// `kill` is not among them: a signal need not end anything, and what it ends also dies.
    fn read<'a>(name: &str, attribute: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        match name {
            "create" => Some(Self::Created),
            "start" => Some(Self::Started),
            "die" | "died" => {
                let code = attribute("exitCode").or_else(|| attribute("containerExitCode"));
                Some(Self::Died { exit_code: code.and_then(|code| code.parse().ok()) })
            }
            "destroy" | "remove" => Some(Self::Destroyed),
            "rename" => {
                let from = attribute("oldName").map(|name| name.trim_start_matches('/'));
                Some(Self::Renamed { from: from.map(Target::new) })
            }
            "stop" | "pause" | "unpause" | "restart" | "oom" | "update" => Some(Self::Changed),
            _ if name.starts_with("health_status") => Some(Self::Changed),
            _ => None,
        }
    }
}

/// Cuts a stream into lines, and passes over those that are too long to be kept.
#[derive(Default)]
pub(super) struct Lines {
    partial: BytesMut,
    /// How much of `partial` is known to hold no end of a line.
    searched: usize,
    too_long: bool,
    skipped: u64,
}

impl Lines {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.partial.extend_from_slice(piece);
    }

    /// The next whole line, without its end. Call until `None` after each push.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        loop {
            let fresh = &self.partial[self.searched..];
            let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.keep_partial();
                return None;
            };
            let mut line = self.partial.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            let too_long = std::mem::take(&mut self.too_long);
            if !too_long && !line.trim_ascii().is_empty() {
                return Some(line.freeze());
            }
        }
    }

    /// How many lines were too long, since the last time this was asked.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    fn keep_partial(&mut self) {
        if self.partial.len() > limits::ENGINE_EVENT_BYTES_MAX {
            self.skipped += u64::from(!self.too_long);
            self.too_long = true;
        }
        if self.too_long {
            self.partial.clear();
        }
        self.searched = self.partial.len();
    }
}

/// How far the events were heard, and the last of them, so that a replay is not taken for news. A
/// key is what makes two events the same.
pub(super) struct Cursor<K> {
    reached: Option<EventTime>,
    /// Whether it was an event that reached it.
    is_exact: bool,
    heard: Heard<K>,
}

struct Heard<K> {
    keys: BTreeSet<K>,
    order: VecDeque<K>,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        let heard = Heard { keys: BTreeSet::new(), order: VecDeque::new() };
        Self { reached: None, is_exact: false, heard }
    }
}

impl<K: Ord + Clone> Cursor<K> {
    /// Says when listening began; nothing changes where something was heard before.
    pub(super) fn begin(&mut self, at: Option<EventTime>) {
        self.reached = self.reached.or(at);
    }

    /// From where the engine is to replay.
    pub(super) fn since(&self) -> Option<EventTime> {
        let overlap = if self.is_exact { OVERLAP_NANOS } else { 0 };
        self.reached.map(|reached| reached.earlier(overlap))
    }

    /// The last event heard.
    pub(super) fn last_event(&self) -> Option<EventTime> {
        self.reached.filter(|_| self.is_exact)
    }

    /// Something happened that nobody need remember.
    pub(super) fn pass(&mut self, at: EventTime) {
        self.reached = self.reached.max(Some(at));
        self.is_exact = true;
    }

    /// Whether this is the first time that it is heard.
    pub(super) fn is_news(&mut self, at: EventTime, key: K) -> bool {
        self.pass(at);
        self.heard.is_news(key)
    }

    /// Does not expect the last event in a replay any more.
    pub(super) fn forget_last_event(&mut self) {
        self.is_exact = false;
    }

    /// Comes back from a time that the engine's clock has not reached.
    pub(super) fn not_after(&mut self, now: EventTime) {
        if self.reached.is_some_and(|reached| reached.earlier(OVERLAP_NANOS) > now) {
            self.reached = Some(now);
            self.is_exact = false;
        }
    }
}

impl<K: Ord + Clone> Heard<K> {
    fn is_news(&mut self, key: K) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REPLAY_MAX {
            let oldest = self.order.pop_front().expect("it is longer than nothing");
            self.keys.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIE: &str = r#"{"status":"die","id":"c1","from":"i","Type":"container","Action":"die",
        "Actor":{"ID":"c1","Attributes":{"image":"i","name":"app","exitCode":"137","dormouse.enable":"true"}},
        "scope":"local","time":1795201190,"timeNano":1795201190249234627}"#;

    fn event(action: &str, attributes: &str) -> Line {
        let text = format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"c1","Attributes":{{"name":"app"{attributes}}}}},"time":5}}"#
        );
        Line::parse(text.as_bytes())
    }

    fn action(action: &str, attributes: &str) -> Option<Action> {
        match event(action, attributes) {
            Line::Event(event) => Some(event.action),
            Line::Aside(_) | Line::Nonsense => None,
        }
    }

    #[test]
    fn an_event_carries_its_time_its_name_and_its_labels() {
        let Line::Event(event) = Line::parse(DIE.as_bytes()) else { panic!("it is an event") };
        assert_eq!(event.at.to_string(), "1795201190.249234627");
        assert_eq!(event.target.as_str(), "app");
        assert_eq!(event.action, Action::Died { exit_code: Some(137) });
        assert_eq!(
            event.labels.into_iter().collect::<Vec<_>>(),
            [("dormouse.enable".to_owned(), "true".to_owned())]
        );
    }

    #[test]
    fn only_what_can_change_a_look_is_an_event() {
        assert_eq!(action("create", ""), Some(Action::Created));
        assert_eq!(action("health_status: healthy", ""), Some(Action::Changed));
        assert_eq!(
            action("rename", r#","oldName":"/was""#),
            Some(Action::Renamed { from: Some(Target::new("was")) })
        );
        assert_eq!(
            action("died", r#","containerExitCode":3"#),
            Some(Action::Died { exit_code: Some(3) })
        );
        for aside in ["kill", "exec_create: sh", "exec_die", "top", "attach", ""] {
            assert_eq!(event(aside, ""), Line::Aside(EventTime::from_secs(5)), "{aside}");
        }
    }

    #[test]
    fn what_is_no_event_is_nonsense() {
        for text in ["", "{", "[]", "{}", r#"{"Type":"container","Action":"die"}"#, "\u{0}"] {
            assert_eq!(Line::parse(text.as_bytes()), Line::Nonsense, "{text}");
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for piece_bytes in [1, 2, 3, 100] {
            let mut lines = Lines::default();
            let mut read = Vec::new();
            for piece in b"one\n\n  \r\ntwo\r\nthree".chunks(piece_bytes) {
                lines.push(piece);
                while let Some(line) = lines.next() {
                    read.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(read, ["one", "two\r"], "{piece_bytes}");
        }
    }

    #[test]
    fn a_line_without_end_is_passed_over_and_counted() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            lines.push(&piece);
            assert_eq!(lines.next(), None);
            assert!(lines.partial.len() <= limits::ENGINE_EVENT_BYTES_MAX);
        }
        lines.push(b"xx\nnext\n");
        assert_eq!(lines.next().as_deref(), Some(b"next".as_slice()));
        assert_eq!((lines.take_skipped(), lines.take_skipped()), (1, 0));
    }

    #[test]
    fn a_replayed_event_is_no_news() {
        let Line::Event(event) = Line::parse(DIE.as_bytes()) else { panic!("it is an event") };
        let mut cursor = Cursor::default();
        let mut is_news = |at: EventTime| cursor.is_news(at, (at, event.id.clone()));
        assert!(is_news(event.at));
        assert!(!is_news(event.at));
        for nanos in 1..=i64::try_from(REPLAY_MAX).unwrap() {
            assert!(is_news(EventTime(nanos)));
        }
        assert!(is_news(event.at));
        assert_eq!(cursor.heard.keys.len(), REPLAY_MAX);
        assert_eq!(cursor.last_event(), Some(event.at), "an older one does not turn it back");
    }

    #[test]
    fn a_replay_begins_a_little_before_the_last_event_and_at_the_beginning_before_any() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.since(), None);
        cursor.begin(Some(EventTime::from_secs(100)));
        cursor.begin(Some(EventTime::from_secs(50)));
        assert_eq!(cursor.since(), Some(EventTime::from_secs(100)));
        cursor.is_news(EventTime::from_secs(200), ());
        assert_eq!(cursor.since(), Some(EventTime::from_secs(199)));
        cursor.not_after(EventTime::from_secs(199));
        assert_eq!(cursor.last_event(), Some(EventTime::from_secs(200)));
        cursor.not_after(EventTime::from_secs(198));
        assert_eq!((cursor.last_event(), cursor.since()), (None, Some(EventTime::from_secs(198))));
    }
}
