//! What a person sees while a workload wakes: a small page at once, its progress live, then the
//! app's own page, with and without scripts. And what is not intercepted: everything but
//! `/.dormouse/`, which never wakes anything.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dormouse_wire::{Phase, ProgressKind};
use harness::client::{Answer, Stream, curl, fetch, get};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::Report;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const PAGE_BYTES_MAX: usize = 8 << 10;
const NAVIGATION: [&str; 4] =
    ["-H", "Sec-Fetch-Mode: navigate", "-H", "Accept: text/html,*/*;q=0.8"];
const BROWSER_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/browser");
/// Of one visit with a real browser, its start included.
const VISIT_MAX: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_navigation_gets_a_small_page_at_once_and_the_wake_goes_on_without_it() {
    let Some((docker, app, house)) = asleep(&["START_DELAY_MS=1000"], "").await else { return };
    let page = visit(&house, &app, "/some/where?x=1", &NAVIGATION).await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("retry-after"), "2");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("x-dormouse-state"), "waking");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.body.len() <= PAGE_BYTES_MAX, "{} bytes", page.body.len());
    assert!(page.text().contains("<noscript><meta http-equiv=\"refresh\""), "{}", page.text());
    assert_policy_is_strict(&page);
    // The visitor has left.
    house.admin.until("web", Phase::Ready).await;
    assert_eq!(docker.calls_of(&app, "start"), 1);
    let answer = visit(&house, &app, "/", &NAVIGATION).await;
    assert_eq!((answer.status, answer.header("x-dormouse-state")), (200, ""));
    assert!(answer.text().contains("hello web"), "{}", answer.text());
}

#[tokio::test]
async fn what_accepts_pages_above_all_is_a_navigation_too() {
    let Some((_docker, app, house)) = asleep(&["START_DELAY_MS=1000"], "").await else { return };
    let accept = ["-H", "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"];
    let page = visit(&house, &app, "/", &accept).await;
    assert_eq!((page.status, page.header("x-dormouse-state")), (503, "waking"));
    house.admin.until("web", Phase::Ready).await;
}

#[tokio::test]
async fn the_page_is_shown_as_it_is_configured() {
    let loading = "loading = { title = \"My <b>blog</b>\", refresh = \"7s\", status = 202 }";
    let Some((_docker, app, house)) = asleep(&["START_DELAY_MS=500"], loading).await else {
        return;
    };
    let page = visit(&house, &app, "/", &NAVIGATION).await;
    assert_eq!((page.status, page.header("retry-after")), (202, "7"));
    assert!(page.text().contains("My &lt;b&gt;blog"), "{}", page.text());

    let Some((_docker, app, house)) = asleep(&[], "loading = { page = false }").await else {
        return;
    };
    let answer = visit(&house, &app, "/", &NAVIGATION).await;
    assert_eq!((answer.status, answer.header("x-dormouse-wake")), (200, "cold"));
}

#[tokio::test]
async fn nothing_but_the_reserved_prefix_is_intercepted() {
    let Some((docker, app, house)) = asleep(&[], "").await else { return };
    for page in ["health", "status", "events"] {
        let path = format!("/.dormouse/{page}");
        let sleeping = Stream::open(house.http, get(&app.host(), &path)).await;
        assert_eq!(sleeping.status, 200, "{path}");
    }
    let status = fetch(house.http, get(&app.host(), "/.dormouse/status")).await;
    assert_eq!(status.json()["phase"], "asleep", "{}", status.text());
    let unknown = visit(&house, &app, "/.dormouse/else", &[]).await;
    assert_eq!((unknown.status, unknown.header("x-dormouse-wake")), (404, ""));
    assert_eq!(docker.calls_of(&app, "start"), 0, "none of these wakes");

    let image = ["-H", "Accept: image/*", "-H", "Sec-Fetch-Mode: no-cors"];
    let favicon = visit(&house, &app, "/favicon.ico", &image).await;
    assert_eq!((favicon.status, favicon.header("x-dormouse-wake")), (404, "cold"));
    assert_eq!(favicon.text(), "nothing is here\n", "the app said so itself");
    let robots = visit(&house, &app, "/robots.txt", &[]).await;
    assert_eq!((robots.status, robots.text()), (404, "nothing is here\n".to_owned()));
    let health = fetch(house.http, get(&app.host(), "/.dormouse/health")).await;
    assert_eq!((health.status, health.text()), (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn a_look_at_the_health_does_not_keep_a_workload_awake() {
    let Some((docker, app, house)) = asleep(&[], "idle_timeout = \"2s\"").await else { return };
    fetch(house.http, get(&app.host(), "/")).await;
    // Looked at every few milliseconds by the condition itself, until it rests all the same.
    let resting = async || {
        let health = fetch(house.http, get(&app.host(), "/.dormouse/health")).await;
        assert_eq!(health.status, 200, "{}", health.text());
        health.text() == "asleep\n"
    };
    harness::eventually(Duration::from_secs(15), "it rests all the same", resting).await;
    assert_eq!(docker.calls_of(&app, "start"), 1);
}

#[tokio::test]
async fn the_story_of_a_wake_is_told_live_and_resumed() {
    let Some((_docker, app, house)) = asleep(&["START_DELAY_MS=400"], "").await else { return };
    let path = "/.dormouse/events";
    let mut story = Stream::open(house.http, get(&app.host(), path)).await;
    assert_eq!(story.headers["content-type"], "text/event-stream");
    let (answer, told) =
        tokio::join!(fetch(house.http, get(&app.host(), "/")), read_story(&mut story));
    assert_eq!(answer.status, 200);
    let kinds: Vec<&str> = told.iter().map(|(_, step)| step["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first().copied(), Some(ProgressKind::Starting.as_str()), "{told:?}");
    assert!(kinds.contains(&ProgressKind::Started.as_str()), "{told:?}");
    assert!(told.is_sorted_by_key(|(id, _)| *id), "{told:?}");
    assert!(told.iter().all(|(id, step)| step["seq"] == *id && step["workload"] == "web"));

    let mut again = Stream::open(house.http, get(&app.host(), path)).await;
    assert_eq!(read_story(&mut again).await, told, "the history comes first");
    let mut request = get(&app.host(), path);
    let last_seen = told[0].0.to_string();
    request.headers_mut().insert("last-event-id", last_seen.parse().unwrap());
    let mut resumed = Stream::open(house.http, request).await;
    assert_eq!(read_story(&mut resumed).await, told[1..], "what was seen is not told again");
}

#[tokio::test]
async fn a_browser_sees_the_progress_and_then_the_app() {
    let Some((docker, app, house)) = asleep(&["START_DELAY_MS=500"], "").await else { return };
    let Some((first, seen)) = browse(&docker, &house, &app, &[]).await else { return };
    assert_eq!(first, json!({ "title": "web is waking up", "heading": "web" }));
    assert_eq!(seen["pages"], json!([503, 200]), "one reload, by the page itself");
    assert_eq!(seen["text"], "hello web");
    let steps = house.admin.workload("web").await.last_wake.unwrap().steps;
    let told: Vec<Value> = steps.iter().map(|step| step.message.as_str().into()).collect();
    let read = seen["steps"].as_array().unwrap();
    // With the last step the page is left, read or not.
    assert!(read.len() >= told.len() - 1 && told.starts_with(read), "read {read:?} of {told:?}");
    assert_well_behaved(&house, &seen);
    assert_eq!(docker.calls_of(&app, "start"), 1);
}

#[tokio::test]
async fn a_browser_without_scripts_gets_there_by_refreshing() {
    let Some((docker, app, house)) = asleep(&["START_DELAY_MS=500"], "").await else { return };
    let Some((first, seen)) = browse(&docker, &house, &app, &["noscript"]).await else { return };
    assert_eq!(first, json!({ "title": "web is waking up", "heading": "web" }));
    let pages = seen["pages"].as_array().unwrap();
    assert!(pages.len() >= 2 && pages[0] == 503 && pages.last().unwrap() == 200, "{pages:?}");
    assert_eq!(seen["text"], "hello web");
    assert_eq!(seen["steps"], json!([]), "no script ran");
    assert_well_behaved(&house, &seen);
    assert_eq!(docker.calls_of(&app, "start"), 1);
}

/// Names and titles are whoever labels a container's to choose: in a real browser they are text.
#[tokio::test]
async fn r26_a_hostile_title_is_text_in_a_browser() {
    let mut report = Report::of("R26");
    for (n, hostile) in HOSTILE.into_iter().enumerate() {
        for scripts in [&[][..], &["noscript"]] {
            let loading = format!("loading = {{ title = {} }}", json!(hostile));
            let Some((docker, app, house)) = asleep(&["START_DELAY_MS=300"], &loading).await else {
                return;
            };
            let Some((first, seen)) = browse(&docker, &house, &app, scripts).await else { return };
            let heading = first["heading"].as_str().unwrap();
            report.case(if heading.contains(hostile) {
                Ok(())
            } else {
                Err(format!("{n}: the heading is {heading:?}"))
            });
            // Nothing was asked of anybody else, and nothing ran that the page did not bring.
            assert_well_behaved(&house, &seen);
            report.case(if seen["text"] == "hello web" { Ok(()) } else { Err(seen.to_string()) });
        }
    }
    report.finish("looks at pages with hostile titles, with and without scripts");
}

const HOSTILE: [&str; 2] = [
    "</title><script>document.title='testapp'</script><img src=//evil.test/x onerror=alert(1)>\
     \"'><svg onload=fetch('//evil.test')><base href=//evil.test/>",
    "</script><style>@import '//evil.test'</style><iframe src=//evil.test>{{7*7}} ${7*7} \
     <meta http-equiv=refresh content='0;url=//evil.test/'><a href=javascript:alert(1) autofocus>",
];

/// A house with one sleeping app; nothing where the machine has no engine.
async fn asleep(knobs: &[&str], keys: &str) -> Option<(Docker, App, House)> {
    let docker = Docker::of_machine().await?;
    let app = docker.app("web", knobs).await;
    let house = House::start(&(docker.environment() + &app.workload(keys))).await;
    house.admin.until("web", Phase::Asleep).await;
    Some((docker, app, house))
}

async fn visit(house: &House, app: &App, path: &str, arguments: &[&str]) -> Answer {
    let url = format!("http://{}{path}", app.host());
    let through = format!("::{}", house.http);
    curl(&[arguments, &["--connect-to", &through, &url]].concat()).await
}

/// Nothing runs or is loaded but what the page itself brings.
fn assert_policy_is_strict(page: &Answer) {
    let policy = page.header("content-security-policy");
    let directive = |name: &str| {
        let mut directives = policy.split(';').map(str::trim);
        directives.find_map(|it| it.strip_prefix(name)).map(|it| it.trim().to_owned())
    };
    assert_eq!(directive("default-src").as_deref(), Some("'none'"), "{policy}");
    assert_eq!(directive("connect-src").as_deref(), Some("'self'"), "{policy}");
    for name in ["script-src", "style-src"] {
        let nonce = directive(name).unwrap();
        let nonce = nonce.strip_prefix("'nonce-").and_then(|it| it.strip_suffix('\'')).unwrap();
        assert!(page.text().contains(&format!("nonce=\"{nonce}\"")), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

/// Reads the events up to the end of a wake, with their ids.
async fn read_story(story: &mut Stream) -> Vec<(u64, Value)> {
    let mut told: Vec<(u64, Value)> = Vec::new();
    let mut text = String::new();
    while told.last().is_none_or(|(_, step)| step["type"] != ProgressKind::Ready.as_str()) {
        let piece = timeout(harness::PATIENCE, story.next()).await.unwrap().unwrap();
        text += std::str::from_utf8(&piece).unwrap();
        while let Some((event, rest)) = text.split_once("\n\n") {
            told.push(read_event(event));
            text = rest.to_owned();
        }
    }
    told
}

fn read_event(event: &str) -> (u64, Value) {
    let field = |name: &str| {
        let mut lines = event.lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{event}")).trim()
    };
    assert_eq!(field("event:"), "progress");
    (field("id:").parse().unwrap(), serde_json::from_str(field("data:")).unwrap())
}

/// Visits the app with a real browser until its own page is there. Answers what the first page was,
/// and everything that was seen. The start is held back until the first page is shown.
async fn browse(
    docker: &Docker,
    house: &House,
    app: &App,
    arguments: &[&str],
) -> Option<(Value, Value)> {
    let required = std::env::var("DORMOUSE_TEST_BROWSER").is_ok_and(|it| it == "required");
    if !Path::new(BROWSER_FOLDER).join("node_modules/playwright-core").is_dir() {
        let hint = "no browser driver: run `npm ci --prefix tests/browser`";
        assert!(!required, "{hint}");
        println!("skipped: {hint}");
        return None;
    }
    let hold = docker.hold("start");
    let url = format!("http://{}:{}/", app.host(), house.http.port());
    let mut command = Command::new("node");
    command.arg("loading.mjs").arg(url).arg("testapp").args(arguments);
    command.current_dir(BROWSER_FOLDER).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut browser = command.kill_on_drop(true).spawn().unwrap();
    let mut said = BufReader::new(browser.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(VISIT_MAX, said.next_line()).await.unwrap().unwrap();
        serde_json::from_str::<Value>(&line.expect("the browser has said why not")).unwrap()
    };
    let first = next().await;
    drop(hold);
    let seen = next().await;
    assert!(timeout(VISIT_MAX, browser.wait()).await.unwrap().unwrap().success());
    Some((first, seen))
}

/// The page asked nothing of anybody but dormouse, and the browser had nothing to complain about but
/// the statuses of the page itself and of an icon that the app does not have.
fn assert_well_behaved(house: &House, seen: &Value) {
    let origin = format!("http://web.test:{}", house.http.port());
    for request in seen["requests"].as_array().unwrap() {
        let path = request.as_str().unwrap().strip_prefix(&origin);
        assert!(
            matches!(path, Some("/" | "/.dormouse/events" | "/favicon.ico")),
            "{}",
            seen["requests"]
        );
    }
    let status = "Failed to load resource: the server responded with a status of ";
    for complaint in seen["complaints"].as_array().unwrap() {
        assert!(complaint.as_str().unwrap().starts_with(status), "{}", seen["complaints"]);
    }
}
