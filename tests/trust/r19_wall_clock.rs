//! R19: the wall clock of the real binary is set while it runs, a day ahead and a day back. Nothing
//! rests for it, nothing hangs, nothing spins: periods are of a clock that nobody sets. Only what
//! outlives a process, a pin's end, is a moment on the wall clock.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dormouse_wire::Phase;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::client::{Stream, exchange, get};
use crate::harness::house::House;
use crate::harness::local::process;
use crate::harness::report::Report;
use crate::harness::vitals::cpu;

const DAY_S: i64 = 86_400;
const IDLE: Duration = Duration::from_secs(5);
/// How long it is looked that nothing rests, after the first use.
const LOOKED_FOR: Duration = Duration::from_millis(4_200);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The clock is set while something starts that takes so long.
const STARTS_FOR: Duration = Duration::from_millis(1_500);
const PROBED_EVERY: Duration = Duration::from_millis(300);
/// Of a core, while nothing happens. A thread that spins takes all that it gets.
const CPU_SHARE_MAX: f64 = 0.25;
/// Idle in turns, and slow to start.
const NAPS: [&str; 4] = ["naps-a", "naps-b", "naps-c", "slow"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_wall_clock_that_is_set_moves_nothing() {
    let Some(clock) = WallClock::of_machine() else { return };
    let mut report = Report::of("R19");
    let probed = Probed::start().await;
    let mut house = House::start_with(&configuration(&probed), &clock.variables()).await;
    for name in ["used", "pinned"] {
        report.case(served(&house, name).await);
    }
    assert_eq!(house.admin.pin("pinned", "2h").await.status, 200);
    let mut events = Stream::open(house.http, get("used.test", "/sse?n=0&every_ms=200")).await;
    let mut busiest = 0.0_f64;
    for ahead_s in [0, DAY_S, -DAY_S, 0] {
        let (share, outcomes) = set_and_look(&house, &clock, &probed, ahead_s).await;
        report.cases(outcomes);
        report.case(events.next().await.map(drop).ok_or("the stream ended"));
        busiest = busiest.max(share);
    }
    drop(events);
    report.cases(pins_after_a_restart(&mut house, &clock).await);
    report.finish(format_args!(
        "looks, uses and probes while the clock went a day ahead, two back and one ahead; at most \
         {:.1} % of a core while it was looked",
        busiest * 100.0
    ));
}

/// Uses everything, sets the clock, and looks what becomes of it. Answers the share of a core.
async fn set_and_look(
    house: &House,
    clock: &WallClock,
    probed: &Probed,
    ahead_s: i64,
) -> (f64, Vec<Result<(), String>>) {
    let mut outcomes = Vec::new();
    let waking = Instant::now();
    // The slow one sleeps, so that its wake is under way when the clock is set.
    let slow = exchange(house.http, get("slow.test", "/instance"));
    let others = async {
        tokio::time::sleep(STARTS_FOR / 3).await;
        clock.set(ahead_s);
        let used_at = Instant::now();
        let mut outcomes = Vec::new();
        for name in NAPS.iter().filter(|name| **name != "slow") {
            outcomes.push(served(house, name).await);
        }
        (used_at, outcomes)
    };
    let (slow, (used_at, others)) = tokio::join!(slow, others);
    let took = waking.elapsed();
    outcomes.push(match slow {
        Ok(answer) if answer.status == 200 && took >= STARTS_FOR => Ok(()),
        other => Err(format!("the slow one after {took:?}: {other:?}")),
    });
    outcomes.extend(others);
    outcomes.push(clock.is_known_to(house));

    let (looked_from, cpu_before, probes) = (Instant::now(), cpu(house.pid()), probed.count());
    while used_at.elapsed() < LOOKED_FOR - LOOK_EVERY {
        tokio::time::sleep(LOOK_EVERY).await;
        for workload in house.admin.workloads().await {
            let up = workload.phase == Phase::Ready;
            let soon = used_at.elapsed() < LOOKED_FOR;
            // A machine that is too busy to look in time has seen nothing.
            outcomes.push(if up || !soon { Ok(()) } else { Err(format!("{workload:?}")) });
        }
    }
    let looked = looked_from.elapsed();
    let share = (cpu(house.pid()) - cpu_before).as_secs_f64() / looked.as_secs_f64();
    outcomes.push(if share <= CPU_SHARE_MAX { Ok(()) } else { Err(format!("{share:.2} cores")) });
    let probes = probed.count() - probes;
    let due = looked.as_millis() / PROBED_EVERY.as_millis();
    let steady = (due as usize / 4..=due as usize * 2).contains(&probes);
    outcomes.push(steady.then_some(()).ok_or(format!("{probes} probes instead of {due}")));
    for name in NAPS {
        house.admin.until(name, Phase::Asleep).await;
    }
    for name in ["used", "pinned"] {
        let phase = house.admin.phase(name).await;
        let up = phase == Phase::Ready;
        outcomes.push(up.then_some(()).ok_or(format!("{name} is {}", phase.as_str())));
    }
    (share, outcomes)
}

/// A pin is in force until its moment on the wall clock, which is all that a new process has.
async fn pins_after_a_restart(house: &mut House, clock: &WallClock) -> Vec<Result<(), String>> {
    let mut outcomes = Vec::new();
    clock.set(DAY_S);
    house.end().await;
    house.start_again().await;
    let over = house.admin.workload("pinned").await;
    outcomes.push(if over.pins.is_empty() { Ok(()) } else { Err(format!("over: {over:?}")) });
    assert_eq!(house.admin.pin("pinned", "2h").await.status, 200);
    clock.set(0);
    house.end().await;
    house.start_again().await;
    let kept = house.admin.until("pinned", Phase::Ready).await;
    outcomes.push(if kept.pins.len() == 1 { Ok(()) } else { Err(format!("kept: {kept:?}")) });
    outcomes
}

async fn served(house: &House, name: &str) -> Result<(), String> {
    match exchange(house.http, get(&format!("{name}.test"), "/instance")).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{name}: {other:?}")),
    }
}

fn configuration(probed: &Probed) -> String {
    let idle = format!("idle_timeout = \"{}s\"\nwake_timeout = \"20s\"", IDLE.as_secs());
    let starts_for = format!("START_DELAY_MS={}", STARTS_FOR.as_millis());
    let mut text = process("used", &[], &idle) + &process("pinned", &[], &idle);
    for name in NAPS {
        let knobs: &[&str] = if name == "slow" { &[&starts_for] } else { &[] };
        text += &process(name, knobs, &idle);
    }
    let every = PROBED_EVERY.as_millis();
    let probe =
        format!("probe = \"tcp://127.0.0.1:{}\"\npoll_interval = \"{every}ms\"", probed.port);
    text + "[watch.steady]\n" + &probe + "\n"
}

/// The wall clock of one process, as libfaketime has it set: the clock that nobody sets, and what
/// the file system says of files, are the machine's own.
struct WallClock {
    library: PathBuf,
    ahead: PathBuf,
    _folder: TempDir,
}

impl WallClock {
    /// Nothing where the machine has no libfaketime, unless `DORMOUSE_TEST_CLOCK` requires it.
    fn of_machine() -> Option<Self> {
        let library = library();
        let required = std::env::var("DORMOUSE_TEST_CLOCK").is_ok_and(|it| it == "required");
        assert!(library.is_some() || !required, "libfaketime is missing: see scripts/test");
        let Some(library) = library else {
            println!("skipped: there is no libfaketime");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let clock = Self { library, ahead: folder.path().join("ahead"), _folder: folder };
        clock.set(0);
        Some(clock)
    }

    fn variables(&self) -> [(&str, &str); 5] {
        [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.ahead.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
    }

    /// Sets it so much ahead of the machine's; a file that is half written is never read.
    fn set(&self, ahead_s: i64) {
        let draft = self.ahead.with_extension("draft");
        fs::write(&draft, format!("{ahead_s:+}\n")).unwrap();
        fs::rename(draft, &self.ahead).unwrap();
    }

    /// Whether what was logged last, a wake, bears its time.
    fn is_known_to(&self, house: &House) -> Result<(), String> {
        let ahead_s: i64 = fs::read_to_string(&self.ahead).unwrap().trim().parse().unwrap();
        let log = house.log();
        let last = log.last().and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        let told: Timestamp = last.parse().map_err(|error| format!("{last:?}: {error}"))?;
        let off_s = told.as_second() - Timestamp::now().as_second() - ahead_s;
        if off_s.abs() < DAY_S / 4 { Ok(()) } else { Err(format!("{off_s} s off: {last}")) }
    }
}

/// Where Debian's, Fedora's and Alpine's packages put it.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let folders = folders.chain(["/usr/lib64", "/usr/lib"].map(PathBuf::from));
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}

/// A service that a watch probes.
struct Probed {
    port: u16,
    probes: Arc<AtomicUsize>,
    _accepts: JoinSet<()>,
}

impl Probed {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let probes = Arc::new(AtomicUsize::new(0));
        let mut accepts = JoinSet::new();
        let counted = Arc::clone(&probes);
        accepts.spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, probes, _accepts: accepts }
    }

    fn count(&self) -> usize {
        self.probes.load(Ordering::Relaxed)
    }
}
