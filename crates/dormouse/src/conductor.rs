//! Where configuration becomes reality: builds the registry from the file and the labels, and
//! hands each new one to the keeper and to the data plane. What was good stays until something
//! better is complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::findings::Severity;
use dormouse_core::routes::RouteTable;
use dormouse_core::{EnvironmentName, WorkloadId};
use dormouse_keeper::{Definition, EnvironmentDefinition, Gate, Handle, Layout};
use dormouse_providers::Provider;
use dormouse_proxy::{Proxy, Routes, Site, SiteCounters};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::claims::{self, Claims};
use crate::config::Settings;
use crate::gatekeeping::Gatekeeping;
use crate::listeners::{Attended, Listeners, NoAddress, Ties};
use crate::metering::Meters;
use crate::metrics::SiteTable;
use crate::quiet;
use crate::registry::{Registry, WorkloadSpec, assemble, assemble_after};
use crate::reload::{Reading, Reload, Reloader, Watch};
use crate::runtimes::Runtimes;
use crate::sources::Sources;
use crate::watch::Watches;

/// Reloads that wait to be looked at.
const REQUESTS_MAX: usize = 16;

/// How long the first visitors may have to wait for the first listing of labels.
const FIRST_LISTING_MAX: Duration = Duration::from_secs(5);

/// What became of a reload.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    /// The new configuration holds.
    Applied,
    /// It says what it said before.
    Unchanged,
    /// It has errors; the good one stays. The reading tells them.
    Refused(Arc<Reading>),
}

/// Asks the conductor to read the file again.
pub type ReloadRequest = oneshot::Sender<ReloadOutcome>;

/// The adapters in use, by environment.
pub type Adapters = Arc<BTreeMap<EnvironmentName, Arc<dyn Provider>>>;

/// What the rest of the process may see of the conductor's work, and ask of it.
#[derive(Clone)]
pub struct Score {
    /// The registry that holds.
    pub registry: watch::Receiver<Arc<Registry>>,
    /// What the last reading of the file found.
    pub reading: watch::Receiver<Arc<Reading>>,
    /// The adapters in use.
    pub adapters: watch::Receiver<Adapters>,
    /// What measures the environments that are measured.
    pub meters: watch::Receiver<Meters>,
    /// What the data plane counts, by workload.
    pub sites: watch::Receiver<SiteTable>,
    /// The watches of the file.
    pub watches: Watches,
    /// Asks for a reload.
    pub reload: mpsc::Sender<ReloadRequest>,
}

/// Builds registries and applies them; the only one who does.
pub struct Conductor {
    reloader: Reloader,
    runtimes: Runtimes,
    sources: Sources,
    claims: Claims,
    /// Whether another house keeps something that we define.
    refused: bool,
    keeper: Handle,
    routes: Routes<Gatekeeping>,
    listeners: Listeners,
    version: u64,
    registry: watch::Sender<Arc<Registry>>,
    reading: watch::Sender<Arc<Reading>>,
    adapters: watch::Sender<Adapters>,
    meters: watch::Sender<Meters>,
    sites: watch::Sender<SiteTable>,
    watches: Watches,
    requests: mpsc::Receiver<ReloadRequest>,
}

/// Why a configuration could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The adapter of an environment could not be made.
    #[error(transparent)]
    Environment(#[from] crate::runtimes::UnusableEnvironment),
    /// An address that the file asks for cannot be had.
    #[error(transparent)]
    Listen(#[from] NoAddress),
    /// The keeper has ended.
    #[error(transparent)]
    Keeper(#[from] dormouse_keeper::Gone),
}

impl Conductor {
    /// A conductor that has applied the reloader's settings once.
    ///
    /// # Errors
    /// When they cannot be applied.
    pub async fn begin(
        reloader: Reloader,
        keeper: Handle,
        proxy: &Proxy<Gatekeeping>,
        attended: Attended,
    ) -> Result<(Self, Score), ApplyError> {
        let settings = Arc::clone(reloader.settings());
        let first = Arc::new(assemble(0, &settings, &BTreeMap::new()));
        let reading = Arc::new(reloader.last().clone());
        let (request, requests) = mpsc::channel(REQUESTS_MAX);
        let mut conductor = Self {
            reloader,
            runtimes: Runtimes::default(),
            sources: Sources::default(),
            claims: Claims::open(who(&settings)),
            refused: false,
            keeper,
            routes: proxy.routes(),
            listeners: Listeners::new(proxy.clone(), attended),
            version: 0,
            registry: watch::Sender::new(first),
            reading: watch::Sender::new(reading),
            adapters: watch::Sender::new(Adapters::default()),
            meters: watch::Sender::new(Meters::default()),
            sites: watch::Sender::new(SiteTable::default()),
            watches: Watches::default(),
            requests,
        };
        let score = Score {
            registry: conductor.registry.subscribe(),
            reading: conductor.reading.subscribe(),
            adapters: conductor.adapters.subscribe(),
            meters: conductor.meters.subscribe(),
            sites: conductor.sites.subscribe(),
            watches: conductor.watches.clone(),
            reload: request,
        };
        conductor.apply(&settings).await?;
        conductor.await_labels().await?;
        conductor.watches.update(&settings.watches);
        Ok((conductor, score))
    }

    /// Follows the files, the labels and the requests until `shutdown`, then ends the adapters.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let changed = self.sources.changed();
        let mut files = FileWatch::start(self.reloader.last());
        let mut hangup = signal(SignalKind::hangup()).ok();
        // What was read and is not kept is given back once, when everybody has done with it.
        let mut quiet_at = Some(Instant::now() + quiet::AFTER);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = quiet::until(quiet_at) => {
                    quiet::give_back().await;
                    quiet_at = None;
                    continue;
                }
                () = changed.notified() => self.labels_changed().await,
                () = look_again(), if self.refused => self.labels_changed().await,
                Some(()) = files.changed() => {
                    self.reload_when_written().await;
                    files.follow(self.reloader.last());
                }
                Some(()) = async { hangup.as_mut()?.recv().await } => {
                    self.reload().await;
                    files.follow(self.reloader.last());
                }
                Some(request) = self.requests.recv() => {
                    let outcome = self.reload().await;
                    files.follow(self.reloader.last());
                    // Whoever asked and has gone needs no answer.
                    let _ = request.send(outcome);
                }
            }
            quiet_at = Some(Instant::now() + quiet::AFTER);
        }
        tokio::join!(self.watches.stop(), self.runtimes.shutdown());
    }

    /// Gives the runtimes a moment to show their labels, so that the first visitors find their
    /// routes. One that does not answer keeps nobody waiting for longer.
    async fn await_labels(&mut self) -> Result<(), ApplyError> {
        let changed = self.sources.changed();
        let deadline = Instant::now() + FIRST_LISTING_MAX;
        while !self.sources.all_listed() {
            if timeout_at(deadline, changed.notified()).await.is_err() {
                tracing::warn!("Began without the labels of an environment that does not answer");
                break;
            }
        }
        let settings = Arc::clone(self.reloader.settings());
        self.apply(&settings).await
    }

    async fn labels_changed(&mut self) {
        let settings = Arc::clone(self.reloader.settings());
        if let Err(error) = self.apply(&settings).await {
            tracing::error!(%error, "Could not apply the labels");
        }
    }

    /// Reads the file again, as it is. A bad file changes nothing and is reported.
    async fn reload(&mut self) -> ReloadOutcome {
        let before = Arc::clone(self.reloader.settings());
        let reload = self.reloader.reload();
        self.conclude(before, reload).await
    }

    async fn reload_when_written(&mut self) -> ReloadOutcome {
        let before = Arc::clone(self.reloader.settings());
        let reload = self.reloader.reload_when_written().await;
        self.conclude(before, reload).await
    }

    async fn conclude(&mut self, before: Arc<Settings>, reload: Reload) -> ReloadOutcome {
        self.reading.send_replace(Arc::new(self.reloader.last().clone()));
        match reload {
            Reload::Unchanged => ReloadOutcome::Unchanged,
            Reload::Refused => {
                let reading = Arc::clone(&self.reading.borrow());
                let errors = errors_in(&reading);
                tracing::warn!(errors, "Kept the good configuration: the file has errors");
                ReloadOutcome::Refused(reading)
            }
            Reload::Changed(settings) => {
                warn_of_listeners(&before, &settings);
                match self.apply(&settings).await {
                    Ok(()) => {
                        self.watches.update(&settings.watches);
                        tracing::info!(version = self.version, "Applied the configuration");
                    }
                    Err(ApplyError::Listen(refused)) => return self.take_back(before, &refused),
                    Err(error) => tracing::error!(%error, "Could not apply the configuration"),
                }
                ReloadOutcome::Applied
            }
        }
    }

    /// Goes back to the settings that hold still: those of the file cannot.
    fn take_back(&mut self, settings: Arc<Settings>, refused: &NoAddress) -> ReloadOutcome {
        self.reloader.take_back(settings, refused.finding());
        let reading = Arc::new(self.reloader.last().clone());
        self.reading.send_replace(Arc::clone(&reading));
        tracing::warn!(error = %refused, "Kept the good configuration: an address cannot be listened on");
        ReloadOutcome::Refused(reading)
    }

    /// Makes one registry of the settings and the labels, and makes it hold.
    async fn apply(&mut self, settings: &Settings) -> Result<(), ApplyError> {
        let current = Arc::clone(&self.registry.borrow());
        let mut registry = assemble_after(&current, settings, &self.sources.found());
        registry.version = self.version + 1;
        self.refused = self.claims.stake(&mut registry).await;
        let differs = {
            let version = std::mem::replace(&mut registry.version, current.version);
            let differs = registry != *current;
            registry.version = version;
            differs
        };
        if !differs && self.version > 0 {
            return Ok(());
        }
        let bound = self.listeners.bind(&mut registry)?;
        let retired = self.runtimes.update(&registry.environments)?;
        let gates = self.keeper.apply(layout(&registry, &self.runtimes)).await?;
        let sites = self.site_table(&registry);
        self.routes.swap(route_table(&registry, &gates, &sites));
        let ties = Ties { gates: &gates, counters: &sites };
        self.listeners.take(bound, &registry, ties).await;
        self.sites.send_replace(sites);
        self.version = registry.version;
        report_misconfigured(&current, &registry);
        self.registry.send_replace(Arc::new(registry));
        self.publish_adapters();
        for adapter in retired {
            adapter.shutdown().await;
        }
        Ok(())
    }

    fn publish_adapters(&mut self) {
        let adapters = self.runtimes.iter().map(|(spec, a)| (spec.name.clone(), Arc::clone(a)));
        self.adapters.send_replace(Arc::new(adapters.collect()));
        self.meters.send_replace(Arc::new(self.runtimes.meters().collect()));
        let labelled = self.runtimes.iter().filter(|(spec, _)| spec.labels);
        let labelled = labelled.map(|(spec, a)| (spec.name.clone(), Arc::clone(a))).collect();
        self.sources.follow(labelled);
    }

    /// The counters of every workload; those of the workloads that stay go on.
    fn site_table(&self, registry: &Registry) -> SiteTable {
        let before = self.sites.borrow();
        let counters = |id: &WorkloadId| before.get(id).map(Arc::clone).unwrap_or_default();
        Arc::new(registry.workloads.keys().map(|id| (id.clone(), counters(id))).collect())
    }
}

/// Who keeps what we claim, in the words that another house shows.
fn who(settings: &Settings) -> String {
    let admin: Vec<String> = settings.gateway.admin.iter().map(ToString::to_string).collect();
    format!("process {}, whose admin side is {}", std::process::id(), admin.join(", "))
}

/// Ends when it is time to see whether another house has let go of something.
async fn look_again() {
    tokio::time::sleep(claims::LOOK_AGAIN_EVERY).await;
}

fn route_table(
    registry: &Registry,
    gates: &BTreeMap<WorkloadId, Arc<Gate>>,
    counters: &SiteTable,
) -> RouteTable<Arc<Site<Arc<Gate>>>> {
    let mut routes = Vec::new();
    for spec in registry.workloads.values() {
        if let (Some(gate), Some(counters)) = (gates.get(&spec.id), counters.get(&spec.id)) {
            routes.extend(sites(spec, gate, counters));
        }
    }
    // The registry has shared out duplicate patterns already.
    let (table, duplicates) = RouteTable::build(routes);
    for duplicate in duplicates {
        tracing::error!(pattern = %duplicate.pattern, "Left out a route that is taken");
    }
    table
}

fn sites<'a>(
    spec: &'a WorkloadSpec,
    gate: &'a Arc<Gate>,
    counters: &'a Arc<SiteCounters>,
) -> impl Iterator<Item = (dormouse_core::routes::Pattern, Arc<Site<Arc<Gate>>>)> + 'a {
    spec.routes.iter().map(move |route| {
        let site = Site {
            key: Arc::clone(gate),
            workload: spec.id.name().to_owned(),
            port: route.port,
            scheme: route.scheme,
            loading: Arc::clone(&spec.loading),
            held: spec.held,
            counters: Arc::clone(counters),
        };
        (route.pattern.clone(), Arc::new(site))
    })
}

fn layout(registry: &Registry, runtimes: &Runtimes) -> Layout {
    let environments = runtimes.iter().map(|(spec, adapter)| EnvironmentDefinition {
        name: spec.name.clone(),
        provider: Arc::clone(adapter),
    });
    let workloads = registry.workloads.values().map(|spec| Definition {
        id: spec.id.clone(),
        target: spec.target.clone(),
        launch: spec.launch.clone(),
        policy: match &spec.misconfigured {
            Some(message) => Err(message.clone()),
            None => Ok(Arc::clone(&spec.policy)),
        },
    });
    Layout { environments: environments.collect(), workloads: workloads.collect() }
}

fn report_misconfigured(before: &Registry, after: &Registry) {
    for spec in after.workloads.values() {
        let known = before.workloads.get(&spec.id).and_then(|spec| spec.misconfigured.as_ref());
        if let Some(message) = spec.misconfigured.as_ref().filter(|m| known != Some(m)) {
            tracing::warn!(workload = %spec.id, message, "Left a misconfigured workload alone");
        }
    }
}

fn errors_in(reading: &Reading) -> usize {
    reading.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn warn_of_listeners(before: &Settings, after: &Settings) {
    let (before, after) = (&before.gateway, &after.gateway);
    if before.http != after.http || before.admin != after.admin || before.state != after.state {
        tracing::warn!("Restart dormouse to change its listeners or its state folder");
    }
}

/// The files' changes, where there are files and the system can watch them.
struct FileWatch(Option<(Watch, mpsc::Receiver<()>)>);

impl FileWatch {
    fn start(reading: &Reading) -> Self {
        if reading.files.is_empty() {
            return Self(None);
        }
        match Watch::start() {
            Ok(watch) => {
                let mut watch = Self(Some(watch));
                watch.follow(reading);
                watch
            }
            Err(error) => {
                tracing::warn!(%error, "Could not watch the configuration; reload by SIGHUP");
                Self(None)
            }
        }
    }

    fn follow(&mut self, reading: &Reading) {
        if let Some((watch, _)) = &mut self.0
            && let Err(error) = watch.follow(reading)
        {
            tracing::warn!(%error, "Could not watch all of the configuration");
        }
    }

    async fn changed(&mut self) -> Option<()> {
        match &mut self.0 {
            Some((_, signals)) => signals.recv().await,
            None => std::future::pending().await,
        }
    }
}
