//! Containers that say themselves, by labels, how they want to be treated: found while dormouse
//! runs, followed through removal and recreation, one bad label hurting nobody else. And several
//! environments in one house.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::time::{Duration, Instant};

use dormouse_testkit::engine::ContainerSpec;
use dormouse_wire::Phase;
use harness::client::{Answer, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::{PATIENCE, eventually, eventually_some, quiet, testapp};
use tokio::sync::MutexGuard;

/// How soon what is done by hand at the engine is known, on a machine that has nothing else to do.
const KNOWN_SOON: Duration = Duration::from_secs(1);
/// The same on any machine: sooner than the next full listing could tell.
const KNOWN_MAX: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_labelled_container_is_routed_within_a_second() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let mut delays = Vec::new();
    for short in ["one", "two", "three", "four", "five"] {
        let app = docker.create(short, enabled(docker.spec(short, &[]))).await;
        let created = Instant::now();
        let health = async || fetch(house.http, get(&host(&app), "/.dormouse/health")).await;
        let routed = async || health().await.status == 200;
        eventually(KNOWN_MAX, "the container is routed", routed).await;
        delays.push(created.elapsed());
    }
    println!("routed after {delays:?}");
    delays.sort_unstable();
    assert!(delays[0] <= KNOWN_SOON, "the best of {delays:?}");
}

#[tokio::test]
async fn a_labelled_container_is_woken_and_rested_as_it_says_itself() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let spec = enabled(docker.spec("web", &[])).label("dormouse.idle_timeout", "2s");
    let app = docker.create("web", spec).await;
    let routed = async || Some(visit(&house, &app).await).filter(|answer| answer.status != 404);
    let answer = eventually_some(KNOWN_MAX, "the container is routed", routed).await;
    assert_eq!((answer.status, answer.header("x-dormouse-wake")), (200, "cold"));
    assert!(answer.text().contains("hello web"), "{}", answer.text());
    docker.said(&app, "die", 1).await;
    let workload = house.admin.until(&app.name, Phase::Asleep).await;
    assert_eq!(workload.target, app.name);
    let details = house.admin.explain(&app.name).await.explain;
    assert_eq!(details.defined_by.as_deref(), Some("labels"));
    assert_eq!(details.policy.idle_timeout, "2s");
}

#[tokio::test]
async fn one_that_runs_already_is_left_running_and_used() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let app = docker.create("web", enabled(docker.spec("web", &[]))).await;
    docker.engine.start(&app.name).await.unwrap();
    let ready = async || {
        let found = house.admin.find(&app.name).await;
        found.is_some_and(|workload| workload.phase == Phase::Ready)
    };
    eventually(PATIENCE, "the container is ready", ready).await;
    let answer = visit(&house, &app).await;
    assert!(is_warm(&answer), "{answer:?}");
    assert_eq!(docker.calls_of(&app, "start"), 0, "nobody started it again");
}

#[tokio::test]
async fn recreated_under_the_same_name_it_is_the_same_workload() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let spec = enabled(docker.spec("web", &[]));
    let first = docker.create("web", spec.clone()).await;
    until_known(&house, &first).await;
    let before = instance(&house, &first).await;

    // As `docker compose up` does it after a change, while it is in use.
    docker.engine.remove(&first.name).await.unwrap();
    let second = docker.create("web", spec.clone()).await;
    docker.engine.start(&second.name).await.unwrap();
    let renewed = async || {
        let answer = fetch(house.http, get(&host(&second), "/instance")).await;
        answer.status == 200 && answer.json()["id"] != before
    };
    eventually(PATIENCE, "the new container answers", renewed).await;
    let named = house.admin.workloads().await.into_iter().filter(|it| it.name == second.name);
    assert_eq!(named.count(), 1);

    house.admin.sleep_by_force(&second.name).await;
    house.admin.until(&second.name, Phase::Asleep).await;
    docker.engine.remove(&second.name).await.unwrap();
    let third = docker.create("web", spec).await;
    let woken = async || {
        let answer = visit(&house, &third).await;
        assert!(matches!(answer.status, 200 | 502), "{answer:?}");
        answer.status == 200
    };
    eventually(KNOWN_MAX, "the new container is woken", woken).await;
    assert_eq!(docker.state(&third).await, "running");
}

#[tokio::test]
async fn removed_it_is_gone_and_recreated_it_works_again() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let house = House::start(&(docker.environment() + &app.workload(""))).await;
    let answer = fetch(house.http, get(&app.host(), "/")).await;
    assert_eq!(answer.status, 200);

    docker.engine.remove(&app.name).await.unwrap();
    house.admin.until_within(KNOWN_MAX, "web", Phase::Gone).await;
    let answer = fetch(house.http, get(&app.host(), "/")).await;
    let problem = problem(&answer, 502);
    assert_eq!((&problem["slug"], &problem["workload"]), (&"absent".into(), &"web".into()));

    let app = docker.app("web", &[]).await;
    house.admin.until_within(KNOWN_MAX, "web", Phase::Asleep).await;
    let answer = fetch(house.http, get(&app.host(), "/")).await;
    assert_eq!((answer.status, answer.header("x-dormouse-wake")), (200, "cold"));
}

#[tokio::test]
async fn a_removed_container_is_remembered_until_it_comes_back() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let spec = enabled(docker.spec("web", &[]));
    let app = docker.create("web", spec.clone()).await;
    until_known(&house, &app).await;
    assert_eq!(visit(&house, &app).await.status, 200);

    docker.engine.remove(&app.name).await.unwrap();
    let refused = async || visit(&house, &app).await.status == 502;
    eventually(KNOWN_MAX, "visitors are told", refused).await;
    let problem = problem(&visit(&house, &app).await, 502);
    assert_eq!(problem["slug"], "absent");

    let app = docker.create("web", spec).await;
    let answers = async || visit(&house, &app).await.status == 200;
    eventually(KNOWN_MAX, "the new one answers", answers).await;
}

#[tokio::test]
async fn a_bad_label_hurts_no_other() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let good = docker.create("good", enabled(docker.spec("good", &[]))).await;
    let spec = enabled(docker.spec("bad", &[])).label("dormouse.idle_timeout", "soon");
    let bad = docker.create("bad", spec).await;
    until_known(&house, &bad).await;
    let workload = house.admin.until(&bad.name, Phase::Misconfigured).await;
    assert!(workload.why.contains("soon") || workload.why.contains("idle_timeout"), "{workload:?}");
    let problem = problem(&visit(&house, &bad).await, 500);
    assert_eq!(problem["slug"], "misconfigured");
    assert!(problem["detail"].as_str().unwrap().contains("soon"), "{problem}");
    assert_eq!(visit(&house, &good).await.status, 200);
    assert_eq!((docker.calls_of(&bad, "start"), docker.calls_of(&good, "start")), (0, 1));
}

#[tokio::test]
async fn what_compose_says_of_dependencies_is_read_as_needs() {
    let Some((_alone, docker, house)) = labelled_house().await else { return };
    let service = |spec: ContainerSpec, name: &str| {
        enabled(spec)
            .label("com.docker.compose.project", "story")
            .label("com.docker.compose.service", name)
    };
    let db = docker.create("db", service(docker.spec("db", &[]), "db")).await;
    let spec = service(docker.spec("web", &[]), "web")
        .label("com.docker.compose.depends_on", "db:service_started:false");
    let web = docker.create("web", spec).await;
    until_known(&house, &web).await;
    until_known(&house, &db).await;
    assert_eq!(visit(&house, &web).await.status, 200);
    let (first, second) = (docker.said(&db, "start", 1).await, docker.said(&web, "start", 1).await);
    assert!(first < second, "what is needed starts first");
    assert_eq!(house.admin.workload(&db.name).await.leases.dependent, 1);
}

#[tokio::test]
async fn a_container_and_a_process_live_in_one_house() {
    let Some(docker) = Docker::of_machine().await else { return };
    let web = docker.app("web", &[]).await;
    let process = format!(
        "[workload.backend]\ncommand = [\"{}\", \"MARK=backend\"]\nhosts = [\"backend.test\"]\n",
        testapp::binary().display()
    );
    let workload = web.workload("needs = [\"process/backend\"]\nidle_timeout = \"2s\"");
    let house = House::start(&format!(
        "[defaults]\nidle_timeout = \"2s\"\n{}{workload}{process}",
        docker.environment()
    ))
    .await;
    house.admin.until("web", Phase::Asleep).await;
    house.admin.until("backend", Phase::Asleep).await;
    let answer = fetch(house.http, get(&web.host(), "/instance")).await;
    assert_eq!((answer.status, &answer.json()["mark"]), (200, &"web".into()));
    assert_eq!(house.admin.phase("backend").await, Phase::Ready);
    assert_eq!(house.admin.workload("backend").await.leases.dependent, 1);
    let answer = fetch(house.http, get("backend.test", "/instance")).await;
    assert!(is_warm(&answer), "{answer:?}");
    assert_eq!(answer.json()["mark"], "backend");
    let pid = answer.json()["pid"].as_u64().unwrap();

    let backend = house.admin.until("backend", Phase::Asleep).await;
    let web = house.admin.workload("web").await;
    assert_eq!(web.phase, Phase::Asleep);
    assert!(web.since <= backend.since, "who is needed sleeps last: {web:?} {backend:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the process has ended");
}

/// A house that takes its workloads from the labels on the machine's engine. Two of them would look
/// after the same containers: there is one at a time.
async fn labelled_house() -> Option<(MutexGuard<'static, ()>, Docker, House)> {
    let alone = quiet().await;
    let docker = Docker::of_machine().await?;
    let house = House::start(&docker.environment_with_labels()).await;
    Some((alone, docker, house))
}

/// Whether an answer came without any wait.
fn is_warm(answer: &Answer) -> bool {
    answer.status == 200 && matches!(answer.header("x-dormouse-wake"), "" | "warm")
}

fn enabled(spec: ContainerSpec) -> ContainerSpec {
    let host = format!("{}.test", spec.name);
    spec.label("dormouse.enable", "true").label("dormouse.host", &host)
}

/// The hostname that [`enabled`] has given it: nobody else on this engine has the same.
fn host(app: &App) -> String {
    format!("{}.test", app.name)
}

async fn visit(house: &House, app: &App) -> Answer {
    fetch(house.http, get(&host(app), "/")).await
}

/// The problem document of an answer; one that says nothing is no good.
fn problem(answer: &Answer, status: u16) -> serde_json::Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    for member in ["title", "detail", "hint"] {
        assert!(problem[member].as_str().is_some_and(|it| !it.is_empty()), "{problem}");
    }
    problem
}

async fn instance(house: &House, app: &App) -> serde_json::Value {
    fetch(house.http, get(&host(app), "/instance")).await.json()["id"].clone()
}

async fn until_known(house: &House, app: &App) {
    let known = async || house.admin.find(&app.name).await;
    eventually_some(PATIENCE, &format!("{} is known", app.name), known).await;
}
