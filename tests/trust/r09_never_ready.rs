//! R9: one that never listens, one that accepts and never answers, one that answers 503 for ever.
//! Everybody who waits has a clear end at `wake_timeout`, and the memory of their wait comes back.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::harness::client::{exchange, get};
use crate::harness::docker::Docker;
use crate::harness::house::House;
use crate::harness::quiet;
use crate::harness::report::{Report, UNNAMED, scale};

const WAKE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much earlier or later than `wake_timeout` half of the answers may come.
const MARGIN: Duration = Duration::from_secs(1);
/// And the last of them, on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(10);
const CROWD: usize = 300;
const ROUNDS: usize = 4;
/// What all later rounds may add to the memory after the first one: the allocator keeps some of it
/// for reuse, while 10 KiB that each caller left behind would be more.
const GROWTH_MAX_KIB: u64 = 24 * 1024;
/// How each behaves.
const CAST: [(&str, &str, &str); 3] = [
    ("deaf", "NEVER_LISTEN=1", "ready = { tcp = true }"),
    ("mute", "NEVER_ANSWER=1", "ready = { http = \"/health\" }"),
    ("sick", "UNHEALTHY_MS=86400000", "ready = { http = \"/health\" }"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_what_never_gets_ready_has_a_clear_end() {
    let Some(docker) = Docker::of_machine().await else { return };
    let _alone = quiet().await;
    let mut report = Report::of("R09");
    let mut configuration = docker.environment();
    let rounds = ROUNDS * scale(UNNAMED);
    for round in 0..rounds {
        for (short, knob, ready) in CAST {
            let app = docker.app(&format!("{short}-{round}"), &[knob]).await;
            let wake = WAKE_TIMEOUT.as_secs();
            let keys = format!("wake_timeout = \"{wake}s\"\nidle_timeout = \"never\"\n{ready}");
            configuration += &app.workload(&keys);
        }
    }
    let house = House::start(&configuration).await;
    let mut memory = Vec::new();
    let mut waits = Vec::new();
    for round in 0..rounds {
        let mut crowd = JoinSet::new();
        for (short, ..) in CAST {
            for _ in 0..CROWD {
                let (at, host) = (house.http, format!("{short}-{round}.test"));
                crowd.spawn(async move {
                    let asked = Instant::now();
                    (exchange(at, get(&host, "/")).await, asked.elapsed())
                });
            }
        }
        for (answer, took) in crowd.join_all().await {
            let told = |answer: &crate::harness::client::Answer| {
                answer.status == 504 && answer.json()["slug"] == "never-ready"
            };
            report.case(match answer {
                Ok(answer) if told(&answer) && took <= WAKE_TIMEOUT + LATE_MAX => Ok(()),
                Ok(answer) => Err(format!("{} after {took:?}: {}", answer.status, answer.text())),
                Err(error) => Err(format!("after {took:?}: {error}")),
            });
            waits.push(took);
        }
        memory.push(resident_kib(house.pid()));
    }
    waits.sort_unstable();
    let middle = waits[waits.len() / 2];
    let on_time = middle + MARGIN >= WAKE_TIMEOUT && middle <= WAKE_TIMEOUT + MARGIN;
    report.case(on_time.then_some(()).ok_or(format!("half of them waited {middle:?}")));
    let growth = memory[memory.len() - 1].saturating_sub(memory[0]);
    let flat = growth <= GROWTH_MAX_KIB;
    report.case(flat.then_some(()).ok_or(format!("{growth} KiB more: {memory:?}")));
    report.finish(format_args!(
        "callers; they waited {:.1?} to {:.1?}, {middle:.1?} in the middle; KiB after each round: \
         {memory:?}",
        waits[0],
        waits[waits.len() - 1],
    ));
}

/// What the process has in memory of its own: pages of its program come and go.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
