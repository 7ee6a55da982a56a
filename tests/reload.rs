//! The configuration is changed while visitors come and go: none of them notices. A broken file
//! changes nothing and is reported; what is added works at once, and what is removed is left alone.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_wire::{FindingList, Phase};
use harness::client::{exchange, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::{PATIENCE, cli, eventually, eventually_some};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const REWRITES: usize = 50;
/// Longer than the watch of the file waits for an editor to be done.
const REWRITE_EVERY: Duration = Duration::from_millis(150);
/// Of each client. There are three with connections that they keep and three without, for about
/// 500 requests a second.
const REQUEST_EVERY: Duration = Duration::from_millis(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_fifty_changes_of_the_file() {
    let Some(docker) = Docker::of_machine().await else { return };
    let cast = Cast::assemble(&docker).await;
    let house = House::start(&cast.configuration(&docker, 0)).await;
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for app in &cast.apps {
        house.admin.until(&app.short, Phase::Asleep).await;
        assert_eq!(fetch(house.http, get(&app.host(), "/instance")).await.status, 200);
        clients.spawn(Arc::clone(&load).keep(house.http, app.clone()));
        clients.spawn(Arc::clone(&load).knock(house.http, app.clone()));
    }
    let began = Instant::now();
    let mut ticks = interval(REWRITE_EVERY);
    for version in 1..=REWRITES {
        ticks.tick().await;
        let configuration = cast.configuration(&docker, version);
        if version % 2 == 0 {
            house.rewrite(&configuration);
        } else {
            house.write_over(&configuration);
        }
    }
    let last = format!("added-{REWRITES}");
    let listed = async || house.admin.workloads().await.iter().any(|it| it.name == last);
    eventually(PATIENCE, "the last change holds", listed).await;
    load.ended.store(true, Ordering::Relaxed);
    clients.join_all().await;

    let (sent, failed) = (load.sent.load(Ordering::Relaxed), load.failed.load(Ordering::Relaxed));
    let applied = house.log().iter().filter(|line| line.contains("Applied the conf")).count();
    let per_second = sent as f64 / began.elapsed().as_secs_f64();
    println!(
        "{sent} requests ({per_second:.0} a second), {failed} failed; {REWRITES} rewrites, \
         {applied} applied"
    );
    assert_eq!(failed, 0);
    assert!(applied >= REWRITES / 2, "only {applied} changes were applied");
    assert!(sent > 1000, "hardly any load: {sent}");
    for app in &cast.apps {
        assert_eq!((docker.times(app, "start"), docker.times(app, "die")), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_is_reported() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let good = docker.environment() + &app.workload("");
    let house = House::start(&good).await;
    house.admin.until("web", Phase::Asleep).await;
    let broken = good.clone() + "idle_timout = \"5m\"\n[workload.other]\ntarget = \"nowhere/x\"\n";
    house.rewrite(&broken);
    house.until_logged("the file has errors").await;

    let findings = house.admin.call("GET", "/api/v1/config/findings", "").await;
    let findings: FindingList = serde_json::from_slice(&findings.body).unwrap();
    let slugs: Vec<&str> = findings.findings.iter().map(|finding| &*finding.slug).collect();
    println!("findings: {slugs:?}");
    assert!(findings.findings.len() >= 2, "all errors at once: {findings:?}");
    assert!(findings.findings.iter().any(|finding| {
        finding.message.contains("idle_timout") && finding.line.is_some() && finding.hint.is_some()
    }));
    let reload = house.admin.call("POST", "/api/v1/reload", "").await;
    assert_eq!((reload.status, &reload.json()["slug"]), (422, &"config-invalid".into()));
    assert_eq!(reload.json()["findings"].as_array().unwrap().len(), findings.findings.len());
    let checked = cli::dormouse(&["check", &house.file().to_string_lossy()]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert!((checked.stdout + &checked.stderr).contains("idle_timeout"), "it says what was meant");

    assert_eq!(house.admin.workloads().await.len(), 1, "the good registry holds");
    assert_eq!(fetch(house.http, get(&app.host(), "/instance")).await.status, 200);

    house.rewrite("this is [ not TOML at all");
    eventually(PATIENCE, "the next error is reported", async || {
        house.admin.call("POST", "/api/v1/reload", "").await.status == 422
    })
    .await;
    assert_eq!(fetch(house.http, get(&app.host(), "/instance")).await.status, 200);

    house.rewrite(&good);
    eventually(PATIENCE, "nothing is left to report", async || {
        let findings = house.admin.call("GET", "/api/v1/config/findings", "").await;
        findings.json()["findings"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_works_at_once_and_what_is_removed_is_left_alone() {
    let Some(docker) = Docker::of_machine().await else { return };
    let (old, new) = (docker.app("old", &[]).await, docker.app("new", &[]).await);
    let idle = "idle_timeout = \"1s\"";
    let house = House::start(&(docker.environment() + &old.workload(idle))).await;
    assert_eq!(fetch(house.http, get(&old.host(), "/instance")).await.status, 200);
    assert_eq!(fetch(house.http, get(&new.host(), "/instance")).await.status, 404);

    house.rewrite(&(docker.environment() + &new.workload(idle)));
    let changed = Instant::now();
    let reload = house.admin.call("POST", "/api/v1/reload", "").await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    let answer = fetch(house.http, get(&new.host(), "/instance")).await;
    assert_eq!((answer.status, &answer.json()["mark"]), (200, &"new".into()));
    println!("what was added answered {:?} after the file was written", changed.elapsed());

    let removed = fetch(house.http, get(&old.host(), "/instance")).await;
    assert_eq!((removed.status, &removed.json()["slug"]), (404, &"no-route".into()));
    let shown = house.admin.call("GET", "/api/v1/workloads/old", "").await;
    assert_eq!(shown.status, 404, "{}", shown.text());
    // The other one has gone to sleep long after the removed one would have.
    docker.said(&new, "die", 1).await;
    assert_eq!(docker.state(&old).await, "running");
    assert_eq!(docker.times(&old, "die"), 0);

    house.rewrite(&(docker.environment() + &old.workload(idle)));
    eventually_some(PATIENCE, "it is served again", async || {
        let answer = exchange(house.http, get(&old.host(), "/instance")).await.unwrap();
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(docker.times(&old, "start"), 1, "it ran all the time");
}

/// Three workloads that are visited, and others that come and go.
struct Cast {
    apps: Vec<App>,
}

impl Cast {
    async fn assemble(docker: &Docker) -> Self {
        let mut apps = Vec::new();
        for short in ["a", "b", "c"] {
            apps.push(docker.app(short, &[]).await);
        }
        Self { apps }
    }

    /// Every version differs from the one before: in timeouts, and in the workloads of others.
    fn configuration(&self, docker: &Docker, version: usize) -> String {
        let mut text = docker.environment();
        for app in &self.apps {
            let seconds = 600 + version;
            text += &app.workload(&format!(
                "idle_timeout = \"{seconds}s\"\nwake_timeout = \"{seconds}s\"\n\
                 held = {{ requests = {seconds} }}"
            ));
        }
        for other in version.saturating_sub(3)..=version {
            text += &format!(
                "[workload.added-{other}]\ntarget = \"local/nobody-{other}\"\nport = 80\n\
                 hosts = [\"added-{other}.test\", \"*.added-{}.test\"]\n",
                other * 7 + version
            );
        }
        text
    }
}

/// Constant requests, and what became of them.
#[derive(Default)]
struct Load {
    sent: AtomicUsize,
    failed: AtomicUsize,
    ended: AtomicBool,
}

impl Load {
    /// Sends requests over one connection.
    async fn keep(self: Arc<Self>, at: SocketAddr, app: App) {
        let stream = TcpStream::connect(at).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut ticks = self.ticks();
        while !self.ended.load(Ordering::Relaxed) {
            ticks.tick().await;
            let request: http::Request<Full<Bytes>> = get(&app.host(), "/instance");
            let outcome = async {
                let response = sender.send_request(request).await.ok()?;
                let status = response.status();
                let body = response.into_body().collect().await.ok()?.to_bytes();
                Some((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
            };
            self.note(&app, outcome.await);
        }
    }

    /// Sends every request over a connection of its own.
    async fn knock(self: Arc<Self>, at: SocketAddr, app: App) {
        let mut ticks = self.ticks();
        while !self.ended.load(Ordering::Relaxed) {
            ticks.tick().await;
            let answer = exchange(at, get(&app.host(), "/instance")).await;
            self.note(&app, answer.ok().map(|answer| (answer.status, answer.text())));
        }
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = interval(REQUEST_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    }

    fn note(&self, app: &App, outcome: Option<(u16, String)>) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let own = format!("\"mark\":\"{}\"", app.short);
        let is_good = matches!(&outcome, Some((200, body)) if body.contains(&own));
        if !is_good {
            self.failed.fetch_add(1, Ordering::Relaxed);
            println!("{}: {outcome:?}", app.short);
        }
    }
}
