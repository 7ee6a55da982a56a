//! Creating a container over the API: the few fields that this engine understands.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::json;

use super::deeds;
use super::routes::json_answer;
use super::server::Body;
use super::shared::{Refusal, Shared};
use super::spec::{ContainerSpec, HealthPlan, Publish, RestartPolicy};

/// The health check of an image that does not say how often.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    #[serde(default)]
    image: String,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    stop_timeout: Option<u64>,
    #[serde(default)]
    healthcheck: Option<Healthcheck>,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    #[serde(default)]
    interval: u64,
    #[serde(default)]
    retries: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
    #[serde(default)]
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(default)]
    restart_policy: Restart,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    #[serde(default)]
    host_ip: String,
    #[serde(default)]
    host_port: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Restart {
    #[serde(default)]
    name: String,
    #[serde(default)]
    maximum_retry_count: u32,
}

/// Creates what the body describes, under `name` or a name of the engine's own.
pub(super) fn from_request(
    shared: &Shared,
    name: Option<&str>,
    body: &Bytes,
) -> Result<Response<Body>, Refusal> {
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|error| Refusal::new(400, error.to_string()))?;
    let name = match name.map(|name| name.trim_start_matches('/')).filter(|name| !name.is_empty()) {
        Some(name) => legal(name)?.to_owned(),
        None => format!("nameless_{}", shared.world().next_serial()),
    };
    let id = deeds::create(shared, wanted.into_spec(&name))?;
    Ok(json_answer(201, &json!({"Id": id, "Warnings": []})))
}

fn legal(name: &str) -> Result<&str, Refusal> {
    let first = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let others = name.chars().all(|it| it.is_ascii_alphanumeric() || "_.-".contains(it));
    if first && others && name.len() > 1 {
        return Ok(name);
    }
    let message =
        format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    Err(Refusal::new(400, message))
}

impl Wanted {
    fn into_spec(self, name: &str) -> ContainerSpec {
        let mut spec = ContainerSpec::named(name);
        spec.image = self.image;
        spec.command = self.cmd.unwrap_or_default();
        spec.labels = self.labels.unwrap_or_default();
        spec.stop_timeout = self.stop_timeout.map(Duration::from_secs);
        spec.health = self.healthcheck.map(Healthcheck::into_plan);
        spec.restart_policy = self.host_config.restart_policy.into_policy();
        if !self.host_config.network_mode.is_empty() {
            spec.network_mode = self.host_config.network_mode;
        }
        let exposed = self.exposed_ports.unwrap_or_default();
        for port in exposed.keys().filter_map(|key| tcp_port(key)) {
            spec = spec.exposing(port);
        }
        for (key, bindings) in self.host_config.port_bindings.unwrap_or_default() {
            let Some(port) = tcp_port(&key) else { continue };
            for binding in bindings.unwrap_or_default() {
                let host_ip = match binding.host_ip.as_str() {
                    "" => "0.0.0.0".to_owned(),
                    address => address.to_owned(),
                };
                let host_port = binding.host_port.parse().ok().filter(|port| *port != 0);
                spec.published.push(Publish { port, host_ip, host_port });
            }
            spec = spec.exposing(port);
        }
        spec
    }
}

impl Healthcheck {
    fn into_plan(self) -> HealthPlan {
        let interval = match self.interval {
            0 => HEALTH_INTERVAL,
            nanos => Duration::from_nanos(nanos),
        };
        HealthPlan { interval, passes: vec![true], retries: self.retries.max(1) }
    }
}

impl Restart {
    fn into_policy(self) -> RestartPolicy {
        match self.name.as_str() {
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure { retries_max: self.maximum_retry_count },
            _ => RestartPolicy::No,
        }
    }
}

/// The port of `8080/tcp` or `8080`.
fn tcp_port(key: &str) -> Option<u16> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    port.parse().ok().filter(|_| protocol == "tcp")
}
