//! Where the configuration meets the providers: an adapter for each configured environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::EnvironmentName;
use dormouse_providers::docker::{
    Backend, DockerConfig, DockerEndpoint, DockerProvider, MeterOptions, Pem, Scope, Secret,
    TlsOptions,
};
use dormouse_providers::process::guard::GuardCommand;
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use dormouse_providers::{Meter, Provider, ProviderError};

use crate::config::{DockerSpec, EnvironmentKind, EnvironmentSpec, TlsSpec};
use crate::metering::MeteredEnvironment;

/// The hidden subcommand that kills what is left of our processes when we die.
pub const GUARD_SUBCOMMAND: &str = "__guard";

/// How long the end of all environments may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// The adapters in use, each with the configuration that it was made from.
#[derive(Default)]
pub struct Runtimes {
    adapters: BTreeMap<EnvironmentName, (EnvironmentSpec, Adapter)>,
}

/// What speaks to one runtime.
#[derive(Clone)]
pub struct Adapter {
    /// What acts on it.
    pub provider: Arc<dyn Provider>,
    /// What measures it, where it can be measured.
    pub meter: Option<Arc<dyn Meter>>,
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
                Some((_, adapter)) => adapter.clone(),
                None => make(spec)
                    .map_err(|source| UnusableEnvironment { name: name.clone(), source })?,
            };
            fresh.insert(name.clone(), (spec.clone(), adapter));
        }
        let before = std::mem::replace(&mut self.adapters, fresh);
        let kept = |adapter: &Arc<dyn Provider>| {
            self.adapters.values().any(|(_, now)| Arc::ptr_eq(&now.provider, adapter))
        };
        let providers = before.into_values().map(|(_, adapter)| adapter.provider);
        Ok(providers.filter(|adapter| !kept(adapter)).collect())
    }

    /// Every adapter, by environment.
    pub fn iter(&self) -> impl Iterator<Item = (&EnvironmentSpec, &Arc<dyn Provider>)> {
        self.adapters.values().map(|(spec, adapter)| (spec, &adapter.provider))
    }

    /// Every adapter that can measure, and is to, by environment.
    pub fn meters(&self) -> impl Iterator<Item = (EnvironmentName, MeteredEnvironment)> {
        self.adapters.values().filter_map(|(spec, adapter)| {
            let environment = MeteredEnvironment {
                meter: Arc::clone(adapter.meter.as_ref()?),
                provider: Arc::clone(&adapter.provider),
                sample_interval: spec.sample_interval?,
            };
            Some((spec.name.clone(), environment))
        })
    }

    /// The adapter of one environment.
    pub fn find(&self, environment: &str) -> Option<Arc<dyn Provider>> {
        self.adapters.get(environment).map(|(_, adapter)| Arc::clone(&adapter.provider))
    }

    /// Ends every adapter.
    pub async fn shutdown(&self) {
        let ends = self.adapters.values().map(|(_, adapter)| adapter.provider.shutdown());
        let all = futures_util::future::join_all(ends);
        if tokio::time::timeout(SHUTDOWN_MAX, all).await.is_err() {
            tracing::error!("Gave up waiting for the environments to end");
        }
    }
}

fn make(spec: &EnvironmentSpec) -> Result<Adapter, ProviderError> {
    match &spec.kind {
        EnvironmentKind::Docker(docker) => {
            let provider = DockerProvider::new(docker_config(docker)?)?;
            let options = MeterOptions { scope: Scope::All, backend: Backend::Auto };
            let meter = provider.meter(options);
            Ok(Adapter { provider, meter: Some(meter) })
        }
        EnvironmentKind::Process => {
            let guard = GuardCommand::current_program([OsString::from(GUARD_SUBCOMMAND)]);
            let provider = ProcessProvider::new(ProcessConfig::new(guard))?;
            Ok(Adapter { provider, meter: None })
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
