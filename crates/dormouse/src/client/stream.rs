//! Reads server-sent events.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Connection;

/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Events as they come.
pub struct EventStream {
    body: Incoming,
    _connection: Connection,
    unread: Vec<u8>,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// Where to go on after it.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// What it says.
    pub data: String,
}

impl EventStream {
    pub(super) fn new(body: Incoming, connection: Connection) -> Self {
        Self { body, _connection: connection, unread: Vec::new() }
    }

    /// The next event; `None` when the stream has ended, well or not.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(event) = take_event(&mut self.unread) {
                return Some(event);
            }
            if self.unread.len() > EVENT_BYTES_MAX {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            self.unread.extend_from_slice(&data);
        }
    }
}

/// Takes the first whole event that has data. Our own API ends lines with LF alone.
pub(crate) fn take_event(unread: &mut Vec<u8>) -> Option<ServerEvent> {
    loop {
        let end = unread.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = unread.drain(..end + 2).collect();
        let event = parse(&String::from_utf8_lossy(&block));
        if !event.data.is_empty() {
            return Some(event);
        }
    }
}

fn parse(block: &str) -> ServerEvent {
    let mut event = ServerEvent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut event.name),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::take_event;

    #[test]
    fn events_are_taken_when_they_are_whole() {
        let mut unread = b"retry: 1000\n\nid: a-1\nevent: phase\ndata: {}\n\nid: a-2\nda".to_vec();
        let event = take_event(&mut unread).unwrap();
        assert_eq!((event.id.as_deref(), event.name.as_str()), (Some("a-1"), "phase"));
        assert_eq!(event.data, "{}");
        assert_eq!(take_event(&mut unread), None);
        unread.extend_from_slice(b"ta: x\ndata: y\n\n");
        assert_eq!(take_event(&mut unread).unwrap().data, "x\ny");
        assert!(unread.is_empty());
    }
}
