//! What a collector tells its parent.

use std::io::{self, Write};

use serde::Serialize;

use super::{EnvId, Extra, RawJson};

/// One line of output.
#[derive(Clone, Debug, PartialEq)]
pub enum CollectReport {
    /// The first line.
    Ready,
    /// The answer to a `hello`: the additive messages that are on from now on.
    Hello(Vec<Extra>),
    /// Whether an environment answers: the first result, then changes.
    EnvStatus {
        /// Which.
        env: EnvId,
        /// Whether it does.
        online: bool,
        /// Why not.
        error: Option<String>,
    },
    /// What the containers of an environment use together.
    Metrics(EnvId, EnvironmentUse),
    /// What each container of an environment uses.
    ContainerMetrics {
        /// Which environment.
        env: EnvId,
        /// Those that could be measured.
        containers: Vec<ContainerUse>,
        /// How many could not.
        failed: usize,
    },
    /// An event of a container, as the engine wrote it.
    ContainerEvent {
        /// Whose engine.
        env: EnvId,
        /// What it wrote.
        event: RawJson,
    },
    /// Events may have been missed.
    EventsGap {
        /// Whose.
        env: EnvId,
        /// How many, where that is known.
        lost: Option<u64>,
        /// Why.
        reason: String,
    },
    /// What an environment has on its disks, as the engine wrote it.
    DiskUsage {
        /// Whose engine.
        env: EnvId,
        /// The answer of `/system/df`.
        data: RawJson,
        /// The answer of `/info`, where there was one.
        info: Option<RawJson>,
    },
    /// Something could not be done.
    Error {
        /// For which environment, if for one.
        env: Option<EnvId>,
        /// What and why.
        error: String,
    },
}

/// What an environment uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnvironmentUse {
    /// The share of the host's CPUs in use by containers, 0..=100.
    pub cpu: f64,
    /// The share of the host's memory in use by containers, 0..=100.
    pub mem_percent: f64,
    /// Bytes in use by containers.
    pub mem_used: u64,
    /// Bytes that the host has.
    pub mem_total: u64,
    /// CPUs that the host has.
    pub cpu_count: u32,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUse {
    /// The engine's id.
    pub id: String,
    /// Percent of one CPU; absent until there are two samples of one start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Bytes.
    pub mem_used: u64,
}

impl CollectReport {
    /// Whose it is.
    pub fn env(&self) -> Option<EnvId> {
        match self {
            Self::Ready | Self::Hello(_) => None,
            Self::EnvStatus { env, .. }
            | Self::Metrics(env, _)
            | Self::ContainerMetrics { env, .. }
            | Self::ContainerEvent { env, .. }
            | Self::EventsGap { env, .. }
            | Self::DiskUsage { env, .. } => Some(*env),
            Self::Error { env, .. } => *env,
        }
    }

    /// Writes the line, with its end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Ready => Line::begin(out, "ready", None)?,
            Self::Hello(extras) => {
                let names: Vec<&str> = extras.iter().map(|extra| extra.as_str()).collect();
                let version = env!("CARGO_PKG_VERSION");
                let line = Line::begin(out, "hello", None)?;
                line.with("software", "dormouse")?
                    .with("version", version)?
                    .with("accept", &names)?
            }
            Self::EnvStatus { env, online, error } => {
                let line = Line::begin(out, "env_status", Some(*env))?.with("online", online)?;
                line.with_some("error", error.as_deref())?
            }
            Self::Metrics(env, used) => used.write(Line::begin(out, "metrics", Some(*env))?)?,
            Self::ContainerMetrics { env, containers, failed } => {
                let line = Line::begin(out, "container_metrics", Some(*env))?;
                line.with("containers", containers)?.with("failed", failed)?
            }
            Self::ContainerEvent { env, event } => {
                Line::begin(out, "container_event", Some(*env))?.with_raw("event", event)?
            }
            Self::EventsGap { env, lost, reason } => {
                let line = Line::begin(out, "events_gap", Some(*env))?;
                line.with("error", reason)?.with_some("lost", lost.as_ref())?
            }
            Self::DiskUsage { env, data, info } => {
                let line = Line::begin(out, "disk_usage", Some(*env))?.with_raw("data", data)?;
                match info {
                    Some(info) => line.with_raw("info", info)?,
                    None => line,
                }
            }
            Self::Error { env, error } => Line::begin(out, "error", *env)?.with("error", error)?,
        }
        .end()
    }
}

impl EnvironmentUse {
    /// Whether it says something: a line with a figure that is none would be no JSON.
    pub fn is_sound(&self) -> bool {
        self.cpu.is_finite() && self.mem_percent.is_finite() && self.mem_total > 0
    }

    fn write<'a, W: Write>(&self, line: Line<'a, W>) -> io::Result<Line<'a, W>> {
        line.with("cpu", &self.cpu)?
            .with("memPercent", &self.mem_percent)?
            .with("memUsed", &self.mem_used)?
            .with("memTotal", &self.mem_total)?
            .with("cpuCount", &self.cpu_count)
    }
}

/// A line that is being written. The order of the fields is a part of the contract.
struct Line<'a, W>(&'a mut W);

impl<'a, W: Write> Line<'a, W> {
    fn begin(out: &'a mut W, kind: &str, env: Option<EnvId>) -> io::Result<Self> {
        write!(out, "{{\"type\":\"{kind}\"")?;
        let line = Self(out);
        line.with_some("envId", env.filter(|env| env.0 != 0).map(|env| env.0).as_ref())
    }

    fn with(self, name: &str, value: &(impl Serialize + ?Sized)) -> io::Result<Self> {
        write!(self.0, ",\"{name}\":")?;
        serde_json::to_writer(&mut *self.0, value)?;
        Ok(self)
    }

    fn with_some(self, name: &str, value: Option<&(impl Serialize + ?Sized)>) -> io::Result<Self> {
        match value {
            Some(value) => self.with(name, value),
            None => Ok(self),
        }
    }

    fn with_raw(self, name: &str, value: &RawJson) -> io::Result<Self> {
        write!(self.0, ",\"{name}\":")?;
        self.0.write_all(value.as_bytes())?;
        Ok(self)
    }

    fn end(self) -> io::Result<()> {
        self.0.write_all(b"}\n")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn json(text: &'static str) -> RawJson {
        RawJson::read(Bytes::from_static(text.as_bytes())).expect("it is JSON")
    }

    #[test]
    fn every_line_has_its_fields_in_their_order_and_nothing_that_is_empty() {
        let env = EnvId(7);
        let figures =
            EnvironmentUse { cpu: 0.0, mem_percent: 12.5, mem_used: 0, mem_total: 8, cpu_count: 2 };
        let containers = vec![ContainerUse { id: "c".into(), cpu: None, mem_used: 1 }];
        let cases = [
            (CollectReport::Ready, r#"{"type":"ready"}"#),
            (
                CollectReport::EnvStatus { env, online: false, error: Some("no \"way\"\n".into()) },
                r#"{"type":"env_status","envId":7,"online":false,"error":"no \"way\"\n"}"#,
            ),
            (
                CollectReport::EnvStatus { env: EnvId(0), online: true, error: None },
                r#"{"type":"env_status","online":true}"#,
            ),
            (
                CollectReport::Metrics(env, figures),
                r#"{"type":"metrics","envId":7,"cpu":0.0,"memPercent":12.5,"memUsed":0,"memTotal":8,"cpuCount":2}"#,
            ),
            (
                CollectReport::ContainerEvent { env, event: json(r#"{"Type": "container"}"#) },
                r#"{"type":"container_event","envId":7,"event":{"Type":"container"}}"#,
            ),
            (
                CollectReport::DiskUsage { env, data: json("{}"), info: Some(json("[1]")) },
                r#"{"type":"disk_usage","envId":7,"data":{},"info":[1]}"#,
            ),
            (
                CollectReport::DiskUsage { env, data: json("{}"), info: None },
                r#"{"type":"disk_usage","envId":7,"data":{}}"#,
            ),
            (
                CollectReport::Error { env: None, error: "configure: x".into() },
                r#"{"type":"error","error":"configure: x"}"#,
            ),
            (
                CollectReport::ContainerMetrics { env, containers, failed: 1 },
                r#"{"type":"container_metrics","envId":7,"containers":[{"id":"c","memUsed":1}],"failed":1}"#,
            ),
            (
                CollectReport::EventsGap { env, lost: Some(3), reason: "late".into() },
                r#"{"type":"events_gap","envId":7,"error":"late","lost":3}"#,
            ),
        ];
        for (report, expected) in cases {
            let mut line = Vec::new();
            report.write(&mut line).expect("memory takes everything");
            assert_eq!(String::from_utf8_lossy(&line), format!("{expected}\n"));
        }
    }
}
