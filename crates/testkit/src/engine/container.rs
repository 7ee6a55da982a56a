//! One container of the fake engine: what it is now, and which changes of state are legal.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::DropGuard;

use super::spec::{ContainerSpec, HealthPlan, Publish, RestartPolicy};

/// Lines of output kept per container.
const LOG_LINES_MAX: usize = 4096;

/// A container, with what the engine knows of it.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) spec: ContainerSpec,
    pub(super) created_ns: u64,
    pub(super) status: Status,
    pub(super) exit_code: i32,
    pub(super) error: String,
    pub(super) started_ns: Option<u64>,
    pub(super) finished_ns: Option<u64>,
    pub(super) run: Option<Run>,
    /// How often a process was really started.
    pub(super) runs: u64,
    pub(super) restart_count: u32,
    /// Failed runs in a row, for the back-off of the restart policy.
    pub(super) failures_in_a_row: u32,
    pub(super) manually_stopped: bool,
    /// A kill or a stop forbids the next restart by policy.
    pub(super) restart_cancelled: bool,
    pub(super) health: HealthState,
    pub(super) log: VecDeque<LogLine>,
    /// The engine's lock of this container: held through a start, taken by an inspect.
    pub(super) turn: Arc<Semaphore>,
    pub(super) changed: watch::Sender<u64>,
}

/// The engine's idea of a container's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// One life of a container's process.
pub(super) struct Run {
    pub(super) serial: u64,
    pub(super) pid: u64,
    /// Network name to address.
    pub(super) addresses: BTreeMap<String, IpAddr>,
    /// Published ports, with the host's port decided.
    pub(super) published: Vec<Publish>,
    pub(super) signals: mpsc::Sender<i32>,
    pub(super) frozen: watch::Sender<bool>,
    pub(super) began_ns: u64,
    /// A stop is under way.
    pub(super) stopping: bool,
    /// Ends the tasks of this life.
    pub(super) _end: DropGuard,
}

/// What the health checks have said so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HealthState {
    pub(super) verdict: Verdict,
    pub(super) checks: usize,
    pub(super) failing_streak: u32,
}

/// The engine's judgement of a container's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

/// A line that a container wrote.
#[derive(Clone, Debug)]
pub(super) struct LogLine {
    pub(super) at_ns: u64,
    /// 1 for standard output, 2 for standard error.
    pub(super) stream: u8,
    pub(super) text: String,
}

impl Container {
    pub(super) fn new(id: String, spec: ContainerSpec, created_ns: u64) -> Self {
        Self {
            id,
            spec,
            created_ns,
            status: Status::Created,
            exit_code: 0,
            error: String::new(),
            started_ns: None,
            finished_ns: None,
            run: None,
            runs: 0,
            restart_count: 0,
            failures_in_a_row: 0,
            manually_stopped: false,
            restart_cancelled: false,
            health: HealthState::default(),
            log: VecDeque::new(),
            turn: Arc::new(Semaphore::new(1)),
            changed: watch::Sender::new(0),
        }
    }

    /// Whether a process exists; the engine calls a paused container running.
    pub(super) fn has_process(&self) -> bool {
        self.run.is_some()
    }

    pub(super) fn is_restarting(&self) -> bool {
        self.status == Status::Restarting
    }

    pub(super) fn run_serial(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.serial)
    }

    /// Begins a life.
    pub(super) fn run_began(&mut self, run: Run) {
        self.status = Status::Running;
        self.exit_code = 0;
        self.error.clear();
        self.started_ns = Some(run.began_ns);
        self.health = HealthState::default();
        self.runs += 1;
        self.run = Some(run);
        self.touched();
    }

    /// Ends the present life and hands it back.
    pub(super) fn run_ended(&mut self, exit_code: i32, now_ns: u64) -> Option<Run> {
        let run = self.run.take()?;
        self.status = Status::Exited;
        self.exit_code = exit_code;
        self.finished_ns = Some(now_ns);
        self.health.verdict = Verdict::Unhealthy;
        self.touched();
        Some(run)
    }

    /// Whether the restart policy wants it started again after it ended by itself.
    pub(super) fn wants_restart(&self) -> bool {
        !self.restart_cancelled && self.policy_restarts(self.manually_stopped)
    }

    /// Whether the engine starts it when the engine itself starts.
    pub(super) fn wants_start_with_the_engine(&self) -> bool {
        self.status != Status::Created && self.policy_restarts(self.manually_stopped)
    }

    /// Freezes or thaws; the caller has checked that this is a change.
    pub(super) fn set_frozen(&mut self, frozen: bool) {
        if let Some(run) = &self.run {
            run.frozen.send_replace(frozen);
            self.status = if frozen { Status::Paused } else { Status::Running };
            if frozen {
                self.health.verdict = Verdict::Unhealthy;
            }
            self.touched();
        }
    }

    /// Records the outcome of a check, and says the verdict when it changed.
    pub(super) fn health_checked(&mut self) -> Option<(bool, Option<Verdict>)> {
        let plan = self.spec.health.as_ref()?;
        let passed = plan.outcome(self.health.checks);
        let before = self.health.verdict;
        self.health.checks += 1;
        if passed {
            self.health.failing_streak = 0;
            self.health.verdict = Verdict::Healthy;
        } else {
            self.health.failing_streak += 1;
            if self.health.failing_streak >= plan.retries {
                self.health.verdict = Verdict::Unhealthy;
            }
        }
        self.touched();
        Some((passed, (before != self.health.verdict).then_some(self.health.verdict)))
    }

    pub(super) fn wrote(&mut self, line: LogLine) {
        if self.log.len() == LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    pub(super) fn touched(&mut self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn policy_restarts(&self, manually_stopped: bool) -> bool {
        match self.spec.restart_policy {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !manually_stopped,
            RestartPolicy::OnFailure { retries_max } => {
                self.exit_code != 0 && (retries_max == 0 || self.restart_count < retries_max)
            }
        }
    }
}

impl Status {
    /// The word in an inspect and in a listing.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

impl Verdict {
    /// The word in an inspect and in an event.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl HealthPlan {
    fn outcome(&self, check: usize) -> bool {
        self.passes.get(check).or(self.passes.last()).copied().unwrap_or(true)
    }
}
