//! Workloads that need others: the needed one is awake first and sleeps last, and what cannot be
//! satisfied is said.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::time::{Duration, Instant, SystemTime};

use dormouse_testkit::images::RealEngine;
use dormouse_testkit::private_engine::{LiveRestore, PrivateEngine};
use dormouse_wire::{FindingList, Phase};
use harness::client::{Answer, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::{cli, eventually, testapp};

/// How much earlier than it was the engine may have dated a start.
const CLOCK: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_two_apps_sleeps_when_the_last_of_them_has() {
    let Some(docker) = Docker::of_machine().await else { return };
    let db = docker.app("db", &["START_DELAY_MS=200"]).await;
    let (a, b) = (docker.app("a", &[]).await, docker.app("b", &[]).await);
    let keys = |idle| format!("needs = [\"db\"]\nidle_timeout = \"{idle}\"\nrest = \"kill\"");
    let configuration = [
        docker.environment(),
        db.workload("idle_timeout = \"200ms\"\nrest = \"kill\""),
        a.workload(&keys("1s")),
        b.workload(&keys("3s")),
    ];
    let house = House::start(&configuration.concat()).await;
    house.admin.until("db", Phase::Asleep).await;

    let answers = tokio::join!(served(&house, &a), served(&house, &b));
    assert_eq!((answers.0.status, answers.1.status), (200, 200));
    assert_eq!(docker.times(&db, "start"), 1, "two dependents wake it once");
    for app in [&a, &b] {
        let after_db = gap(first(&docker, &db, "start").await, first(&docker, app, "start").await);
        assert!(after_db + CLOCK >= Duration::from_millis(200), "started {after_db:?} after db");
    }
    let explained = house.admin.explain("db").await;
    assert_eq!(explained.workload.leases.dependent, 2, "{explained:?}");
    assert_eq!(explained.explain.dependents, ["local/a", "local/b"]);

    let a_slept = first(&docker, &a, "die").await;
    house.admin.until("a", Phase::Asleep).await;
    assert_eq!(house.admin.phase("db").await, Phase::Ready, "b needs it still");
    let b_slept = first(&docker, &b, "die").await;
    let db_slept = first(&docker, &db, "die").await;
    assert!(a_slept < b_slept && b_slept < db_slept, "{a_slept:?} {b_slept:?} {db_slept:?}");
    house.admin.until("db", Phase::Asleep).await;
    println!("db slept {:?} after the last that needs it", gap(b_slept, db_slept));
    for app in [&db, &a, &b] {
        assert_eq!((docker.times(app, "start"), docker.times(app, "die")), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_three_wakes_in_order_and_sleeps_in_reverse() {
    let Some(docker) = Docker::of_machine().await else { return };
    let slow = ["START_DELAY_MS=300"];
    let db = docker.app("db", &slow).await;
    let api = docker.app("api", &slow).await;
    let web = docker.app("web", &slow).await;
    let idle = "idle_timeout = \"500ms\"";
    let configuration = [
        docker.environment(),
        db.workload(idle),
        api.workload(&format!("{idle}\nneeds = [\"db\"]")),
        web.workload(&format!("{idle}\nneeds = [\"api\"]")),
    ];
    let house = House::start(&configuration.concat()).await;
    house.admin.until("web", Phase::Asleep).await;
    for round in 1..=2 {
        assert_eq!(served(&house, &web).await.status, 200);
        let mut starts = Vec::new();
        for app in [&db, &api, &web] {
            starts.push(docker.said(app, "start", round).await);
        }
        for two in starts.windows(2) {
            let apart = gap(two[0], two[1]);
            assert!(apart + CLOCK >= Duration::from_millis(300), "not ready first: {apart:?}");
        }
        let mut ends = Vec::new();
        for app in [&web, &api, &db] {
            ends.push(docker.said(app, "die", round).await);
        }
        assert!(ends.is_sorted(), "they did not sleep in reverse: {ends:?}");
        house.admin.until("db", Phase::Asleep).await;
    }
    let steps = house.admin.workload("web").await.last_wake.unwrap().steps;
    let told: Vec<_> = steps.iter().filter_map(|step| step.dependency.as_deref()).collect();
    assert_eq!(told, ["local/api", "local/api"], "the story names what it waited for: {steps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_need_that_completes_runs_to_its_end_before_each_wake() {
    let Some(docker) = Docker::of_machine().await else { return };
    let migrate = docker.app("migrate", &["CRASH_CODE=0", "CRASH_AFTER_MS=500"]).await;
    let web = docker.app("web", &[]).await;
    let configuration = [
        docker.environment(),
        migrate.workload(""),
        web.workload("needs = [\"migrate:completed\"]\nidle_timeout = \"500ms\""),
    ];
    let house = House::start(&configuration.concat()).await;
    house.admin.until("web", Phase::Asleep).await;
    for round in 1..=2 {
        assert_eq!(served(&house, &web).await.status, 200);
        let ran = gap(
            docker.said(&migrate, "start", round).await,
            docker.said(&migrate, "die", round).await,
        );
        let ended = docker.said(&migrate, "die", round).await;
        assert!(ran + CLOCK >= Duration::from_millis(500), "it ran only {ran:?}");
        assert!(ended <= docker.said(&web, "start", round).await, "it started too early");
        docker.said(&web, "die", round).await;
        house.admin.until("web", Phase::Asleep).await;
    }
    assert_eq!(docker.times(&migrate, "start"), 2, "once for each wake");
    assert_eq!(house.admin.phase("migrate").await, Phase::Asleep);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_of_one_whose_need_fails_are_told_which_and_why() {
    let Some(docker) = Docker::of_machine().await else { return };
    let db = docker.app("db", &["CRASH_CODE=3"]).await;
    let web = docker.app("web", &[]).await;
    let other = docker.app("other", &[]).await;
    let timeout = "wake_timeout = \"4s\"";
    let configuration = [
        docker.environment(),
        db.workload(timeout),
        web.workload(&format!("{timeout}\nneeds = [\"db\"]")),
        other.workload(""),
    ];
    let house = House::start(&configuration.concat()).await;
    house.admin.until("web", Phase::Asleep).await;
    let asked = Instant::now();
    let (answer, unaffected) = tokio::join!(served(&house, &web), served(&house, &other));
    let took = asked.elapsed();
    assert_eq!(unaffected.status, 200, "{}", unaffected.text());
    let problem = answer.json();
    assert_eq!((answer.status, &problem["slug"]), (502, &"need-failed".into()), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("db") && detail.contains("exit code 3"), "{detail}");
    assert!(took <= Duration::from_secs(5), "told after {took:?}");
    assert_eq!(docker.times(&web, "start"), 0, "it must not start without its need");
    let explained = house.admin.explain("web").await;
    assert_eq!(explained.explain.last_failure.unwrap().slug, "need-failed");
    assert_eq!(explained.explain.needs[0].phase.as_deref(), Some("failed"));
    assert!(!explained.explain.needs[0].met);

    docker.engine.remove(&db.name).await.unwrap();
    docker.app("db", &[]).await;
    let served = async || served(&house, &web).await.status == 200;
    eventually(Duration::from_secs(8), "it is served once its need works", served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_in_the_file_is_a_finding_and_hurts_nobody_else() {
    let workload = |name: &str, need: &str| {
        let command = testapp::binary().display();
        format!(
            "[workload.{name}]\ncommand = [\"{command}\", \"PORT=$PORT\"]\n\
             hosts = [\"{name}.test\"]\nneeds = [{need}]\n"
        )
    };
    let cycle = [workload("web", "\"api\""), workload("api", "\"db\"")].concat();
    let configuration = cycle + &workload("db", "\"web\"") + &workload("alone", "");
    // Who is not in the cycle is served.
    let house = House::start(&configuration).await;
    for name in ["web", "api", "db"] {
        let why = house.admin.until(name, Phase::Misconfigured).await.why;
        assert!(["web", "api", "db"].iter().all(|name| why.contains(name)), "{why}");
        let told = fetch(house.http, get(&format!("{name}.test"), "/")).await;
        assert_eq!(told.json()["slug"], "misconfigured", "{}", told.text());
    }
    assert_eq!(fetch(house.http, get("alone.test", "/")).await.status, 200);

    let file = house.file();
    let path = file.to_string_lossy();
    let checked = cli::dormouse(&["check", &path]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    let said = checked.stdout.clone() + &checked.stderr;
    for text in ["cycle", "web", "api", "db", "dormouse.toml:"] {
        assert!(said.contains(text), "the finding does not say {text:?}: {said}");
    }
    let checked = cli::dormouse(&["check", "--json", &path]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    let listed: FindingList = serde_json::from_str(&checked.stdout).unwrap();
    let cycle = listed.findings.iter().find(|finding| finding.slug == "cycle").unwrap();
    assert!(cycle.line.is_some() && cycle.hint.is_some(), "{cycle:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_of_labels_hurts_nobody_else() {
    // Labels are read of every container: only an engine of one's own has no others.
    let Some(private) = PrivateEngine::of_machine(LiveRestore::Off) else { return };
    let docker = Docker::on(RealEngine::at(&private.socket()).await.unwrap()).await;
    let a = labelled(&docker, "a", Some("b")).await;
    let b = labelled(&docker, "b", Some("a")).await;
    let alone = labelled(&docker, "alone", None).await;
    let environment = docker.environment().replace("labels = false", "labels = true");
    let house = House::start(&environment).await;
    house.admin.until("alone", Phase::Asleep).await;
    for app in [&a, &b] {
        let workload = house.admin.until(&app.short, Phase::Misconfigured).await;
        assert!(workload.why.contains("b") && workload.why.contains("a"), "{workload:?}");
        let problem = served(&house, app).await;
        assert_eq!(problem.json()["slug"], "misconfigured", "{}", problem.text());
        assert!(problem.status >= 500, "{}", problem.status);
    }
    assert_eq!(served(&house, &alone).await.status, 200);
    let findings = house.admin.call("GET", "/api/v1/config/findings", "").await.text();
    assert!(findings.contains("cycle"), "{findings}");

    docker.engine.remove(&a.name).await.unwrap();
    let a = labelled(&docker, "a", None).await;
    house.admin.until("b", Phase::Asleep).await;
    assert_eq!(served(&house, &b).await.status, 200, "the cycle is broken");
    assert_eq!(docker.times(&a, "start"), 1);
    drop(house);
    drop(docker);
}

async fn labelled(docker: &Docker, short: &str, need: Option<&str>) -> App {
    let mut spec = docker.spec(short, &[]);
    spec = spec.label("dormouse.enable", "true").label("dormouse.name", short);
    spec = spec.label("dormouse.host", &format!("{short}.test")).label("dormouse.port", "8080");
    if let Some(need) = need {
        spec = spec.label("dormouse.needs", need);
    }
    docker.create(short, spec).await
}

async fn served(house: &House, app: &App) -> Answer {
    fetch(house.http, get(&app.host(), "/instance")).await
}

async fn first(docker: &Docker, app: &App, action: &str) -> SystemTime {
    docker.said(app, action, 1).await
}

fn gap(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}
