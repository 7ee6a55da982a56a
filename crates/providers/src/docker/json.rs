//! The fields of the Engine API that are read, and no others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Deserializer;

use super::lenient::{self, Object, Text};

/// `GET /version`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VersionJson {
    #[serde(rename = "ApiVersion", deserialize_with = "lenient::text")]
    pub(super) newest: String,
    #[serde(rename = "MinAPIVersion", deserialize_with = "lenient::text")]
    pub(super) oldest: String,
    #[serde(rename = "Version", deserialize_with = "lenient::text")]
    pub(super) version: String,
    #[serde(rename = "Components", deserialize_with = "lenient::list")]
    pub(super) components: Vec<Object<ComponentJson>>,
}

/// A part of what answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ComponentJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) name: String,
}

/// `GET /info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InfoJson {
    #[serde(rename = "NCPU", deserialize_with = "lenient::number")]
    pub(super) cpus: i64,
    #[serde(rename = "MemTotal", deserialize_with = "lenient::number")]
    pub(super) memory_bytes: i64,
    #[serde(rename = "ServerVersion", deserialize_with = "lenient::text")]
    pub(super) version: String,
}

/// What comes with a status of 400 and above.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefusalJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) message: String,
}

/// `GET /containers/json`: the listing as a whole.
#[derive(Debug, Default)]
pub(super) struct ListingJson(pub(super) Vec<Object<EntryJson>>);

/// One container of a listing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct EntryJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient::list")]
    pub(super) names: Vec<Text>,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) state: String,
    /// For people, but the only place where a listing tells health and exit code.
    #[serde(deserialize_with = "lenient::text")]
    pub(super) status: String,
    #[serde(deserialize_with = "lenient::map")]
    pub(super) labels: BTreeMap<String, Text>,
    #[serde(deserialize_with = "lenient::list")]
    pub(super) ports: Vec<Object<EntryPortJson>>,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) network_settings: NetworkSettingsJson,
}

/// One port of a container of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct EntryPortJson {
    #[serde(deserialize_with = "lenient::number")]
    pub(super) private_port: i64,
    #[serde(deserialize_with = "lenient::number")]
    pub(super) public_port: i64,
    #[serde(rename = "Type", deserialize_with = "lenient::text")]
    pub(super) protocol: String,
}

/// `GET /containers/ID/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ContainerJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) name: String,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) state: StateJson,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) config: ConfigJson,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) host_config: HostConfigJson,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) network_settings: NetworkSettingsJson,
}

/// `GET /containers/ID/json`, for the sake of its process alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ProcessJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) name: String,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) state: PidJson,
}

/// The first process of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PidJson {
    #[serde(deserialize_with = "lenient::number")]
    pub(super) pid: i64,
}

/// What a container is doing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct StateJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) status: String,
    #[serde(deserialize_with = "lenient::flag")]
    pub(super) running: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub(super) paused: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub(super) restarting: bool,
    #[serde(deserialize_with = "lenient::number")]
    pub(super) exit_code: i64,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) started_at: String,
    #[serde(deserialize_with = "lenient::object")]
    pub(super) health: HealthJson,
}

/// What the engine's own checks say.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HealthJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) status: String,
}

/// What a container was created with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ConfigJson {
    #[serde(deserialize_with = "lenient::map")]
    pub(super) labels: BTreeMap<String, Text>,
    #[serde(deserialize_with = "lenient::map")]
    pub(super) exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "lenient::flag")]
    pub(super) tty: bool,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) stop_signal: String,
}

/// What a container was given of its host.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HostConfigJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) network_mode: String,
}

/// Where a container is on the network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkSettingsJson {
    #[serde(deserialize_with = "lenient::map")]
    pub(super) networks: BTreeMap<String, Object<NetworkJson>>,
    #[serde(deserialize_with = "lenient::map")]
    pub(super) ports: BTreeMap<String, Bindings>,
}

/// A container's place in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct NetworkJson {
    #[serde(rename = "NetworkID", deserialize_with = "lenient::text")]
    pub(super) network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "lenient::text")]
    pub(super) ip_v4: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "lenient::text")]
    pub(super) ip_v6: String,
    #[serde(rename = "Gateway", deserialize_with = "lenient::text")]
    pub(super) gateway: String,
}

/// Where one port is published; empty for one that is only exposed.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(pub(super) Vec<Object<BindingJson>>);

/// One place where a port is published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct BindingJson {
    #[serde(deserialize_with = "lenient::text")]
    pub(super) host_ip: String,
    #[serde(deserialize_with = "lenient::text")]
    pub(super) host_port: String,
}

/// One line of `GET /events`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventJson {
    #[serde(rename = "Type", deserialize_with = "lenient::text")]
    pub(super) kind: String,
    #[serde(rename = "Action", deserialize_with = "lenient::text")]
    pub(super) action: String,
    #[serde(rename = "Actor", deserialize_with = "lenient::object")]
    pub(super) actor: ActorJson,
    #[serde(deserialize_with = "lenient::number")]
    pub(super) time: i64,
    #[serde(rename = "timeNano", deserialize_with = "lenient::number")]
    pub(super) time_nano: i64,
}

/// What an event is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ActorJson {
    #[serde(rename = "ID", deserialize_with = "lenient::text")]
    pub(super) id: String,
    #[serde(rename = "Attributes", deserialize_with = "lenient::map")]
    pub(super) attributes: BTreeMap<String, Text>,
}

impl<'de> Deserialize<'de> for ListingJson {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        lenient::list(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for Bindings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        lenient::list(from).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_and_missing_fields_read_as_their_defaults() {
        let odd = r#"{
            "Id": "abc", "Name": ["?"], "Unknown": {"deep": [1, 2]},
            "State": {"Status": "running", "Running": "yes", "ExitCode": 3221225477,
                      "StartedAt": null, "Health": "none"},
            "Config": {"Labels": {"a": "1", "b": 2, "c": null, "d": {"x": 1}},
                       "ExposedPorts": {"80/tcp": {}}, "Tty": null},
            "HostConfig": null,
            "NetworkSettings": {"Networks": {"one": null, "two": {"IPAddress": "10.0.0.2"}},
                "Ports": {"80/tcp": null, "81/tcp": [{"HostIp": "", "HostPort": 8081}, 7]}}
        }"#;
        let json: ContainerJson = serde_json::from_str(odd).unwrap();
        assert_eq!((json.id.as_str(), json.name.as_str()), ("abc", ""));
        assert_eq!(json.state.exit_code, 3_221_225_477);
        assert!(!json.state.running);
        let labels: Vec<_> = json.config.labels.values().map(|label| label.0.as_str()).collect();
        assert_eq!(labels, ["1", "2", "", ""]);
        assert_eq!(json.network_settings.networks["two"].0.ip_v4, "10.0.0.2");
        assert_eq!(json.network_settings.ports["81/tcp"].0[0].0.host_port, "8081");
        assert!(json.network_settings.ports["80/tcp"].0.is_empty());
    }

    #[test]
    fn a_listing_survives_entries_that_are_none() {
        let listing: ListingJson =
            serde_json::from_str(r#"[null, 1, {"Id": "x", "Names": null, "Labels": []}]"#).unwrap();
        assert_eq!(listing.0.len(), 3);
        assert_eq!(listing.0[2].0.id, "x");
        let none: ListingJson = serde_json::from_str("null").unwrap();
        assert!(none.0.is_empty());
    }
}
