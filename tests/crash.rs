//! Dormouse killed at random points and started again: what runs gets a full idle period, what
//! sleeps sleeps on, pins are still there, and no process is left behind.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use dormouse_testkit::engine::Call;
use dormouse_wire::Phase;
use harness::admin::Admin;
use harness::client::{exchange, get};
use harness::dice::Dice;
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::{Report, scale};
use harness::testapp;
use harness::{PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Kills of each house; there are two at a time.
const KILLS: usize = 30;
/// The scale of 500 kills.
const FULL: usize = 9;
const IDLE: Duration = Duration::from_millis(600);
/// The kill comes at most so long after the requests began.
const LIFE_MAX: Duration = Duration::from_millis(1300);
/// How soon children are gone, and the pinned workload is known to be awake.
const SOON: Duration = Duration::from_secs(5);
/// A rest may end so long after it was ordered.
const REST_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r05_a_killed_dormouse_comes_back_and_rests_and_wakes_nothing() {
    let mut report = Report::of("R05");
    let seed = report.seed();
    let houses = tokio::join!(survive(seed, "one"), survive(seed ^ 0xBEEF, "two"));
    let (Some(one), Some(two)) = houses else { return };
    let mut met = one.met;
    for (phase, count) in two.met {
        *met.entry(phase).or_default() += count;
    }
    report.cases((0..2 * KILLS * scale(FULL)).map(|_| Ok::<(), String>(())));
    report.cases([one.wrong, two.wrong].concat().into_iter().map(Err));
    for phase in ["waking", "ready", "draining", "settling", "asleep"] {
        assert!(met.contains_key(phase), "no kill met a workload that was {phase}");
    }
    report.finish(format_args!("kills, and what went wrong; phases at the kills: {met:?}"));
}

/// What became of one house.
#[derive(Default)]
struct Outcome {
    /// How many workloads were in which phase when dormouse was killed.
    met: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

/// The workloads of one house.
struct Cast {
    visited: Vec<App>,
    pinned: App,
    never: App,
    marker: String,
}

/// One restart: from when to when nothing may have been rested or woken.
struct Window {
    killed: Instant,
    began: Instant,
    began_at: SystemTime,
}

async fn survive(seed: u64, marker: &str) -> Option<Outcome> {
    let docker = Docker::of_machine().await?;
    let cast = Cast::assemble(&docker, marker).await;
    let mut house = House::start(&cast.configuration(&docker)).await;
    house.admin.until("never", Phase::Asleep).await;
    assert_eq!(house.admin.pin("pinned", "1h").await.status, 200);
    house.admin.until("pinned", Phase::Ready).await;
    let mut dice = Dice::new(seed);
    let mut outcome = Outcome::default();
    let mut windows = Vec::new();
    for round in 0..KILLS * scale(FULL) {
        let visits = match round % 5 {
            0 => cast.drain(&house).await,
            _ => cast.visit(&house, &mut dice),
        };
        sleep(dice.period(LIFE_MAX)).await;
        for workload in house.admin.workloads().await {
            *outcome.met.entry(workload.phase.as_str()).or_default() += 1;
            if [Phase::Gone, Phase::Failed].contains(&workload.phase) {
                outcome.wrong.push(format!("{workload:?}\n{}", house.end_of_log()));
            }
        }
        house.kill();
        let killed = Instant::now();
        drop(visits);
        let alone = async || !cast.has_child();
        eventually(SOON, "no child outlives dormouse", alone).await;

        let window = Window { killed, began: Instant::now(), began_at: SystemTime::now() };
        house.start_again().await;
        sleep_until(window.began + IDLE).await;
        windows.push(window);
        cast.check_pinned(&docker, &house, &mut outcome).await;
    }
    cast.check(&docker, &windows, &mut outcome);
    Some(outcome)
}

impl Cast {
    async fn assemble(docker: &Docker, marker: &str) -> Self {
        let mut visited = Vec::new();
        for (short, knob) in [
            ("pause", ""),
            ("kill", ""),
            ("stop", "TERM_DELAY_MS=150"),
            ("slow-kill", "START_DELAY_MS=300"),
        ] {
            visited.push(docker.app(short, &[knob]).await);
        }
        let (pinned, never) = (docker.app("pinned", &[]).await, docker.app("never", &[]).await);
        let marker = format!("crash-{}-{marker}", std::process::id());
        Self { visited, pinned, never, marker }
    }

    fn configuration(&self, docker: &Docker) -> String {
        let idle = format!("idle_timeout = \"{}ms\"\n", IDLE.as_millis());
        let mut text = docker.environment();
        for app in self.visited.iter().chain([&self.pinned, &self.never]) {
            let rest = app.short.rsplit('-').next().unwrap();
            let rest = if ["pause", "stop"].contains(&rest) { rest } else { "kill" };
            text += &app.workload(&format!("{idle}rest = \"{rest}\""));
        }
        let binary = testapp::binary().display();
        let marker = &self.marker;
        text + &format!(
            "[workload.process]\ncommand = [\"{binary}\", \"PORT=$PORT\", \"MARK={marker}\"]\n\
             hosts = [\"process.test\"]\n{idle}"
        )
    }

    /// Visitors who come at random, and a person who now and then sends something to sleep.
    fn visit(&self, house: &House, dice: &mut Dice) -> JoinSet<()> {
        let mut visits = JoinSet::new();
        let mut names: Vec<String> = self.visited.iter().map(|app| app.short.clone()).collect();
        names.push("process".to_owned());
        for _ in 0..6 {
            let (name, at) = (dice.pick(&names).clone(), dice.period(LIFE_MAX / 2));
            let (http, admin, asks) = (house.http, house.admin, dice.below(3) == 0);
            // Some take their time, so that a forced sleep has to wait for them.
            let path = *dice.pick(&["/instance", "/slow?ms=500"]);
            visits.spawn(async move {
                sleep(at).await;
                // Either is cut off where the kill comes first.
                if asks {
                    order_sleep(admin, &name).await;
                } else {
                    let _ = exchange(http, get(&format!("{name}.test"), path)).await;
                }
            });
        }
        visits
    }

    /// A forced sleep that has to wait for somebody.
    async fn drain(&self, house: &House) -> JoinSet<()> {
        let (http, admin, host) = (house.http, house.admin, self.visited[1].host());
        let name = self.visited[1].short.clone();
        let known = async || {
            let environments = house.admin.call("GET", "/api/v1/environments", "").await.json();
            environments.as_array().unwrap().iter().all(|it| it["state"] == "up")
        };
        eventually(PATIENCE, "every environment is up", known).await;
        let mut visits = JoinSet::new();
        visits.spawn(async move {
            let _ = exchange(http, get(&host, "/slow?ms=5000")).await;
        });
        let in_use = async || {
            let workload = house.admin.workload(&name).await;
            workload.phase == Phase::Ready && workload.leases.request > 0
        };
        eventually(PATIENCE, "somebody uses it", in_use).await;
        let called = name.clone();
        visits.spawn(async move { order_sleep(admin, &called).await });
        house.admin.until(&name, Phase::Draining).await;
        visits
    }

    /// Whether a process of this house is still there.
    fn has_child(&self) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
        lines.any(|line| {
            let line = String::from_utf8_lossy(&line);
            line.contains("PORT=") && line.contains(&format!("MARK={}", self.marker))
        })
    }

    async fn check_pinned(&self, docker: &Docker, house: &House, outcome: &mut Outcome) {
        let pinned = house.admin.until_within(SOON, "pinned", Phase::Ready).await;
        if pinned.pins.len() != 1 {
            outcome.wrong.push(format!("the pin is lost: {pinned:?}"));
        }
        if docker.state(&self.pinned).await != "running" {
            outcome.wrong.push("what is pinned does not run".to_owned());
        }
    }

    /// Nothing was ordered during a first idle period, and nothing happened that had not been
    /// ordered before.
    fn check(&self, docker: &Docker, windows: &[Window], outcome: &mut Outcome) {
        let orders = ["start", "unpause", "stop", "kill", "pause"];
        let ordered: Vec<Call> =
            docker.calls().into_iter().filter(|call| orders.contains(&&*call.op)).collect();
        println!("{} orders at the engine, {} restarts", ordered.len(), windows.len());
        assert!(ordered.len() > KILLS, "hardly anything was ever woken or rested");
        for window in windows {
            let early = |call: &&Call| call.at > window.began && call.at < window.began + IDLE;
            for call in ordered.iter().filter(early) {
                let after = call.at - window.began;
                let whom = call.container.as_deref().unwrap_or_default();
                outcome.wrong.push(format!("{} of {whom} {after:?} after a restart", call.op));
            }
        }
        for app in self.visited.iter().chain([&self.pinned, &self.never]) {
            for happening in docker.happened(app) {
                let is_rest = ["die", "pause"].contains(&&*happening.action);
                let window = windows.iter().find(|window| window.holds(happening.at));
                let Some(window) = window.filter(|_| is_rest) else { continue };
                // One that was ordered before the kill may end a little later.
                if !ordered.iter().any(|call| window.may_finish(call, app)) {
                    let after = happening.at.duration_since(window.began_at).unwrap();
                    outcome.wrong.push(format!("{} rested {after:?} after a restart", app.short));
                }
            }
        }
        for (app, action) in [(&self.pinned, "die"), (&self.never, "start")] {
            if docker.times(app, action) > 0 {
                outcome.wrong.push(format!("{}: {action}", app.short));
            }
        }
    }
}

/// Forces a sleep; the order is cut off where the kill comes first.
async fn order_sleep(admin: Admin, name: &str) {
    let path = format!("/api/v1/workloads/{name}/sleep?force=true");
    let order = http::Request::post(path).header("host", "localhost");
    let order = order.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let _ = exchange(admin.address(), order).await;
}

impl Window {
    /// Whether a rest of the app was under way when dormouse was killed.
    fn may_finish(&self, call: &Call, app: &App) -> bool {
        let container = call.container.as_deref().unwrap_or_default();
        ["stop", "kill", "pause"].contains(&&*call.op)
            && (container == app.id || container == app.name)
            && call.at < self.killed
            && call.at + REST_MAX > self.killed
    }

    fn holds(&self, at: SystemTime) -> bool {
        at > self.began_at && at < self.began_at + IDLE
    }
}
