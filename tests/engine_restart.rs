//! The engine ends and comes back, in order or by a crash, with live-restore and without: the fleet
//! converges to the truth, and nothing is rested out of ignorance.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::time::{Duration, Instant, SystemTime};

use dormouse_testkit::engine::RestartPolicy;
use dormouse_testkit::images::RealEngine;
use dormouse_testkit::private_engine::{LiveRestore, PrivateEngine};
use dormouse_wire::{EnvironmentState, Phase};
use futures_util::future::join_all;
use harness::client::{Answer, exchange, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::Report;
use harness::{eventually, eventually_some};
use serde_json::Value;
use tokio::task::JoinSet;

const IDLE: Duration = Duration::from_secs(3);
const WAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// How much later than it should an answer may come.
const MARGIN: Duration = Duration::from_secs(1);
/// How soon after the engine's return everything has to be known.
const CONVERGED_MAX: Duration = Duration::from_secs(10);
/// Longer than the idle period, so that the idle deadline passes while nothing is known.
const OUTAGE: Duration = Duration::from_secs(4);

/// How an engine ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Killed,
    InOrder,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_an_engine_that_is_killed_comes_back() {
    check(End::Killed, LiveRestore::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_an_engine_that_is_killed_comes_back_to_containers_that_lived_on() {
    check(End::Killed, LiveRestore::On).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_an_engine_that_ends_in_order_comes_back() {
    check(End::InOrder, LiveRestore::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_an_engine_that_ends_in_order_comes_back_to_containers_that_lived_on() {
    check(End::InOrder, LiveRestore::On).await;
}

/// One workload for every phase in which its engine may leave it.
struct Cast {
    sleeper: App,
    /// Sleeps, and is started by its engine's own restart.
    always: App,
    /// Sleeps, and is not.
    unless_stopped: App,
    /// Sleeps, and is not, for it did not fail.
    on_failure: App,
    waking: App,
    ready: App,
    /// Somebody uses it while its forced sleep waits for them to end.
    draining: App,
    /// Takes its time to end.
    settling: App,
}

async fn check(end: End, live_restore: LiveRestore) {
    let mut report = Report::of("R06");
    let Some(mut private) = PrivateEngine::of_machine(live_restore) else { return };
    let docker = Docker::on(RealEngine::at(&private.socket()).await.unwrap()).await;
    let cast = Cast::assemble(&docker).await;
    let house = House::start(&cast.configuration(&private)).await;
    let mut asked = Asked::default();
    cast.take_places(&docker, &house, &mut asked).await;

    match end {
        End::Killed => private.kill(),
        End::InOrder => private.terminate().unwrap(),
    }
    let ended = Instant::now();
    asked.ask(&house, &cast.sleeper, "/instance");
    check_outage(&house, &cast, live_restore).await;
    tokio::time::sleep_until((ended + OUTAGE).into()).await;
    if live_restore == LiveRestore::On {
        // Its idle deadline has passed meanwhile.
        assert_eq!(house.admin.phase("ready").await, Phase::Ready, "it was rested on ignorance");
    }
    private.restart().unwrap();
    let (returned, returned_at) = (Instant::now(), SystemTime::now());

    eventually(CONVERGED_MAX, "every phase is what an inspect says", async || {
        environment(&house).await == EnvironmentState::Up && cast.is_known(&docker, &house).await
    })
    .await;
    println!("{end:?}, {live_restore:?}: the truth is known {:?} after", returned.elapsed());
    let running = cast.running(&docker).await;
    println!("running then: {running:?}");
    // On a busy machine the truth may be known only when it was rested again.
    let has_run =
        async || ended_at(&docker, &cast.always).await.is_some_and(|at| at >= returned_at);
    let is_awake = running.contains(&"always".to_owned());
    assert!(is_awake || has_run().await, "its engine starts it again");
    for name in ["unless-stopped", "on-failure"] {
        assert!(!running.contains(&name.to_owned()), "its engine leaves {name}");
    }
    if live_restore == LiveRestore::On {
        // What is idle by now is rested at once: it has not ended before the engine's return.
        for app in [&cast.ready, &cast.draining] {
            let ended_at = ended_at(&docker, app).await;
            let lived_on = ended_at.is_none_or(|at| at >= returned_at);
            report.case(lived_on.then_some(()).ok_or_else(|| format!("{} has ended", app.short)));
        }
    }
    asked.check(live_restore).await;

    for name in &running {
        let app = cast.all().into_iter().find(|app| app.short == *name).unwrap();
        let what = format!("{name} sleeps again");
        let rested = eventually_some(IDLE * 8, &what, async || ended_at(&docker, app).await).await;
        let period = rested.duration_since(returned_at).unwrap_or_default();
        println!("{name} was rested {period:?} after");
        // Of what is served all the time, it is known that nobody used it.
        let was_served = live_restore == LiveRestore::On && name != "always";
        let period_min = if was_served { Duration::ZERO } else { IDLE };
        let late = (period > period_min).then_some(());
        report.case(late.ok_or_else(|| format!("{name} was rested only {period:?} after")));
    }
    let served = cast.all().map(|app| fetch(house.http, get(&app.host(), "/instance")));
    for answer in join_all(served).await {
        report.case((answer.status == 200).then_some(()).ok_or_else(|| answer.text()));
    }
    report
        .finish(format_args!("rests and visits after {end:?} with live-restore {live_restore:?}"));
}

/// While the engine is away nothing is rested, and everybody is answered.
async fn check_outage(house: &House, cast: &Cast, live_restore: LiveRestore) {
    let down = async || environment(house).await == EnvironmentState::Down;
    eventually(CONVERGED_MAX, "the environment is down", down).await;
    if live_restore == LiveRestore::On {
        let answer = fetch(house.http, get(&cast.ready.host(), "/instance")).await;
        assert_eq!(answer.status, 200, "what runs is served: {}", answer.text());
    }
    if house.admin.phase("ready").await == Phase::Ready {
        let refused = house.admin.sleep_by_force("ready").await;
        assert_eq!(refused.status, 409, "nothing is rested now: {}", refused.text());
    }
}

impl Cast {
    async fn assemble(docker: &Docker) -> Self {
        let slow = ["START_DELAY_MS=2500"];
        let under = async |short: &str, policy| {
            let mut spec = docker.spec(short, &[]);
            spec.restart_policy = policy;
            docker.create(short, spec).await
        };
        Self {
            sleeper: docker.app("sleeper", &[]).await,
            always: under("always", RestartPolicy::Always).await,
            unless_stopped: under("unless-stopped", RestartPolicy::UnlessStopped).await,
            on_failure: under("on-failure", RestartPolicy::OnFailure { retries_max: 3 }).await,
            waking: docker.app("waking", &slow).await,
            ready: docker.app("ready", &[]).await,
            draining: docker.app("draining", &[]).await,
            settling: docker.app("settling", &["TERM_DELAY_MS=2000"]).await,
        }
    }

    fn all(&self) -> [&App; 8] {
        let Self { sleeper, always, unless_stopped, on_failure, waking, ready, draining, settling } =
            self;
        [sleeper, always, unless_stopped, on_failure, waking, ready, draining, settling]
    }

    fn configuration(&self, private: &PrivateEngine) -> String {
        let (idle, wake) = (IDLE.as_secs(), WAKE_TIMEOUT.as_secs());
        let keys = format!("idle_timeout = \"{idle}s\"\nwake_timeout = \"{wake}s\"");
        let workloads = self.all().map(|app| app.workload(&keys)).concat();
        let socket = private.socket();
        format!(
            "[environment.local]\ndocker = \"unix://{}\"\nlabels = false\n{workloads}",
            socket.display()
        )
    }

    /// Brings everybody into the phase of their name.
    async fn take_places(&self, docker: &Docker, house: &House, asked: &mut Asked) {
        house.admin.until("ready", Phase::Asleep).await;
        // The engine takes them for stopped only if they ran before.
        for app in [&self.always, &self.unless_stopped, &self.on_failure] {
            assert_eq!(fetch(house.http, get(&app.host(), "/")).await.status, 200);
            // Its lease ends a moment after its last byte.
            let unused = async || house.admin.workload(&app.short).await.leases.request == 0;
            eventually(CONVERGED_MAX, "nobody uses it", unused).await;
            let rest = house.admin.sleep(&app.short).await;
            assert!([200, 202].contains(&rest.status), "{}", rest.text());
            house.admin.until(&app.short, Phase::Asleep).await;
        }
        for app in [&self.settling, &self.draining, &self.ready] {
            assert_eq!(fetch(house.http, get(&app.host(), "/")).await.status, 200);
        }
        asked.ask(house, &self.draining, "/slow?ms=6000");
        asked.ask(house, &self.waking, "/instance");
        docker.said(&self.waking, "start", 1).await;
        house.admin.until("waking", Phase::Waking).await;
        let used = async || house.admin.workload("draining").await.leases.request == 1;
        eventually(CONVERGED_MAX, "draining is in use", used).await;
        for name in ["settling", "draining"] {
            let (admin, name) = (house.admin, name.to_owned());
            asked.others.spawn(async move { admin.sleep_by_force(&name).await });
        }
        house.admin.until("settling", Phase::Settling).await;
        house.admin.until("draining", Phase::Draining).await;
        assert_eq!(house.admin.phase("waking").await, Phase::Waking);
        assert_eq!(house.admin.phase("ready").await, Phase::Ready);
    }

    /// Whether everybody's phase says what an inspect says, and nobody is on the way.
    async fn is_known(&self, docker: &Docker, house: &House) -> bool {
        for app in self.all() {
            let phase = house.admin.phase(&app.short).await;
            let is_true = match is_running(docker, app).await {
                true => phase == Phase::Ready,
                // One whose wake failed during the outage says so for a while.
                false => [Phase::Asleep, Phase::Failed].contains(&phase),
            };
            if !is_true {
                return false;
            }
        }
        true
    }

    async fn running(&self, docker: &Docker) -> Vec<String> {
        let mut running = Vec::new();
        for app in self.all() {
            if is_running(docker, app).await {
                running.push(app.short.clone());
            }
        }
        running
    }
}

/// Requests that were on their way when the engine ended.
#[derive(Default)]
struct Asked {
    requests: JoinSet<(String, Answer, Duration)>,
    others: JoinSet<Answer>,
}

impl Asked {
    fn ask(&mut self, house: &House, app: &App, path: &str) {
        let (at, request) = (house.http, get(&app.host(), path));
        let name = app.short.clone();
        self.requests.spawn(async move {
            let asked = Instant::now();
            (name, exchange(at, request).await.unwrap(), asked.elapsed())
        });
    }

    /// Everybody was served, or told why not, in time.
    async fn check(self, live_restore: LiveRestore) {
        for (name, answer, took) in self.requests.join_all().await {
            println!("{name} was answered {} after {took:?}", answer.status);
            let is_told = answer.header("content-type") == "application/problem+json"
                && answer.json()["hint"].is_string();
            assert!(answer.status == 200 || is_told, "{name}: {}", answer.text());
            let must_be_served = live_restore == LiveRestore::On && name == "draining";
            assert!(answer.status == 200 || !must_be_served, "its forced sleep was not called off");
            assert!(took <= WAKE_TIMEOUT + MARGIN, "{name} was answered after {took:?}");
        }
        self.others.join_all().await;
    }
}

async fn environment(house: &House) -> EnvironmentState {
    let listed = house.admin.call("GET", "/api/v1/environments", "").await;
    let listed: Vec<dormouse_wire::Environment> = serde_json::from_slice(&listed.body).unwrap();
    listed.iter().find(|environment| environment.name == "local").unwrap().state
}

async fn state(docker: &Docker, app: &App) -> Value {
    docker.engine.inspect(&app.name).await.unwrap()["State"].clone()
}

async fn is_running(docker: &Docker, app: &App) -> bool {
    state(docker, app).await["Running"] == true
}

/// When it ended, once it does not run.
async fn ended_at(docker: &Docker, app: &App) -> Option<SystemTime> {
    let state = state(docker, app).await;
    let finished: jiff::Timestamp = state["FinishedAt"].as_str()?.parse().ok()?;
    (state["Running"] == false).then(|| finished.into())
}
