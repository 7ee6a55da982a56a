//! The engine's answer to a question for one container's counters: only the fields that are
//! counted, borrowed from the bytes of the answer.

use std::borrow::Cow;

use dormouse_core::usage::{RawSample, Traffic};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::MeterError;

/// Whose processor time an engine's `system_cpu_usage` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::docker) enum SystemTime {
    /// The host's.
    OfTheHost,
    /// Something else; wall time has to stand in for it.
    OfNobody,
}

/// `GET /containers/ID/stats`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    cpu_stats: Option<CpuJson>,
    memory_stats: Option<MemoryJson>,
    networks: Option<Networks>,
    blkio_stats: Option<BlkioJson>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuJson {
    cpu_usage: CpuUsageJson,
    system_cpu_usage: Option<u64>,
    online_cpus: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsageJson {
    total_usage: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemoryJson {
    usage: Option<u64>,
    stats: Option<MemoryStatsJson>,
}

/// What is inactive among the caches, under the name of version 1 and that of version 2 of the
/// kernel's control groups. Version 1 has both names: there the total includes what is below.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemoryStatsJson {
    total_inactive_file: Option<u64>,
    inactive_file: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BlkioJson {
    io_service_bytes_recursive: Option<Moved>,
}

/// All interfaces together.
#[derive(Debug, Default)]
struct Networks(Traffic);

/// All devices together.
#[derive(Debug, Default)]
struct Moved(Traffic);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InterfaceJson {
    rx_bytes: u64,
    tx_bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MovedJson<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    value: u64,
}

/// Reads an answer that came at `wall_nanos`. `reference` is what was asked for, by name or id: the
/// engine takes a name for the beginning of an id when nothing bears it.
pub(in crate::docker) fn read(
    body: &[u8],
    reference: &str,
    wall_nanos: u64,
    system: SystemTime,
) -> Result<RawSample, MeterError> {
    let json: StatsJson<'_> = serde_json::from_slice(body)
        .map_err(|cause| MeterError::Nonsense(format!("the counters make no sense: {cause}")))?;
    let is_it = |said: &str, asked: &str| said.is_empty() || said == asked;
    if !is_it(&json.id, reference) && !is_it(json.name.trim_start_matches('/'), reference) {
        return Err(MeterError::Gone);
    }
    let sample = json.into_sample(wall_nanos, system);
    if sample.is_empty() { Err(MeterError::Gone) } else { Ok(sample) }
}

impl StatsJson<'_> {
    fn into_sample(self, wall_nanos: u64, system: SystemTime) -> RawSample {
        let cpu = self.cpu_stats.unwrap_or_default();
        let memory = self.memory_stats.unwrap_or_default();
        let stats = memory.stats.unwrap_or_default();
        RawSample {
            wall_nanos,
            cpu_nanos: cpu.cpu_usage.total_usage,
            host_cpu_nanos: match system {
                SystemTime::OfTheHost => cpu.system_cpu_usage,
                SystemTime::OfNobody => None,
            },
            cpus: cpu.online_cpus.unwrap_or_default(),
            memory_bytes: memory.usage.unwrap_or_default(),
            cache_bytes: stats.total_inactive_file.or(stats.inactive_file).unwrap_or_default(),
            network: self.networks.map(|networks| networks.0),
            disk: self.blkio_stats.and_then(|it| it.io_service_bytes_recursive).map(|it| it.0),
        }
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sum;
        impl<'de> Visitor<'de> for Sum {
            type Value = Networks;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("interfaces by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Networks, A::Error> {
                let mut sum = Traffic::default();
                while map.next_key::<serde::de::IgnoredAny>()?.is_some() {
                    let interface: InterfaceJson = map.next_value()?;
                    sum.in_bytes = sum.in_bytes.saturating_add(interface.rx_bytes);
                    sum.out_bytes = sum.out_bytes.saturating_add(interface.tx_bytes);
                }
                Ok(Networks(sum))
            }
        }
        from.deserialize_map(Sum)
    }
}

impl<'de> Deserialize<'de> for Moved {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Sum;
        impl<'de> Visitor<'de> for Sum {
            type Value = Moved;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("what each device has moved")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Moved, A::Error> {
                let mut sum = Traffic::default();
                while let Some(moved) = list.next_element::<MovedJson<'_>>()? {
                    if moved.op.eq_ignore_ascii_case("read") {
                        sum.in_bytes = sum.in_bytes.saturating_add(moved.value);
                    } else if moved.op.eq_ignore_ascii_case("write") {
                        sum.out_bytes = sum.out_bytes.saturating_add(moved.value);
                    }
                }
                Ok(Moved(sum))
            }
        }
        from.deserialize_seq(Sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As engine 20.10 writes it on version 1 of the control groups.
    const DOCKER_V1: &str = include_str!("../../../tests/fixtures/stats/docker-20.10-v1.json");
    /// As engine 24 writes it on version 2.
    const DOCKER_V2: &str = include_str!("../../../tests/fixtures/stats/docker-24-v2.json");
    /// As Podman 4 writes it.
    const PODMAN: &str = include_str!("../../../tests/fixtures/stats/podman-4.json");
    /// Of a container that ends meanwhile.
    const ENDING: &str = include_str!("../../../tests/fixtures/stats/docker-20.10-ending.json");

    fn sample(text: &str, reference: &str, system: SystemTime) -> Result<RawSample, MeterError> {
        read(text.as_bytes(), reference, 7, system)
    }

    #[test]
    fn version_1_is_read_with_its_totals() {
        let expected = RawSample {
            wall_nanos: 7,
            cpu_nanos: 545_471_801,
            host_cpu_nanos: Some(25_082_200_000_000),
            cpus: 2,
            memory_bytes: 421_888,
            cache_bytes: 8_192,
            network: Some(Traffic { in_bytes: 1_486, out_bytes: 500 }),
            disk: Some(Traffic { in_bytes: 4_096, out_bytes: 12_288 }),
        };
        assert_eq!(sample(DOCKER_V1, "meter-try", SystemTime::OfTheHost), Ok(expected));
    }

    #[test]
    fn version_2_has_no_totals_and_host_networking_no_networks() {
        let sample = sample(DOCKER_V2, "web", SystemTime::OfTheHost).expect("it is whole");
        assert_eq!((sample.memory_bytes, sample.cache_bytes), (12_345_344, 1_060_864));
        assert_eq!(sample.network, None);
        assert_eq!(sample.disk, Some(Traffic { in_bytes: 8_192, out_bytes: 0 }));
    }

    #[test]
    fn the_system_time_of_an_engine_that_means_something_else_by_it_is_not_read() {
        let sample = sample(PODMAN, "web", SystemTime::OfNobody).expect("it is whole");
        assert_eq!((sample.host_cpu_nanos, sample.cpus), (None, 4));
        assert_eq!(sample.cpu_nanos, 3_519_712_000);
    }

    #[test]
    fn the_empty_frame_of_one_that_ends_is_no_sample() {
        assert_eq!(sample(ENDING, "meter-try", SystemTime::OfTheHost), Err(MeterError::Gone));
    }

    #[test]
    fn another_container_than_the_one_that_was_asked_for_is_no_sample() {
        let of = |reference| sample(DOCKER_V1, reference, SystemTime::OfTheHost);
        assert_eq!(of("cd95a75f"), Err(MeterError::Gone));
        let id = "cd95a75f0edc5aac723ee84b4b0d5fb6d3b7dfa35d531ebe58abd95ce7cbe44f";
        assert!(of(id).is_ok());
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_never_a_zero() {
        for text in ["", "null", "<html>", r#"{"cpu_stats": 3}"#, r#"{"cpu_stats":{"#] {
            let read = sample(text, "x", SystemTime::OfTheHost);
            assert!(matches!(read, Err(MeterError::Nonsense(_))), "{text}: {read:?}");
        }
        assert_eq!(sample("{}", "x", SystemTime::OfTheHost), Err(MeterError::Gone));
    }

    #[test]
    fn odd_order_nulls_and_unknown_fields_do_not_matter() {
        let text = r#"{"networks":null,"new":[{"deep":{}}],"memory_stats":{"stats":null,"usage":5},
            "cpu_stats":{"online_cpus":1,"cpu_usage":{"percpu_usage":null,"total_usage":9}},
            "blkio_stats":{"io_service_bytes_recursive":null},"name":"\/a\u0062"}"#;
        let sample = sample(text, "ab", SystemTime::OfTheHost).expect("it is whole");
        assert_eq!((sample.cpu_nanos, sample.memory_bytes, sample.cpus), (9, 5, 1));
    }
}
