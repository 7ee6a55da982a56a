//! The JSON of the engine's answers, field for field as the real one has it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::container::{Container, Status, Verdict};
use super::shared::Shared;
use super::spec::{ContainerSpec, Publish};
use super::world::{World, network_id};

/// How long Podman calls a container `stopped` before it is `exited`.
const PODMAN_STOPPED_NS: u64 = 100_000_000;
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The answer to `/version`.
pub(super) fn version(shared: &Shared) -> Value {
    let (api, min) =
        (shared.config.api_version.to_string(), shared.config.min_api_version.to_string());
    let version = server_version(shared);
    let component = if shared.is_podman() {
        json!({"Name": "Podman Engine", "Version": version, "Details": {
            "APIVersion": version, "Arch": "amd64", "MinAPIVersion": "4.0.0", "Os": "linux"}})
    } else {
        json!({"Name": "Engine", "Version": version, "Details": {
            "ApiVersion": api, "Arch": "amd64", "MinAPIVersion": min, "Os": "linux"}})
    };
    json!({
        "Platform": {"Name": ""}, "Components": [component], "Version": version,
        "ApiVersion": api, "MinAPIVersion": min, "GitCommit": "5d6db84",
        "GoVersion": "go1.19.8", "Os": "linux", "Arch": "amd64", "KernelVersion": "6.1.0",
        "BuildTime": "2024-01-01T00:00:00.000000000+00:00",
    })
}

/// What the engine calls itself.
pub(super) fn server_version(shared: &Shared) -> &'static str {
    if shared.is_podman() {
        "4.3.1"
    } else if shared.config.api_version.minor > 41 {
        "29.0.0"
    } else {
        "20.10.24"
    }
}

/// The answer to `/info`, in part.
pub(super) fn info(shared: &Shared) -> Value {
    let world = shared.world();
    let count = |wanted: &[Status]| {
        world.containers().iter().filter(|it| wanted.contains(&it.status)).count()
    };
    json!({
        "ID": "FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE:FAKE",
        "Containers": world.containers().len(),
        "ContainersRunning": count(&[Status::Running, Status::Restarting]),
        "ContainersPaused": count(&[Status::Paused]),
        "ContainersStopped": count(&[Status::Created, Status::Exited, Status::Dead]),
        "Images": 1, "Driver": "overlay2", "CgroupDriver": "cgroupfs", "CgroupVersion": "1",
        "OperatingSystem": "Fake Linux", "OSType": "linux", "Architecture": "x86_64", "NCPU": 2,
        "MemTotal": 8_589_934_592_u64, "Name": "fake", "ServerVersion": server_version(shared),
        "LiveRestoreEnabled": false, "Swarm": {"NodeID": "", "LocalNodeState": "inactive"},
    })
}

/// One entry of a listing.
pub(super) fn summary(shared: &Shared, container: &Container, now_ns: u64) -> Value {
    let spec = &container.spec;
    json!({
        "Id": container.id,
        "Names": [format!("/{}", spec.name)],
        "Image": spec.image,
        "ImageID": format!("sha256:{}", network_id(&spec.image)),
        "Command": spec.command.join(" "),
        "Created": container.created_ns / 1_000_000_000,
        "Ports": listed_ports(container),
        "Labels": spec.labels,
        "State": status_word(shared, container, now_ns),
        "Status": status_sentence(container, now_ns),
        "HostConfig": {"NetworkMode": spec.network_mode},
        "NetworkSettings": {"Networks": networks(container)},
        "Mounts": [],
    })
}

/// The answer to an inspect.
pub(super) fn inspect(shared: &Shared, world: &mut World, id: &str) -> Option<Value> {
    let now_ns = world.now_ns();
    let container = world.find(id)?;
    let spec = &container.spec;
    let networks = networks(container);
    let bridge = networks.get("bridge").cloned().unwrap_or_else(|| json!({"IPAddress": ""}));
    Some(json!({
        "Id": container.id,
        "Created": moment(Some(container.created_ns)),
        "Path": spec.command.first().cloned().unwrap_or_default(),
        "Args": spec.command.get(1..).unwrap_or_default(),
        "State": state(shared, container, now_ns),
        "Image": format!("sha256:{}", network_id(&spec.image)),
        "Name": format!("/{}", spec.name),
        "RestartCount": container.restart_count,
        "Driver": "overlay2",
        "Platform": "linux",
        "ExecIDs": null,
        "HostConfig": {
            "NetworkMode": spec.network_mode,
            "PortBindings": port_bindings(&spec.published),
            "RestartPolicy": {
                "Name": spec.restart_policy.as_str(), "MaximumRetryCount": retries_max(spec)},
            "AutoRemove": false,
        },
        "Mounts": [],
        "Config": config(container),
        "NetworkSettings": {
            "Ports": inspected_ports(container),
            "IPAddress": bridge.get("IPAddress").cloned().unwrap_or_default(),
            "Gateway": bridge.get("Gateway").cloned().unwrap_or_default(),
            "GlobalIPv6Address": "",
            "Networks": networks,
        },
    }))
}

/// A moment as the engine writes it: RFC 3339 with as many digits as it has.
pub(super) fn moment(at_ns: Option<u64>) -> String {
    at_ns
        .and_then(|at| jiff::Timestamp::from_nanosecond(i128::from(at)).ok())
        .map_or_else(|| NEVER.to_owned(), |at| at.to_string())
}

/// The word for the state in a listing.
pub(super) fn status_word(shared: &Shared, container: &Container, now_ns: u64) -> &'static str {
    if shared.is_podman() {
        if container.run.as_ref().is_some_and(|run| run.stopping) {
            return "stopping";
        }
        let fresh = |ended| now_ns.saturating_sub(ended) < PODMAN_STOPPED_NS;
        if container.status == Status::Exited && container.finished_ns.is_some_and(fresh) {
            return "stopped";
        }
    }
    container.status.as_str()
}

fn state(shared: &Shared, container: &Container, now_ns: u64) -> Value {
    let word = status_word(shared, container, now_ns);
    let paused = container.status == Status::Paused;
    let running = if shared.is_podman() {
        word == "running" || paused
    } else {
        container.has_process() || container.is_restarting()
    };
    let mut state = json!({
        "Status": word,
        "Running": running,
        "Paused": paused,
        "Restarting": container.is_restarting(),
        "OOMKilled": false,
        "Dead": container.status == Status::Dead,
        "Pid": container.run.as_ref().map_or(0, |run| run.pid),
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": moment(container.started_ns),
        "FinishedAt": moment(container.finished_ns),
    });
    if container.spec.health.is_some() && container.status != Status::Created {
        state["Health"] = json!({
            "Status": container.health.verdict.as_str(),
            "FailingStreak": container.health.failing_streak,
            "Log": [],
        });
    }
    state
}

fn config(container: &Container) -> Value {
    let spec = &container.spec;
    let exposed: Map<String, Value> =
        spec.exposed.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
    let mut config = json!({
        "Hostname": container.id.get(..12),
        "Tty": false,
        "Env": null,
        "Cmd": spec.command,
        "Image": spec.image,
        "Labels": spec.labels,
    });
    if !exposed.is_empty() {
        config["ExposedPorts"] = Value::Object(exposed);
    }
    if let Some(timeout) = spec.stop_timeout {
        config["StopTimeout"] = json!(timeout.as_secs());
    }
    if let Some(health) = &spec.health {
        let interval = u64::try_from(health.interval.as_nanos()).unwrap_or(u64::MAX);
        config["Healthcheck"] = json!({
            "Test": ["CMD-SHELL", "check"], "Interval": interval, "Retries": health.retries});
    }
    config
}

fn networks(container: &Container) -> Map<String, Value> {
    let first = match container.spec.network_mode.as_str() {
        "default" => "bridge",
        other => other,
    };
    let names = std::iter::once(first).chain(container.spec.networks.iter().map(String::as_str));
    let addresses = container.run.as_ref().map(|run| &run.addresses);
    let network = |name: &str| {
        let address = addresses.and_then(|addresses| addresses.get(name));
        let attached = container.run.is_some();
        json!({
            "IPAMConfig": null, "Links": null, "Aliases": null,
            "NetworkID": if attached { network_id(name) } else { String::new() },
            "EndpointID": if attached { network_id(&container.id) } else { String::new() },
            "Gateway": address.map_or_else(String::new, gateway),
            "IPAddress": address.map_or_else(String::new, IpAddr::to_string),
            "IPPrefixLen": if address.is_some() { 16 } else { 0 },
            "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
            "MacAddress": "", "DriverOpts": null,
        })
    };
    names.map(|name| (name.to_owned(), network(name))).collect()
}

fn gateway(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            format!("{first}.{second}.0.1")
        }
        IpAddr::V6(_) => String::new(),
    }
}

fn inspected_ports(container: &Container) -> Value {
    let Some(run) = &container.run else {
        return json!({});
    };
    if container.spec.network_mode == "host" {
        return json!({});
    }
    let mut ports: Map<String, Value> =
        container.spec.exposed.iter().map(|port| (format!("{port}/tcp"), Value::Null)).collect();
    for publish in &run.published {
        let binding = json!({
            "HostIp": publish.host_ip,
            "HostPort": publish.host_port.unwrap_or_default().to_string(),
        });
        let bindings = ports.entry(format!("{}/tcp", publish.port)).or_insert(Value::Null);
        match bindings {
            Value::Array(list) => list.push(binding),
            _ => *bindings = json!([binding]),
        }
    }
    Value::Object(ports)
}

fn listed_ports(container: &Container) -> Value {
    let Some(run) = &container.run else {
        return json!([]);
    };
    if container.spec.network_mode == "host" {
        return json!([]);
    }
    let published = run.published.iter().map(|publish| {
        json!({
            "IP": publish.host_ip, "PrivatePort": publish.port,
            "PublicPort": publish.host_port, "Type": "tcp"})
    });
    let only_exposed = container
        .spec
        .exposed
        .iter()
        .filter(|port| !run.published.iter().any(|publish| publish.port == **port))
        .map(|port| json!({"PrivatePort": port, "Type": "tcp"}));
    Value::Array(published.chain(only_exposed).collect())
}

fn port_bindings(published: &[Publish]) -> Value {
    let mut bindings = Map::new();
    for publish in published {
        let port = publish.host_port.map_or_else(String::new, |port| port.to_string());
        let binding = json!([{"HostIp": publish.host_ip, "HostPort": port}]);
        bindings.insert(format!("{}/tcp", publish.port), binding);
    }
    Value::Object(bindings)
}

fn retries_max(spec: &ContainerSpec) -> u32 {
    match spec.restart_policy {
        super::spec::RestartPolicy::OnFailure { retries_max } => retries_max,
        super::spec::RestartPolicy::No
        | super::spec::RestartPolicy::Always
        | super::spec::RestartPolicy::UnlessStopped => 0,
    }
}

fn status_sentence(container: &Container, now_ns: u64) -> String {
    let since = |moment: Option<u64>| age(now_ns.saturating_sub(moment.unwrap_or(now_ns)));
    let up = since(container.started_ns);
    let ago = since(container.finished_ns);
    let health = match (container.spec.health.is_some(), container.health.verdict) {
        (false, _) => "",
        (true, Verdict::Starting) => " (health: starting)",
        (true, Verdict::Healthy) => " (healthy)",
        (true, Verdict::Unhealthy) => " (unhealthy)",
    };
    match container.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {up}{health}"),
        Status::Paused => format!("Up {up} (Paused)"),
        Status::Restarting => {
            format!("Restarting ({}) {ago} ago", container.exit_code)
        }
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {ago} ago", container.exit_code),
        Status::Dead => "Dead".to_owned(),
    }
}

/// A length of time in the engine's words.
fn age(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match (seconds, seconds / 60, seconds / 3600) {
        (0, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (seconds @ ..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes @ ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, hours) => format!("{hours} hours"),
    }
}
