//! What a fake engine and its containers are told to be: flavour, versions, timing, misbehaviour.

use std::collections::BTreeMap;
use std::time::Duration;

/// What kind of engine to be.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Whose words and status codes it speaks.
    pub flavour: Flavour,
    /// The newest API version it offers.
    pub api_version: ApiVersion,
    /// The oldest API version it still answers.
    pub min_api_version: ApiVersion,
    /// Which of `die` and `stop` it says first when a container is stopped.
    pub stop_order: StopOrder,
}

/// Whose words and status codes an engine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Docker, as of 20.10.
    Docker,
    /// Podman's compatible API: states `stopping` and `stopped`, 500 for most wrong states.
    Podman,
}

/// Which of `die` and `stop` is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOrder {
    /// `kill, die, stop`, as 20.10 does.
    DieThenStop,
    /// `kill, stop, die`.
    StopThenDie,
}

/// A version of the engine's API, such as 1.41.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Before the dot.
    pub major: u16,
    /// After it.
    pub minor: u16,
}

/// A container to create.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Its name, without a slash.
    pub name: String,
    /// The name of its image.
    pub image: String,
    /// What it runs; only shown, never executed.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// TCP ports that it declares.
    pub exposed: Vec<u16>,
    /// Ports published on the host.
    pub published: Vec<Publish>,
    /// `default`, `bridge`, `host`, `none`, or the name of a network.
    pub network_mode: String,
    /// Further networks it is attached to.
    pub networks: Vec<String>,
    /// What the engine does when it ends by itself.
    pub restart_policy: RestartPolicy,
    /// How long a stop waits when the caller does not say.
    pub stop_timeout: Option<Duration>,
    /// Whether a health check is declared, and how it turns out.
    pub health: Option<HealthPlan>,
    /// How its process behaves.
    pub behaviour: Behaviour,
    /// The port of a tiny HTTP server that it runs, on a loopback address of its own.
    pub serve: Option<u16>,
}

/// A port published on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The container's own port.
    pub port: u16,
    /// The address on the host.
    pub host_ip: String,
    /// The port on the host; `None` lets the engine choose at each start.
    pub host_port: Option<u16>,
}

/// What the engine does when a container ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// Starts it again, even at the engine's own start after it had been stopped by hand.
    Always,
    /// Starts it again unless it had been stopped by hand.
    UnlessStopped,
    /// Starts it again when its exit code is not zero.
    OnFailure {
        /// At most this often; zero is without limit, as the engine has it.
        retries_max: u32,
    },
}

/// How a declared health check turns out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// Time before each check.
    pub interval: Duration,
    /// The outcome of each check since the start; the last one repeats.
    pub passes: Vec<bool>,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// How the process in a container behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long the engine needs to start it.
    pub start_delay: Duration,
    /// How long after its start the served port listens.
    pub listen_delay: Duration,
    /// What it does when it is asked to stop.
    pub on_term: OnTerm,
    /// Ends by itself this long after each start, with this code.
    pub crash: Option<(Duration, i32)>,
    /// The engine refuses to start it, with this message.
    pub refuse_start: Option<String>,
    /// How long it is `removing` before it is gone.
    pub remove_delay: Duration,
    /// What it writes at each start, line by line.
    pub output: Vec<String>,
}

/// What a process does when it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTerm {
    /// Ends after a while.
    Exit {
        /// How long it takes.
        after: Duration,
        /// Its exit code.
        code: i32,
    },
    /// Goes on as if nothing had been said.
    Ignore,
}

impl EngineConfig {
    /// Docker 20.10 with API 1.41.
    pub fn docker_20_10() -> Self {
        Self {
            flavour: Flavour::Docker,
            api_version: ApiVersion::new(1, 41),
            min_api_version: ApiVersion::new(1, 12),
            stop_order: StopOrder::DieThenStop,
        }
    }

    /// Docker 29, which refuses what is older than 1.44.
    pub fn docker_29() -> Self {
        Self {
            api_version: ApiVersion::new(1, 52),
            min_api_version: ApiVersion::new(1, 44),
            ..Self::docker_20_10()
        }
    }

    /// Podman 4 with its compatible API.
    pub fn podman() -> Self {
        Self {
            flavour: Flavour::Podman,
            api_version: ApiVersion::new(1, 41),
            min_api_version: ApiVersion::new(1, 24),
            stop_order: StopOrder::DieThenStop,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self::docker_20_10()
    }
}

impl ApiVersion {
    /// The version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `1.41`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ContainerSpec {
    /// A container that starts at once, stops at once when asked, and serves nothing.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: "fake:latest".to_owned(),
            command: vec!["/app".to_owned()],
            labels: BTreeMap::new(),
            exposed: Vec::new(),
            published: Vec::new(),
            network_mode: "default".to_owned(),
            networks: Vec::new(),
            restart_policy: RestartPolicy::No,
            stop_timeout: None,
            health: None,
            behaviour: Behaviour::default(),
            serve: None,
        }
    }

    /// Runs an HTTP server on `port` of a loopback address of its own.
    #[must_use]
    pub fn serving(mut self, port: u16) -> Self {
        self.serve = Some(port);
        self.exposing(port)
    }

    /// Declares a TCP port.
    #[must_use]
    pub fn exposing(mut self, port: u16) -> Self {
        if !self.exposed.contains(&port) {
            self.exposed.push(port);
        }
        self
    }

    /// Publishes `port` on a port of the host that the engine chooses at each start.
    #[must_use]
    pub fn publishing(mut self, port: u16, host_ip: &str) -> Self {
        self.published.push(Publish { port, host_ip: host_ip.to_owned(), host_port: None });
        self.exposing(port)
    }

    /// Carries a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Behaves as `change` says.
    #[must_use]
    pub fn behaving(mut self, change: impl FnOnce(&mut Behaviour)) -> Self {
        change(&mut self.behaviour);
        self
    }

    /// Is started again by the engine as `policy` says.
    #[must_use]
    pub fn restarting(mut self, policy: RestartPolicy) -> Self {
        self.restart_policy = policy;
        self
    }

    /// Declares a health check.
    #[must_use]
    pub fn health(mut self, plan: HealthPlan) -> Self {
        self.health = Some(plan);
        self
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start_delay: Duration::ZERO,
            listen_delay: Duration::ZERO,
            on_term: OnTerm::Exit { after: Duration::ZERO, code: 0 },
            crash: None,
            refuse_start: None,
            remove_delay: Duration::ZERO,
            output: Vec::new(),
        }
    }
}

impl RestartPolicy {
    /// The engine's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }
}
