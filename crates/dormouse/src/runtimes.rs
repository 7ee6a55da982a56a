//! Where the configuration meets the providers: an adapter for each configured environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::EnvironmentName;
use dormouse_providers::docker::{
    DockerConfig, DockerEndpoint, DockerProvider, Pem, Secret, TlsOptions,
};
use dormouse_providers::process::guard::GuardCommand;
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use dormouse_providers::{Provider, ProviderError};

use crate::config::{DockerSpec, EnvironmentKind, EnvironmentSpec, TlsSpec};

/// The hidden subcommand that kills what is left of our processes when we die.
pub const GUARD_SUBCOMMAND: &str = "__guard";

/// How long the end of all environments may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// The adapters in use, each with the configuration that it was made from.
#[derive(Default)]
pub struct Runtimes {
    adapters: BTreeMap<EnvironmentName, (EnvironmentSpec, Arc<dyn Provider>)>,
}

/// An environment whose adapter cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("environment {name}")]
pub struct UnusableEnvironment {
    /// Which.
    pub name: EnvironmentName,
    /// Why.
    #[source]
    pub source: ProviderError,
}

impl Runtimes {
    /// Makes the adapters that `specs` ask for and keeps those that are configured as before.
    /// Answers with those that are not needed any more, for the caller to end once nobody uses
    /// them.
    ///
    /// # Errors
    /// When one cannot be made; nothing has changed then.
    pub fn update(
        &mut self,
        specs: &BTreeMap<EnvironmentName, EnvironmentSpec>,
    ) -> Result<Vec<Arc<dyn Provider>>, UnusableEnvironment> {
        let mut fresh = BTreeMap::new();
        for (name, spec) in specs {
            let same = self.adapters.get(name).filter(|(before, _)| before.kind == spec.kind);
            let adapter = match same {
                Some((_, adapter)) => Arc::clone(adapter),
                None => make(spec)
                    .map_err(|source| UnusableEnvironment { name: name.clone(), source })?,
            };
            fresh.insert(name.clone(), (spec.clone(), adapter));
        }
        let before = std::mem::replace(&mut self.adapters, fresh);
        let kept = |adapter: &Arc<dyn Provider>| {
            self.adapters.values().any(|(_, now)| Arc::ptr_eq(now, adapter))
        };
        Ok(before.into_values().map(|(_, a)| a).filter(|adapter| !kept(adapter)).collect())
    }

    /// Every adapter, by environment.
    pub fn iter(&self) -> impl Iterator<Item = (&EnvironmentSpec, &Arc<dyn Provider>)> {
        self.adapters.values().map(|(spec, adapter)| (spec, adapter))
    }

    /// The adapter of one environment.
    pub fn find(&self, environment: &str) -> Option<Arc<dyn Provider>> {
        self.adapters.get(environment).map(|(_, adapter)| Arc::clone(adapter))
    }

    /// Ends every adapter.
    pub async fn shutdown(&self) {
        let ends = self.adapters.values().map(|(_, adapter)| adapter.shutdown());
        let all = futures_util::future::join_all(ends);
        if tokio::time::timeout(SHUTDOWN_MAX, all).await.is_err() {
            tracing::error!("Gave up waiting for the environments to end");
        }
    }
}

fn make(spec: &EnvironmentSpec) -> Result<Arc<dyn Provider>, ProviderError> {
    match &spec.kind {
        EnvironmentKind::Docker(docker) => Ok(DockerProvider::new(docker_config(docker)?)?),
        EnvironmentKind::Process => {
            let guard = GuardCommand::current_program([OsString::from(GUARD_SUBCOMMAND)]);
            Ok(ProcessProvider::new(ProcessConfig::new(guard))?)
        }
    }
}

fn docker_config(spec: &DockerSpec) -> Result<DockerConfig, ProviderError> {
    let endpoint = DockerEndpoint::parse(&spec.address.to_string())?;
    let endpoint = match &spec.tls {
        Some(tls) => endpoint.with_tls(tls_options(tls))?,
        None => endpoint,
    };
    let token = spec.token.as_ref().map(|token| Secret::new(token.reveal()));
    Ok(DockerConfig { endpoint, token, network: spec.network.clone() })
}

pub(crate) fn tls_options(spec: &TlsSpec) -> TlsOptions {
    let pem = |text: &Option<crate::config::Secret>| {
        text.as_ref().map(|text| Pem::Text(text.reveal().to_owned()))
    };
    TlsOptions {
        ca: pem(&spec.ca),
        cert: pem(&spec.cert),
        key: pem(&spec.key),
        server_name: spec.server_name.clone(),
        insecure: spec.insecure,
    }
}
