//! The process provider: the same checks, with children of our own as targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::policy::Rest;
use dormouse_providers::process::guard::GuardCommand;
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use dormouse_providers::{LaunchSpec, Provider, RestOrder, StartOrder, Target};
use dormouse_testkit::conformance::{Bench, Disturbance, HandDeed, Kind, Setting};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A provider of processes, and a folder in which each of them notes its starts.
struct ProcessBench {
    provider: Arc<ProcessProvider>,
    folder: TempDir,
    serial: AtomicU32,
    kinds: Mutex<BTreeMap<Target, Kind>>,
}

impl ProcessBench {
    async fn here() -> Option<Self> {
        let program = env!("CARGO_BIN_EXE_testguard").into();
        let guard = GuardCommand { program, args: Vec::new() };
        Some(Self {
            provider: ProcessProvider::new(ProcessConfig::new(guard)).unwrap(),
            folder: TempDir::with_prefix("process-bench-").unwrap(),
            serial: AtomicU32::new(0),
            kinds: Mutex::default(),
        })
    }

    /// The first process of the run that is known now, which is also its group.
    async fn leader(&self, target: &Target) -> u32 {
        let seen = self.provider.observe(target, Instant::now() + PATIENCE).await.unwrap();
        u32::try_from(seen.condition.run().expect("it has a run").0 & 0xFFFF_FFFF).unwrap()
    }

    /// Waits until the shell has set its traps, which is seen by what it has begun after that.
    async fn until_set(&self, target: &Target) {
        let leader = self.leader(target).await;
        let is_set = || {
            let children = format!("/proc/{leader}/task/{leader}/children");
            let child = std::fs::read_to_string(children).unwrap_or_default();
            let name = std::fs::read_to_string(format!("/proc/{}/comm", child.trim()));
            name.is_ok_and(|name| name.trim() == "sleep")
        };
        eventually(target, is_set).await;
    }

    async fn rest(&self, target: &Target, rest: Rest) {
        let order = RestOrder { rest, signal: None, grace: PATIENCE };
        self.provider.rest(target, &order, Instant::now() + PATIENCE).await.unwrap();
    }
}

impl Bench for ProcessBench {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider) as Arc<dyn Provider>
    }

    async fn set_up(&self, kind: Kind, setting: Setting) -> Option<Target> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let target = Target::new(&format!("process-{serial}"));
        self.kinds.lock().unwrap().insert(target.clone(), kind);
        match setting {
            Setting::Absent => return Some(target),
            Setting::Created => return None,
            Setting::Stopped | Setting::Running | Setting::Paused => {}
        }
        let order = self.start_order(&target);
        self.provider.start(&target, &order, Instant::now() + PATIENCE).await.unwrap();
        self.until_set(&target).await;
        match setting {
            Setting::Stopped => self.rest(&target, Rest::Kill).await,
            Setting::Paused => self.rest(&target, Rest::Pause).await,
            Setting::Absent | Setting::Created | Setting::Running => {}
        }
        Some(target)
    }

    fn start_order(&self, target: &Target) -> StartOrder {
        let kind = self.kinds.lock().unwrap()[target];
        let note = format!("echo >> {}/{target}", self.folder.path().display());
        // A shell that starts something again and again could be stopped in the middle of a vfork,
        // where the kernel never says that it is stopped.
        let idle = "sleep 86400 & while :; do wait; done";
        let script = match kind {
            Kind::Obedient => format!("trap 'exit 0' TERM; trap '' HUP; {note}; {idle}"),
            Kind::Deaf => format!("trap '' TERM HUP; {note}; {idle}"),
            Kind::Talkative => {
                format!("for i in 1 2 3 4 5; do echo line $i; done; trap 'exit 0' TERM; {idle}")
            }
        };
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), script].to_vec();
        StartOrder { launch: Some(LaunchSpec { command, ..LaunchSpec::default() }.into()) }
    }

    async fn by_hand(&self, target: &Target, deed: HandDeed) -> Option<()> {
        let (signal, ends) = match deed {
            HandDeed::Stop => ("TERM", true),
            HandDeed::Kill => ("KILL", true),
            HandDeed::HangUp => ("HUP", false),
            HandDeed::Pause => ("STOP", false),
            HandDeed::Unpause => ("CONT", false),
            HandDeed::Start
            | HandDeed::Restart
            | HandDeed::Rename(_)
            | HandDeed::Remove
            | HandDeed::Recreate => return None,
        };
        let leader = self.leader(target).await;
        let kill = format!("kill -{signal} -{leader}");
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
        if ends {
            eventually(target, || !lives(leader)).await;
        }
        Some(())
    }

    async fn real_starts(&self, target: &Target) -> Option<usize> {
        let seen = self.provider.observe(target, Instant::now() + PATIENCE).await.unwrap();
        if matches!(seen.condition, Condition::Running { .. }) {
            self.until_set(target).await;
        }
        let notes = std::fs::read_to_string(self.folder.path().join(target.as_str()));
        Some(notes.map_or(0, |notes| notes.lines().count()))
    }

    async fn disturb(&self, _: Disturbance) -> Option<()> {
        None
    }
}

async fn eventually(target: &Target, holds: impl Fn() -> bool) {
    let give_up_at = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up_at, "{target} does not come so far");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Whether a process executes or could; a zombie does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z')
}

dormouse_testkit::conformance_tests!(ProcessBench::here);
