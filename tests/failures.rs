//! What cannot be woken: everybody who waits is told why, in time, and so is whoever asks for an
//! explanation; starts follow the backoff; and once it is corrected, it is woken.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dormouse_testkit::door::{Door, Fault, Rule};
use dormouse_wire::Phase;
use harness::client::{Answer, exchange, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::{Report, UNNAMED, scale};
use harness::{PATIENCE, cli, eventually};
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;

/// Programs that wait at once.
const CROWD: usize = 10;
/// How much later than `wake_timeout` an answer may come.
const MARGIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_start_is_told_with_its_exit_code_and_its_last_words() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &["CRASH_CODE=7"]).await;
    let house = awake(&docker, &app, "wake_timeout = \"12s\"").await;

    let crowd = Crowd::gather(&house, &app);
    check_loading(&house, &app).await;
    for (answer, took) in crowd.answers().await {
        let problem = check_problem(&answer, 502, "crashed");
        assert!(problem["detail"].as_str().unwrap().contains("exit code 7"), "{problem}");
        assert!(problem["log"].to_string().contains("crashes as ordered"), "{problem}");
        assert!(took <= Duration::from_secs(12) + MARGIN, "answered after {took:?}");
    }

    let page = fetch(house.http, navigation(&app)).await;
    check_page(&page, 502, &["exit code 7", "crashes as ordered"]);
    // Whoever asks before the backoff has passed is told at once, and starts nothing.
    let failed_at = Instant::now();
    let mut asked = 0;
    while failed_at.elapsed() < Duration::from_millis(400) {
        let (answer, took) = timed(&house, &app).await;
        check_problem(&answer, 502, "crashed");
        assert!(took < Duration::from_secs(1), "told after {took:?}");
        asked += 1;
    }
    println!("{asked} requests during the backoff");
    check_explained(&house, "crashed", &["exit code 7", "crashes as ordered"]).await;

    let starts = moments(&docker, &app);
    let gaps: Vec<f64> = starts.windows(2).map(|two| seconds(two[0], two[1])).collect();
    println!("starts of one wake: {}, gaps {gaps:.2?} s", starts.len());
    assert_eq!(starts.len(), 3, "one wake tries three starts, and the backoff none");
    assert!(gaps[0] >= 1.0 && gaps[1] >= 2.0, "the starts do not follow the backoff: {gaps:?}");

    docker.engine.remove(&app.name).await.unwrap();
    let app = docker.app("web", &[]).await;
    check_served(&house, &app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_listens_is_told_at_wake_timeout() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &["NEVER_LISTEN=1"]).await;
    let house = awake(&docker, &app, "wake_timeout = \"3s\"\nidle_timeout = \"60s\"").await;

    let crowd = Crowd::gather(&house, &app);
    check_loading(&house, &app).await;
    check_timed_out(crowd, Duration::from_secs(3)).await;
    let page = fetch(house.http, navigation(&app)).await;
    check_page(&page, 504, &["8080"]);
    check_explained(&house, "never-ready", &["8080"]).await;
    assert_eq!(moments(&docker, &app).len(), 1, "it runs: starting it again would not help");

    docker.engine.remove(&app.name).await.unwrap();
    let app = docker.app("web", &[]).await;
    check_served(&house, &app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_removed_while_it_wakes_is_told_at_once() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &["START_DELAY_MS=60000"]).await;
    let house = awake(&docker, &app, "wake_timeout = \"30s\"").await;

    let crowd = Crowd::gather(&house, &app);
    docker.said(&app, "start", 1).await;
    house.admin.until("web", Phase::Waking).await;
    let removed = Instant::now();
    docker.engine.remove(&app.name).await.unwrap();
    for (answer, _) in crowd.answers().await {
        check_problem(&answer, 502, "absent");
    }
    let took = removed.elapsed();
    println!("everybody was told {took:?} after the removal began");
    assert!(took < Duration::from_secs(5), "told {took:?} after the removal");
    house.admin.until("web", Phase::Gone).await;
    let page = fetch(house.http, navigation(&app)).await;
    check_page(&page, 502, &["runtime knows nothing"]);
    let told = cli::dormouse(&["explain", "web", "--url", &house.admin.url()]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stdout.contains("gone"), "{}", told.stdout);

    let app = docker.app("web", &[]).await;
    check_served(&house, &app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_port_is_told_at_wake_timeout_and_corrected_by_a_reload() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let wrong = app.workload("wake_timeout = \"3s\"").replace("8080", "8081");
    let house = House::start(&(docker.environment() + &wrong)).await;
    house.admin.until("web", Phase::Asleep).await;

    let crowd = Crowd::gather(&house, &app);
    check_loading(&house, &app).await;
    check_timed_out(crowd, Duration::from_secs(3)).await;
    let page = fetch(house.http, navigation(&app)).await;
    check_page(&page, 504, &["8081"]);
    check_explained(&house, "never-ready", &["8081"]).await;

    house.rewrite(&(docker.environment() + &app.workload("wake_timeout = \"3s\"")));
    let reloaded = house.admin.call("POST", "/api/v1/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    check_served(&house, &app).await;
    assert_eq!(moments(&docker, &app).len(), 1, "it ran all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_cannot_be_reached_is_told_within_wake_timeout() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("web", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let environment =
        format!("[environment.local]\ndocker = \"unix://{}\"\nlabels = false\n", socket.display());
    let house = House::start(&(environment + &app.workload("wake_timeout = \"3s\""))).await;

    let crowd = Crowd::gather(&house, &app);
    for (answer, took) in crowd.answers().await {
        check_problem(&answer, 502, "environment-unreachable");
        assert!(took <= Duration::from_secs(3) + MARGIN, "answered after {took:?}");
    }
    check_explained(&house, "environment-unreachable", &["docker.sock"]).await;
    let environments = house.admin.call("GET", "/api/v1/environments", "").await.json();
    assert_eq!(environments[0]["state"], "down", "{environments}");

    std::os::unix::fs::symlink(docker.socket(), &socket).unwrap();
    check_served(&house, &app).await;
    assert_eq!(docker.calls_of(&app, "start"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r36_an_engine_that_accepts_and_never_answers_hurts_nobody_else() {
    let Some(docker) = Docker::of_machine().await else { return };
    let (app, other) = (docker.app("web", &[]).await, docker.app("other", &[]).await);
    let stuck = Door::before(docker.engine.socket()).unwrap();
    stuck.add(Rule::calls(Fault::Hang));
    let configuration = format!(
        "{}[environment.stuck]\ndocker = \"unix://{}\"\nlabels = false\n{}{}",
        docker.environment(),
        stuck.socket().display(),
        app.workload("wake_timeout = \"3s\"").replace("local/", "stuck/"),
        other.workload(""),
    );
    let house = House::start(&configuration).await;
    let crowd = Crowd::gather(&house, &app);
    let mut report = Report::of("R36");
    for _ in 0..CROWD * scale(UNNAMED) {
        let (answer, took) = timed(&house, &other).await;
        let served = answer.status == 200 && took < PATIENCE / 2;
        report.case(served.then_some(()).ok_or_else(|| {
            format!("the other environment: {} after {took:?} {}", answer.status, answer.text())
        }));
    }
    for (answer, took) in crowd.answers().await {
        let told = [502, 504].contains(&answer.status) && answer.json()["slug"].is_string();
        let in_time = took <= Duration::from_secs(3) + MARGIN;
        report.case(
            (told && in_time)
                .then_some(())
                .ok_or_else(|| format!("{} after {took:?} {}", answer.status, answer.text())),
        );
    }
    report.finish("visits of another environment, and of the one that hangs");
}

/// Programs that ask at the same time.
struct Crowd(JoinSet<(Answer, Duration)>);

impl Crowd {
    fn gather(house: &House, app: &App) -> Self {
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (at, request) = (house.http, get(&app.host(), "/instance"));
            crowd.spawn(async move {
                let asked = Instant::now();
                (exchange(at, request).await.unwrap(), asked.elapsed())
            });
        }
        Self(crowd)
    }

    async fn answers(self) -> Vec<(Answer, Duration)> {
        let answers = self.0.join_all().await;
        assert_eq!(answers.len(), CROWD);
        let slowest = answers.iter().map(|(_, took)| *took).max();
        println!("{CROWD} answers, the last after {slowest:?}");
        answers
    }
}

async fn awake(docker: &Docker, app: &App, keys: &str) -> House {
    let house = House::start(&(docker.environment() + &app.workload(keys))).await;
    house.admin.until("web", Phase::Asleep).await;
    house
}

/// A request as a browser sends it when a person follows a link.
fn navigation(app: &App) -> Request<Full<Bytes>> {
    let mut request = get(&app.host(), "/");
    let headers = request.headers_mut();
    headers.insert("accept", "text/html,application/xhtml+xml,*/*;q=0.8".parse().unwrap());
    headers.insert("sec-fetch-mode", "navigate".parse().unwrap());
    headers.insert("sec-fetch-dest", "document".parse().unwrap());
    request
}

async fn timed(house: &House, app: &App) -> (Answer, Duration) {
    let asked = Instant::now();
    (fetch(house.http, get(&app.host(), "/instance")).await, asked.elapsed())
}

/// A person who comes while it wakes sees the loading page at once.
async fn check_loading(house: &House, app: &App) {
    let asked = Instant::now();
    let page = fetch(house.http, navigation(app)).await;
    check_page(&page, 503, &["web"]);
    assert_eq!(page.header("x-dormouse-state"), "waking");
    assert!(asked.elapsed() < Duration::from_secs(1), "shown after {:?}", asked.elapsed());
}

async fn check_timed_out(crowd: Crowd, wake_timeout: Duration) {
    for (answer, took) in crowd.answers().await {
        check_problem(&answer, 504, "never-ready");
        assert!(took + MARGIN >= wake_timeout, "answered after {took:?}");
        assert!(took <= wake_timeout + MARGIN, "answered after {took:?}");
    }
}

/// A problem document that says what was the matter and what can be done about it.
fn check_problem(answer: &Answer, status: u16, slug: &str) -> serde_json::Value {
    let problem = answer.json();
    assert_eq!((answer.status, &problem["slug"]), (status, &slug.into()), "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["type"], format!("urn:dormouse:problem:{slug}"));
    for member in ["title", "detail", "hint", "workload"] {
        assert!(problem[member].as_str().is_some_and(|it| !it.is_empty()), "{member}: {problem}");
    }
    let retry_after = problem["retry_after"].as_u64().unwrap();
    assert_eq!(answer.header("retry-after"), retry_after.to_string());
    problem
}

fn check_page(page: &Answer, status: u16, texts: &[&str]) {
    assert_eq!(page.status, status, "{}", page.text());
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for text in texts {
        assert!(page.text().contains(text), "the page does not say {text:?}: {}", page.text());
    }
}

/// The reason is in the API's explanation, and in that of the command line.
async fn check_explained(house: &House, slug: &str, texts: &[&str]) {
    let explained = house.admin.explain("web").await;
    assert_eq!(explained.workload.phase, Phase::Failed);
    let failure = explained.explain.last_failure.unwrap();
    assert_eq!(failure.slug, slug);
    assert!(!failure.hint.is_empty());
    let told = cli::dormouse(&["explain", "web", "--url", &house.admin.url()]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    for text in texts {
        let said = format!("{} {}", failure.detail, failure.log.join(" "));
        assert!(said.contains(text), "the API does not say {text:?}: {failure:?}");
        assert!(told.stdout.contains(text), "the CLI does not say {text:?}: {}", told.stdout);
    }
}

/// The next request is answered by the app; one that comes too early is told when to come again.
async fn check_served(house: &House, app: &App) {
    let corrected = Instant::now();
    let served = async || timed(house, app).await.0.status == 200;
    eventually(PATIENCE, "it is served after the correction", served).await;
    let took = corrected.elapsed();
    println!("served {took:?} after the correction");
    assert!(took < Duration::from_secs(3), "served only {took:?} after the correction");
}

/// When the engine said that it started it.
fn moments(docker: &Docker, app: &App) -> Vec<SystemTime> {
    let happened = docker.happened(app).into_iter();
    happened.filter(|it| it.action == "start").map(|it| it.at).collect()
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap().as_secs_f64()
}
