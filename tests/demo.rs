//! The first thing that a person tries: `dormouse demo` says where to look, wakes what is visited,
//! puts it back to sleep, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse_wire::{Phase, ProgressKind};
use harness::admin::Admin;
use harness::binary::Binary;
use harness::client::{fetch, get};
use harness::{PATIENCE, eventually, quiet};
use rustix::process::Signal;

const WORKLOADS: [&str; 3] = ["api", "db", "web"];
/// What the invitation promises, and the time that the rests themselves take.
const SLEEPS_WITHIN: Duration = Duration::from_secs(15 + 10);

/// A demo that has said where it is.
struct Demo {
    binary: Binary,
    admin: Admin,
    http: SocketAddr,
    folder: PathBuf,
}

/// A process of this machine, told from later ones with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    started: u64,
}

#[tokio::test]
async fn what_is_visited_wakes_and_sleeps_again_and_nothing_is_left() {
    // Two that begin at the same moment would want the same ports.
    let _alone = quiet().await;
    let mut demo = Demo::invited().await;
    for name in WORKLOADS {
        demo.admin.until(name, Phase::Asleep).await;
    }
    let page = fetch(demo.http, get("web.localhost", "/")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Your visit woke it"), "{}", page.text());
    assert_eq!(demo.admin.phase("db").await, Phase::Asleep, "nobody has asked for it");

    let answer = fetch(demo.http, get("api.localhost", "/some/path")).await;
    assert_eq!((answer.status, &answer.json()["message"]), (200, &"awake".into()));
    assert_eq!(demo.admin.workload("db").await.leases.dependent, 1);
    let steps = demo.admin.workload("api").await.last_wake.unwrap().steps;
    let waited = |kind| steps.iter().any(|step| step.kind == kind && step.dependency.is_some());
    assert!(waited(ProgressKind::WakingDependency) && waited(ProgressKind::DependencyReady));
    assert!(descendants(demo.binary.pid()).len() >= WORKLOADS.len());

    for name in WORKLOADS {
        demo.admin.until_within(SLEEPS_WITHIN, name, Phase::Asleep).await;
    }
    let (api, db) = (demo.admin.workload("api").await, demo.admin.workload("db").await);
    assert!(api.since <= db.since, "who is needed sleeps last: {api:?} {db:?}");

    assert_eq!(fetch(demo.http, get("web.localhost", "/")).await.status, 200, "and again");
    let children = descendants(demo.binary.pid());
    assert!(!children.is_empty() && demo.folder.is_dir());
    let status = demo.binary.end_by(Signal::INT).await;
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    assert!(!demo.folder.exists(), "{} is left", demo.folder.display());
    assert_eq!(alive(&children), [], "of {children:?}");
}

#[tokio::test]
async fn no_process_outlives_a_demo_that_is_killed() {
    let _alone = quiet().await;
    let mut demo = Demo::invited().await;
    for host in ["web.localhost", "api.localhost"] {
        assert_eq!(fetch(demo.http, get(host, "/")).await.status, 200);
    }
    let children = descendants(demo.binary.pid());
    assert!(children.len() >= WORKLOADS.len(), "{children:?}");
    demo.binary.kill();
    let all_ended = async || alive(&children).is_empty();
    eventually(PATIENCE, "every process has ended", all_ended).await;
    // Nobody was left to remove it.
    std::fs::remove_dir_all(&demo.folder).unwrap();
}

impl Demo {
    /// Starts a demo and reads what it invites to.
    async fn invited() -> Self {
        let binary = Binary::start(&["demo"]);
        let port = async |before: &str| {
            binary.until_logged(before).await;
            let lines = binary.log();
            let mut after = lines.iter().filter_map(|line| line.split_once(before));
            let (_, rest) = after.next().unwrap();
            let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap();
            SocketAddr::from(([127, 0, 0, 1], digits.parse().unwrap()))
        };
        let http = port("http://web.localhost:").await;
        assert_eq!(port("http://api.localhost:").await, http);
        let admin = Admin::at(port("http://127.0.0.1:").await);
        eventually(PATIENCE, "the demo answers", async || admin.is_up().await).await;
        let lines = binary.log();
        let folder = lines.iter().map(Path::new).find(|path| path.is_absolute() && path.is_dir());
        let folder = folder.expect("the invitation names its folder").to_owned();
        Self { binary, admin, http, folder }
    }
}

/// Every process that comes from `ancestor`, directly or not.
fn descendants(ancestor: u32) -> Vec<Process> {
    let all: Vec<(Process, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(look)
        .collect();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(process, _)| process.pid));
        at += 1;
    }
    let descends = |process: &Process| found[1..].contains(&process.pid);
    all.into_iter().map(|(process, _)| process).filter(descends).collect()
}

/// Those that still run.
fn alive(processes: &[Process]) -> Vec<Process> {
    let runs = |process: &&Process| look(process.pid).is_some_and(|(now, _)| now == **process);
    processes.iter().filter(runs).cloned().collect()
}

/// A process and its parent; nothing for one that has ended, waited for or not.
fn look(pid: u32) -> Option<(Process, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything; then state, parent, …, start.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    (*state != "Z").then_some(())?;
    Some((Process { pid, started: started.parse().ok()? }, parent.parse().ok()?))
}
