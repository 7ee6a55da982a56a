//! What the parent of a collector tells it.
//!
//! Names of fields are matched without regard to case, unknown fields are passed over, the last of
//! several fields with one name counts, and `null` leaves a field as it was. An error never repeats
//! a value: it may be a key or a token.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::EnvId;

/// One line of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectCommand {
    /// Sets, replaces or removes an environment.
    Configure(Configure),
    /// Removes an environment.
    Remove(EnvId),
    /// How often all environments are measured, in milliseconds; what is not above zero means
    /// nothing.
    SetMetricsInterval(i64),
    /// How events are had, and how often when they are asked for; what is absent stays as it was.
    SetEventMode {
        /// As a stream, or asked for.
        mode: Option<EventMode>,
        /// In milliseconds; what is not above zero means nothing.
        poll_interval_ms: Option<i64>,
    },
    /// Asks for additive messages, by their types.
    Hello(Vec<String>),
    /// The end.
    Shutdown,
    /// A type that is not known here.
    Unknown(String),
}

/// An environment as the parent describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configure {
    /// Its number.
    pub env: EnvId,
    /// For people.
    pub name: String,
    /// Where it is; absent means that the environment is removed.
    pub connection: Option<Connection>,
    /// How the parent reaches it.
    pub connection_type: String,
    /// What an agent in front of the engine asks for.
    pub hawser_token: Option<Hidden>,
}

/// Where an engine is and how to prove oneself to it. What is empty is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `socket`, `http` or `https`.
    pub kind: String,
    /// The path of a socket.
    pub socket_path: Option<String>,
    /// Name or address.
    pub host: Option<String>,
    /// 1..=65,535 where it is one.
    pub port: i64,
    /// Certificates to trust beside the system's, as PEM text.
    pub ca: Option<Hidden>,
    /// Our certificate, as PEM text.
    pub cert: Option<Hidden>,
    /// Its key, as PEM text.
    pub key: Option<Hidden>,
    /// Takes any certificate.
    pub skip_verify: bool,
}

/// How events are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMode {
    /// As they happen.
    Stream,
    /// Asked for now and then.
    Poll,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

/// A line that is no command, and why, without anything that stood in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(String);

impl CollectCommand {
    /// Reads one line.
    ///
    /// # Errors
    /// When it is not one JSON object, or a known field has a value of another kind.
    pub fn read(line: &[u8]) -> Result<Self, BadLine> {
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(BadLine("it is no JSON object".to_owned()));
        }
        // What is no text cannot matter, and must not cost the rest of the line.
        let line = String::from_utf8_lossy(line);
        let fields: Known<LineFields> =
            serde_json::from_str(&line).map_err(|error| BadLine(error.to_string()))?;
        Ok(fields.0.into())
    }
}

impl Hidden {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has to use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLine {}

/// Everything that a line can say, whatever its type.
#[derive(Default)]
struct LineFields {
    kind: String,
    configure: Configure,
    interval_ms: i64,
    mode: String,
    poll_interval_ms: i64,
    accept: Vec<String>,
}

impl From<LineFields> for CollectCommand {
    fn from(line: LineFields) -> Self {
        match line.kind.as_str() {
            "configure" => Self::Configure(line.configure),
            "remove" => Self::Remove(line.configure.env),
            "set_metrics_interval" => Self::SetMetricsInterval(line.interval_ms),
            "set_event_mode" => Self::SetEventMode {
                mode: EventMode::named(&line.mode),
                poll_interval_ms: (line.poll_interval_ms > 0).then_some(line.poll_interval_ms),
            },
            "hello" => Self::Hello(line.accept),
            "shutdown" => Self::Shutdown,
            _ => Self::Unknown(line.kind),
        }
    }
}

impl EventMode {
    fn named(name: &str) -> Option<Self> {
        match name {
            "" => None,
            "poll" => Some(Self::Poll),
            _ => Some(Self::Stream),
        }
    }
}

/// Something whose fields come one by one, with names in lower case.
trait Fields: Default {
    /// Reads the value of a field.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

impl Fields for LineFields {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "type" => set(&mut self.kind, text(map, "type")?),
            "envid" => set(&mut self.configure.env.0, number(map, "envId")?),
            "name" => set(&mut self.configure.name, text(map, "name")?),
            "connectiontype" => {
                set(&mut self.configure.connection_type, text(map, "connectionType")?);
            }
            "hawsertoken" => set_hidden(&mut self.configure.hawser_token, map, "hawserToken")?,
            "intervalms" => set(&mut self.interval_ms, number(map, "intervalMs")?),
            "mode" => set(&mut self.mode, text(map, "mode")?),
            "pollintervalms" => set(&mut self.poll_interval_ms, number(map, "pollIntervalMs")?),
            "accept" => set(&mut self.accept, value(map, "accept", "a list of strings")?),
            "config" => {
                let connection = map.next_value::<Option<Known<Connection>>>();
                let connection = connection.map_err(without_value::<A::Error>)?;
                self.configure.connection = connection.map(|known| known.0);
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Fields for Connection {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "type" => set(&mut self.kind, text(map, "config.type")?),
            "socketpath" => set_text(&mut self.socket_path, map, "config.socketPath")?,
            "host" => set_text(&mut self.host, map, "config.host")?,
            "port" => set(&mut self.port, number(map, "config.port")?),
            "ca" => set_hidden(&mut self.ca, map, "config.ca")?,
            "cert" => set_hidden(&mut self.cert, map, "config.cert")?,
            "key" => set_hidden(&mut self.key, map, "config.key")?,
            "skipverify" => {
                let skips = value(map, "config.skipVerify", "true or false")?;
                set(&mut self.skip_verify, skips);
            }
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_text<'de, A: MapAccess<'de>>(
    field: &mut Option<String>,
    map: &mut A,
    name: &str,
) -> Result<(), A::Error> {
    set(field, text(map, name)?.map(|text| Some(text).filter(|text| !text.is_empty())));
    Ok(())
}

fn set_hidden<'de, A: MapAccess<'de>>(
    field: &mut Option<Hidden>,
    map: &mut A,
    name: &str,
) -> Result<(), A::Error> {
    let text = text(map, name)?;
    set(field, text.map(|text| Some(text).filter(|text| !text.is_empty()).map(Hidden)));
    Ok(())
}

fn text<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<Option<String>, A::Error> {
    value(map, name, "a string")
}

fn number<'de, A: MapAccess<'de>>(map: &mut A, name: &str) -> Result<Option<i64>, A::Error> {
    value(map, name, "a whole number")
}

/// The value of a field. The error of the parser would repeat what stands there.
fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    kind: &str,
) -> Result<Option<T>, A::Error> {
    map.next_value().map_err(|_| A::Error::custom(format_args!("{name} must be {kind}")))
}

/// The parser repeats what stands where an object should.
fn without_value<E: serde::de::Error>(error: E) -> E {
    match error.to_string().starts_with("invalid type") {
        true => E::custom("config must be an object"),
        false => error,
    }
}

/// The known fields of an object.
struct Known<F>(F);

impl<'de, F: Fields> Deserialize<'de> for Known<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(KnownVisitor(PhantomData))
    }
}

struct KnownVisitor<F>(PhantomData<F>);

impl<'de, F: Fields> Visitor<'de> for KnownVisitor<F> {
    type Value = Known<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = F::default();
        while let Some(mut name) = map.next_key::<String>()? {
            name.make_ascii_lowercase();
            fields.read(&name, &mut map)?;
        }
        Ok(Known(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<CollectCommand, String> {
        CollectCommand::read(line.as_bytes()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn names_are_matched_without_regard_to_case_and_strangers_are_passed_over() {
        let line = r#" {"TYPE":"configure","future":[{"envId":7}],"EnvID":3,"name":"a","NAME":"b",
            "connectionType":"direct","HawserToken":"t",
            "Config":{"Type":"https","HOST":"h","Port":2376,"CA":"c","skipverify":true,"x":{}}} "#;
        let connection = Connection {
            kind: "https".into(),
            host: Some("h".into()),
            port: 2376,
            ca: Some(Hidden::new("c")),
            skip_verify: true,
            ..Connection::default()
        };
        let configure = Configure {
            env: EnvId(3),
            name: "b".into(),
            connection: Some(connection),
            connection_type: "direct".into(),
            hawser_token: Some(Hidden::new("t")),
        };
        assert_eq!(read(line), Ok(CollectCommand::Configure(configure)));
    }

    #[test]
    fn a_crash_prints_no_secret_of_a_command() {
        let line = r#"{"type":"configure","envId":3,"name":"a","hawserToken":"CANARY-token",
            "config":{"type":"https","host":"h","ca":"CANARY","cert":"CANARY","key":"CANARY"}}"#;
        let command = read(line).unwrap();
        let insist = |outcome: Result<(), CollectCommand>| outcome.expect("it goes well");
        let crash = std::panic::catch_unwind(|| insist(Err(command)));
        let said = *crash.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains("(hidden)") && !said.contains("CANARY"), "{said}");
    }

    #[test]
    fn every_type_is_read() {
        let poll = |mode, poll_interval_ms| CollectCommand::SetEventMode { mode, poll_interval_ms };
        let cases = [
            (r#"{"type":"remove","envId":-4}"#, CollectCommand::Remove(EnvId(-4))),
            (r#"{"type":"remove","envId":null}"#, CollectCommand::Remove(EnvId(0))),
            (
                r#"{"type":"set_metrics_interval","intervalMs":50}"#,
                CollectCommand::SetMetricsInterval(50),
            ),
            (
                r#"{"type":"set_event_mode","mode":"poll","pollIntervalMs":9}"#,
                poll(Some(EventMode::Poll), Some(9)),
            ),
            (r#"{"type":"set_event_mode","mode":"POLL"}"#, poll(Some(EventMode::Stream), None)),
            (r#"{"type":"set_event_mode","pollIntervalMs":-9}"#, poll(None, None)),
            (r#"{"type":"shutdown"}"#, CollectCommand::Shutdown),
            (r#"{"type":"hello","accept":["x"]}"#, CollectCommand::Hello(vec!["x".into()])),
            (r#"{"type":"Shutdown"}"#, CollectCommand::Unknown("Shutdown".into())),
            ("{}", CollectCommand::Unknown(String::new())),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn an_absent_or_null_config_is_none_and_what_is_empty_is_absent() {
        for line in [r#"{"type":"configure","envId":1}"#, r#"{"type":"configure","config":null}"#] {
            let Ok(CollectCommand::Configure(configure)) = read(line) else { panic!("{line}") };
            assert_eq!(configure.connection, None, "{line}");
        }
        let line = r#"{"type":"configure","hawserToken":"","config":{"ca":"","host":""}}"#;
        let Ok(CollectCommand::Configure(configure)) = read(line) else { panic!("{line}") };
        assert_eq!(configure.connection, Some(Connection::default()));
        assert_eq!(configure.hawser_token, None);
    }

    #[test]
    fn what_is_no_command_says_where_and_never_what_stood_there() {
        let cases = [
            ("", "it is no JSON object"),
            ("null", "it is no JSON object"),
            ("\"canary\"", "it is no JSON object"),
            ("{\"type\":\"canary", "type must be a string at line 1 column 15"),
            ("{canary}", "key must be a string at line 1 column 2"),
            ("{} canary", "trailing characters at line 1 column 4"),
            (r#"{"envId":"canary"}"#, "envId must be a whole number at line 1 column 18"),
            (r#"{"envId":1.5}"#, "envId must be a whole number at line 1 column 13"),
            (r#"{"config":{"key":["canary"]}}"#, "config.key must be a string"),
            (r#"{"config":"canary"}"#, "config must be an object"),
        ];
        for (line, expected) in cases {
            let why = read(line).expect_err(line);
            assert!(why.starts_with(expected) && !why.contains("canary"), "{line}: {why}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", read(r#"{"type":"configure","hawserToken":"canary"}"#));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
