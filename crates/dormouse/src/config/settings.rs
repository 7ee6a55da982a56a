//! What a configuration says, typed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::findings::Place;
use dormouse_core::policy::Until;
use dormouse_core::{EnvironmentName, Policy, WorkloadId};
use dormouse_providers::{LaunchSpec, Target};
use dormouse_proxy::{Held, Loading};
use ipnet::IpNet;

use super::address::{DockerAddress, Listen};
use super::report::Report;
use super::secret::Secret;
use super::section::{Section, Title};
use super::shared::Shared;
use super::tree::{Entry, Node, Spot, Value};
use super::watch::{self, WatchSpec};
use super::{environment, gateway, treatment, workload};
use crate::registry::{ListenerSpec, RouteSpec};

/// Everything that the file says. What a workload needs is resolved by the registry, for labels
/// define workloads too.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Listeners, state and the people behind proxies.
    pub gateway: Gateway,
    /// The connections to runtimes.
    pub environments: BTreeMap<EnvironmentName, EnvironmentSpec>,
    /// The services that are watched, by name.
    pub watches: BTreeMap<String, WatchSpec>,
    pub(crate) defaults: Treatment,
    pub(crate) workloads: Vec<Draft>,
}

impl Settings {
    /// Nothing that we start gets these env vars.
    pub(crate) fn withhold(&mut self, names: &BTreeSet<String>) {
        let mut launches = Shared::default();
        for launch in self.workloads.iter_mut().filter_map(|draft| draft.launch.as_mut()) {
            Arc::make_mut(launch).withheld.clone_from(names);
            launches.share(launch);
        }
        for watch in self.watches.values_mut() {
            watch.withheld.clone_from(names);
        }
    }
}

/// The gateway's own settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Where HTTP visitors come in.
    pub http: Vec<Listen>,
    /// Where the API, the dashboard and the metrics are served.
    pub admin: Vec<Listen>,
    /// Who may use the admin side, and for what. Loopback and unix sockets need none.
    pub admin_tokens: Vec<AdminToken>,
    /// Where what must survive a restart is kept.
    pub state: PathBuf,
    /// The proxies whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long open requests may go on when dormouse stops.
    pub drain: Duration,
}

/// A token of the admin side.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminToken {
    /// What the caller has to send.
    pub token: Secret,
    /// What it allows.
    pub scope: Scope,
}

/// What a token allows; each allows what the ones before it allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looking.
    Read,
    /// Waking, sleeping, pinning.
    Operate,
    /// Everything.
    Admin,
}

/// A connection to one runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentSpec {
    /// Its name.
    pub name: EnvironmentName,
    /// Which runtime, and where.
    pub kind: EnvironmentKind,
    /// Whether labels found there define workloads.
    pub labels: bool,
    /// How often its counters are read; never when absent.
    pub sample_interval: Option<Duration>,
}

/// The runtimes that this version speaks to.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvironmentKind {
    /// A Docker-compatible engine.
    Docker(DockerSpec),
    /// Child processes of dormouse itself.
    Process,
}

/// How to reach a Docker-compatible engine.
#[derive(Clone, Debug, PartialEq)]
pub struct DockerSpec {
    /// Where it answers.
    pub address: DockerAddress,
    /// How TLS is spoken, where it is with more than this machine's roots.
    pub tls: Option<TlsSpec>,
    /// Sent as `X-Hawser-Token`.
    pub token: Option<Secret>,
    /// The network in which containers are reached; any shared one when absent.
    pub network: Option<String>,
}

/// How TLS is spoken to an engine. All texts are PEM.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsSpec {
    /// Who may have signed the engine's certificate; this machine's roots when absent.
    pub ca: Option<Secret>,
    /// Our own certificate, with its chain.
    pub cert: Option<Secret>,
    /// The key of our own certificate.
    pub key: Option<Secret>,
    /// The name the engine's certificate has to bear; the address's host when absent.
    pub server_name: Option<String>,
    /// Whether any certificate of the engine is accepted.
    pub insecure: bool,
}

/// How a workload is treated: what `[defaults]` may say too. What is not said otherwise is shared with
/// the defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Treatment {
    pub(crate) policy: Arc<Policy>,
    pub(crate) loading: Arc<Loading>,
    pub(crate) held: Held,
    /// Never when absent.
    pub(crate) connection_idle: Option<Duration>,
}

/// A workload as the file or a label says it, with its needs by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    pub(crate) id: WorkloadId,
    pub(crate) environment: EnvironmentName,
    pub(crate) target: Target,
    pub(crate) launch: Option<Arc<LaunchSpec>>,
    pub(crate) treatment: Treatment,
    pub(crate) needs: Vec<NeedWish>,
    pub(crate) routes: Vec<RouteWish>,
    pub(crate) listeners: Vec<ListenerSpec>,
    pub(crate) misconfigured: Option<String>,
    pub(crate) origin: Origin,
    /// Where it is defined.
    pub(crate) place: Place,
    /// Its project and service, where Compose made it.
    pub(crate) compose: Option<Box<ComposeService>>,
}

/// Where a workload's definition comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file.
    File,
    /// Labels at its runtime.
    Labels,
}

/// The service of a Compose project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ComposeService {
    pub(crate) project: String,
    pub(crate) service: String,
}

/// A need by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NeedWish {
    pub(crate) on: Wanted,
    pub(crate) until: Until,
    pub(crate) place: Place,
}

/// What a need names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A workload, by its name or its id.
    Workload(String),
    /// A service of the same Compose project, as Compose itself wrote it down.
    Service(String),
}

/// A route with the place where it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RouteWish {
    pub(crate) spec: RouteSpec,
    pub(crate) place: Place,
}

/// Reads the whole tree. What is wrong goes to the report, and the rest is read nevertheless.
pub(crate) fn read(entries: Vec<Entry>, report: &mut Report<'_>) -> Settings {
    let spot = Spot::File { path: PathBuf::new().into(), span: 0..0 };
    let root = Node { value: Value::Table(entries), spot: spot.clone() };
    let mut section = Section::of(&root, &spot, &Title::new(""))
        .expect("the root is a table, and files are bounded");
    section.take_include(report);
    let gateway = gateway::read(section.take(report, "gateway"), report);
    let defaults = section.take(report, "defaults");
    let defaults = treatment::read_defaults(defaults, report);
    let known = environment::read_all(section.take(report, "environment"), report);
    let workloads = section.take(report, "workload");
    let workloads = workload::read_all(workloads, &defaults, &known, report);
    let watches = watch::read_all(section.take(report, "watch"), report);
    section.close(report);
    let environments = environment::with_implicit(known.specs, &workloads);
    Settings { gateway, environments, watches, defaults, workloads }
}
