//! The embedded default file, and what holds where there is no file at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dormouse_core::EnvironmentName;

use super::address::DockerAddress;
use super::environment::SAMPLE_INTERVAL;
use super::report::EnvLookup;
use super::settings::{DockerSpec, EnvironmentKind, EnvironmentSpec, Gateway, Settings, Treatment};

/// The commented file that is the reference of every key, and what `init` writes.
pub const DEFAULT_FILE: &str = include_str!("default.toml");

/// Where the engine of this machine answers.
pub(crate) const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where a file is looked for when none is named, in this order.
const FILES: [&str; 2] = ["dormouse.toml", "/etc/dormouse/dormouse.toml"];

/// The file that is read when none is named.
pub fn locate() -> Option<PathBuf> {
    FILES.into_iter().map(PathBuf::from).find(|path| path.exists())
}

impl Settings {
    /// What holds without a file: the labels of this machine's engine, where it has one.
    pub fn without_file() -> Self {
        Self::standard(&|name| std::env::var(name).ok(), Path::new(DOCKER_SOCKET).exists())
    }

    /// The settings of the default file.
    pub(crate) fn standard(env: EnvLookup<'_>, engine: bool) -> Self {
        let mut environments = BTreeMap::new();
        if engine {
            let name = EnvironmentName::new("local");
            let sample_interval = Some(SAMPLE_INTERVAL);
            let kind = EnvironmentKind::Docker(DockerSpec {
                address: DockerAddress::unix(DOCKER_SOCKET),
                tls: None,
                token: None,
                network: None,
            });
            environments.insert(
                name.clone(),
                EnvironmentSpec { name, kind, labels: true, sample_interval },
            );
        }
        Self {
            gateway: Gateway::standard(env),
            environments,
            watches: BTreeMap::new(),
            defaults: Treatment::default(),
            workloads: Vec::new(),
        }
    }
}
