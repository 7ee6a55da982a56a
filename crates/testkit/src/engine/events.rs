//! The engine's events: a short memory, a live stream, and the filters of a subscriber.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Events that the engine remembers, of all kinds together.
pub(super) const MEMORY: usize = 256;
/// Live events that the engine keeps for a slow reader. When it has fallen behind so far, each
/// further one waits for it, and is not kept for it.
const READER_QUEUE: usize = 1024;
/// How long an event waits for a reader that has fallen behind (moby's `pubsub`, as its events use
/// it); for several of them at the same time.
const READER_WAIT: Duration = Duration::from_millis(100);

/// One event, in the shape and key order in which the engine prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// The old name of the action; absent for what is not a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The old place of the id; absent for what is not a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The image; absent for what is not a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `container` or `network`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened, such as `die`.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Unix seconds.
    pub time: u64,
    /// Unix nanoseconds; no two events of an engine have the same.
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

/// What an event happened to.
#[derive(Clone, Debug, Serialize)]
pub struct Actor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels, name, image, and what the action adds.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// What the engine remembers, and where it goes on.
pub(super) struct EventLog {
    memory: VecDeque<Arc<Event>>,
    live: broadcast::Sender<Arc<Event>>,
    held_up: usize,
    /// Those of them that nobody has waited for yet.
    owed: u32,
}

/// The `filters` of a request: key to accepted values.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Event {
    /// An event of a container.
    pub(super) fn of_container(
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
        at_ns: u64,
    ) -> Self {
        Self {
            status: Some(action.to_owned()),
            id: Some(id.to_owned()),
            from: attributes.get("image").cloned(),
            ..Self::of_kind("container", action, Actor { id: id.to_owned(), attributes }, at_ns)
        }
    }

    /// An event of anything else.
    pub(super) fn of_kind(kind: &str, action: &str, actor: Actor, at_ns: u64) -> Self {
        Self {
            status: None,
            id: None,
            from: None,
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            scope: "local".to_owned(),
            time: at_ns / 1_000_000_000,
            time_nano: at_ns,
        }
    }

    /// The name of the container, or of the network.
    pub fn name(&self) -> &str {
        self.actor.attributes.get("name").map_or("", String::as_str)
    }

    /// The line as it is sent.
    pub(super) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("an event has only string keys");
        line.push('\n');
        line
    }
}

impl EventLog {
    pub(super) fn new() -> Self {
        let live = broadcast::Sender::new(READER_QUEUE);
        Self { memory: VecDeque::with_capacity(MEMORY), live, held_up: 0, owed: 0 }
    }

    pub(super) fn publish(&mut self, event: Arc<Event>) {
        if self.memory.len() == MEMORY {
            self.memory.pop_front();
        }
        self.memory.push_back(Arc::clone(&event));
        if self.unread() == READER_QUEUE {
            self.held_up += 1;
            self.owed += 1;
        }
        // Nobody listening is no error.
        let _ = self.live.send(event);
    }

    /// What is remembered from `since_ns` on, inclusive, and everything after it.
    pub(super) fn subscribe(
        &self,
        since_ns: Option<u64>,
    ) -> (VecDeque<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = since_ns.map_or_else(VecDeque::new, |since| {
            self.memory.iter().filter(|event| event.time_nano >= since).cloned().collect()
        });
        (past, self.live.subscribe())
    }

    /// As many as the slowest reader has not read.
    pub(super) fn unread(&self) -> usize {
        self.live.len()
    }

    pub(super) fn held_up(&self) -> usize {
        self.held_up
    }

    /// How long whoever caused the last events has to wait for their readers.
    pub(super) fn take_owed(&mut self) -> Duration {
        READER_WAIT * std::mem::take(&mut self.owed)
    }

    pub(super) fn forget(&mut self) {
        self.memory.clear();
    }
}

impl Filters {
    /// Reads `{"key":["value"]}` and the older `{"key":{"value":true}}`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("filters must be an object")?;
        let mut filters = BTreeMap::new();
        for (key, values) in object {
            let values = match values {
                Value::Array(list) => {
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                Value::Object(map) => map.keys().cloned().collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(format!("invalid filter '{key}'"));
                }
            };
            filters.insert(key.clone(), values);
        }
        Ok(Self(filters))
    }

    /// Whether `accepts` holds for one of the values of `key`, or `key` is not filtered at all.
    pub(super) fn admit(&self, key: &str, accepts: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| {
            values.is_empty() || values.iter().any(|value| accepts(value.as_str()))
        })
    }

    /// Whether every value of `key` is accepted.
    pub(super) fn admit_every(&self, key: &str, accepts: impl Fn(&str) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().all(|value| accepts(value.as_str())))
    }

    /// Whether `key` is filtered.
    pub(super) fn names(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|values| !values.is_empty())
    }

    pub(super) fn admit_event(&self, event: &Event) -> bool {
        let attributes = &event.actor.attributes;
        self.admit("type", |kind| kind == event.kind)
            && self.admit("event", |action| {
                action == event.action
                    || event.action.split(": ").next().is_some_and(|head| head == action)
            })
            && self.admit("container", |wanted| {
                event.kind == "container"
                    && (event.name() == wanted.trim_start_matches('/')
                        || event.actor.id.starts_with(wanted))
            })
            && self.admit("image", |image| event.from.as_deref() == Some(image))
            && self.admit_every("label", |label| label_matches(attributes, label))
    }
}

/// Whether `labels` carry `wanted`, which is `key` or `key=value`.
pub(super) fn label_matches(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}
