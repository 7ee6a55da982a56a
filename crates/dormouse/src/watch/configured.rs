//! Where the file's watches meet those that run: the unchanged go on, the changed begin again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_core::watch::State;
use dormouse_keeper::probe::Probe;
use dormouse_keeper::watch::{Manager, Spec, Status};
use dormouse_providers::ProviderError;

use super::hook;
use crate::config::WatchSpec;
use crate::runtimes::tls_options;

/// The watches of the file, running. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    manager: Manager,
    specs: Arc<Mutex<BTreeMap<String, WatchSpec>>>,
}

impl Watches {
    /// Makes exactly these watches run.
    pub fn update(&self, specs: &BTreeMap<String, WatchSpec>) {
        let mut current = self.lock();
        for name in current.keys().filter(|name| !specs.contains_key(*name)) {
            self.manager.forget(name);
            tracing::info!(watch = %name, "Forgot a watch");
        }
        for (name, spec) in specs.iter().filter(|(name, spec)| current.get(*name) != Some(spec)) {
            let kind = spec.target.kind();
            match self.manager.watch(running(name, spec)) {
                Ok(_) => tracing::info!(watch = %name, kind, "Began a watch"),
                Err(error) => tracing::error!(watch = %name, %error, "Left out a watch"),
            }
        }
        current.clone_from(specs);
    }

    /// What is known of each, with what is probed.
    pub fn status(&self) -> Vec<(Status, String)> {
        let specs = self.lock();
        let status = self.manager.status().into_iter();
        status
            .filter_map(|status| {
                let target = specs.get(&*status.name)?.target.to_string();
                Some((status, target))
            })
            .collect()
    }

    /// Each by name, and whether its service is up.
    pub fn up(&self) -> Vec<(Arc<str>, bool)> {
        let status = self.manager.status().into_iter();
        status.map(|status| (status.name, status.state == State::Up)).collect()
    }

    /// Stops all of them; hooks that run may finish.
    pub async fn stop(&self) {
        self.manager.stop_all().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, WatchSpec>> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn running(name: &str, spec: &WatchSpec) -> Spec {
    let watch = match probe(spec) {
        Ok(probe) => {
            let probe = Arc::new(probe);
            Spec::new(name, move || {
                let probe = Arc::clone(&probe);
                async move { probe.run().await }
            })
        }
        // One whose certificate cannot be used is down and says so; the others are not hurt.
        Err(error) => {
            let error: Arc<str> = error.to_string().into();
            Spec::new(name, move || std::future::ready(Err::<(), _>(Arc::clone(&error))))
        }
    };
    let watch = watch.policy(spec.policy);
    let watch = match &spec.on_ready {
        Some(hook) => watch.on_ready(hook::of(hook, &spec.withheld)),
        None => watch,
    };
    match &spec.on_down {
        Some(hook) => watch.on_down(hook::of(hook, &spec.withheld)),
        None => watch,
    }
}

fn probe(spec: &WatchSpec) -> Result<Probe, ProviderError> {
    let probe = Probe::new(spec.target.clone()).expect_status(spec.status.clone());
    let probe = probe.withhold(spec.withheld.iter().cloned());
    let probe = match &spec.body {
        Some(text) => probe.expect_body(text.clone()),
        None => probe,
    };
    match &spec.tls {
        Some(tls) => probe.with_tls(&tls_options(tls)),
        None => Ok(probe),
    }
}
