//! R28: canaries as tokens, passwords and keys, in a text, an env var, a file and an address. Dormouse
//! serves, fails, reloads, refuses and ends with them, at its most talkative; none of them is in any
//! log, page, metric, answer, command line or in what it hands to a workload.

use std::time::Duration;

use http::Request;
use http_body_util::Full;

use crate::harness::cli::dormouse;
use crate::harness::client::{Answer, exchange, fetch, get};
use crate::harness::house::House;
use crate::harness::local::process;
use crate::harness::report::Report;
use crate::harness::{PATIENCE, eventually};

const TEXT: &str = "canary-in-a-text-1a";
const VARIABLE: &str = "canary-in-an-env-var-2b";
const FILE: &str = "canary-in-a-file-3c";
const PASSWORD: &str = "canary-as-a-password-4d";
const ADMIN: &str = "canary-of-an-admin-6f";
const WRONG: &str = "canary-that-is-wrong-7a";
const CANARIES: [&str; 6] = [TEXT, VARIABLE, FILE, PASSWORD, ADMIN, WRONG];
const ENVIRON: &str = "the workload's env vars";
/// Environments that have a secret, each with a workload.
const GUARDED: [&str; 4] = ["text", "variable", "file", "key"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_no_secret_is_ever_shown() {
    let mut report = Report::of("R28");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{FILE}\n")).unwrap();
    let identity = rcgen::generate_simple_self_signed(vec!["engine.test".to_owned()]).unwrap();
    let key = identity.signing_key.serialize_pem();
    let good = configuration(&file.display().to_string(), (&identity.cert.pem(), &key));
    // Any line of the key is as good as the key.
    let lines = key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned);
    let canaries: Vec<String> = CANARIES.map(str::to_owned).into_iter().chain(lines).collect();
    let variables = [("CANARY_VARIABLE", VARIABLE), ("RUST_LOG", "trace")];
    let mut house = House::start_with(&good, &variables).await;
    let mut shown: Vec<(String, String)> = Vec::new();

    // Each environment is tried, and fails.
    for name in GUARDED {
        let answer = fetch(house.http, get(&format!("{name}.test"), "/")).await;
        shown.push((format!("what {name}'s visitor sees"), whole(&answer)));
    }
    let served = fetch(house.http, get("web.test", "/headers")).await;
    assert_eq!(served.status, 200, "{}", served.text());
    shown.push(("what the workload is sent".into(), served.text()));
    let pid = fetch(house.http, get("web.test", "/instance")).await.json()["pid"].to_string();
    for (what, pid) in [("dormouse's", house.pid().to_string()), ("the workload's", pid.clone())] {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        shown.push((format!("{what} command line"), line));
    }
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    shown.push((ENVIRON.into(), String::from_utf8_lossy(&environ).into_owned()));

    let pages = [
        "/api/v1/workloads",
        "/api/v1/workloads/web",
        "/api/v1/environments",
        "/api/v1/summary",
        "/api/v1/config/findings",
        "/metrics",
        "/health",
        "/openapi.json",
        "/api/v1/events?follow=false",
        "/api/v1/workloads/key",
    ];
    for page in pages {
        for token in [ADMIN, WRONG] {
            shown.push((page.to_owned(), whole(&call(&house, "GET", page, token).await)));
        }
    }
    for verb in ["list", "show", "explain"] {
        let mut words = vec![verb];
        words.extend(["key"].iter().filter(|_| verb != "list"));
        let url = house.admin.url();
        words.extend(["--url", &url, "--token", WRONG]);
        let told = dormouse(&words).await;
        shown.push((format!("dormouse {verb}"), told.stdout + &told.stderr));
    }

    // A file that is wrong about each of its secrets, and its findings.
    house.rewrite(&broken(&good, &key));
    let refused = call(&house, "POST", "/api/v1/reload", ADMIN).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    shown.push(("a refused reload".into(), whole(&refused)));
    shown.push(("its findings".into(), whole(&call(&house, "GET", pages[4], ADMIN).await)));
    for words in [&["check"][..], &["check", "--json"]] {
        let file = house.file();
        let told = dormouse(&[words, &[file.to_str().unwrap()]].concat()).await;
        shown.push((format!("{words:?}"), told.stdout + &told.stderr));
    }
    let logged = async || house.log().len() > 20;
    eventually(PATIENCE, "it has said something", logged).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    house.end().await;
    shown.extend(house.log().into_iter().map(|line| ("the log".to_owned(), line)));

    // A process of the file's own is given dormouse's env vars, as any child is.
    let inherited = |what: &str, canary: &str| what == ENVIRON && canary == VARIABLE;
    for (what, text) in &shown {
        let seen = canaries.iter().find(|it| text.contains(&***it) && !inherited(what, it));
        report.case(match seen {
            None => Ok(()),
            Some(canary) => Err(format!("{canary} is in {what}: {}", excerpt(text, canary))),
        });
    }
    report.finish(format_args!("texts, looked through for {} canaries", canaries.len()));
}

/// One environment for each place where a secret may stand, none of which answers, and an app.
fn configuration(file: &str, (cert, key): (&str, &str)) -> String {
    let tls = format!("tls = {{ cert = {cert:?}, key = {key:?} }}");
    let mut text = format!("admin_tokens = [{{ token = \"{ADMIN}\", scope = \"admin\" }}]\n");
    let secrets = [
        ("http", format!("token = \"{TEXT}\"")),
        ("http", "token = { env = \"CANARY_VARIABLE\" }".to_owned()),
        ("http", format!("token = {{ file = \"{file}\" }}")),
        ("https", tls),
    ];
    for (name, (scheme, secret)) in GUARDED.iter().zip(secrets) {
        text += &format!(
            "[environment.{name}]\ndocker = \"{scheme}://127.0.0.1:9\"\n{secret}\n\
             [workload.{name}]\ntarget = \"{name}/x\"\nhosts = [\"{name}.test\"]\nport = 80\n\
             wake_timeout = \"2s\"\n"
        );
    }
    text + &process("web", &[], "")
}

/// Wrong about each of its secrets.
fn broken(good: &str, key: &str) -> String {
    good.replace("scope = \"admin\"", "scope = \"emperor\"")
        .replace("token = { env", "tokn = { env")
        .replace(&format!("token = \"{TEXT}\""), &format!("token = [\"{TEXT}\"]"))
        + &format!(
            "[environment.other]\ndocker = \"https://user:{PASSWORD}@127.0.0.1:9\"\n\
             tls = {{ key = {key:?}, cert = {{ env = \"NOT_THERE\" }} }}\n"
        )
}

/// Everything that a caller can read of an answer.
fn whole(answer: &Answer) -> String {
    format!("{} {:?} {}", answer.status, answer.headers, answer.text())
}

async fn call(house: &House, method: &str, path: &str, token: &str) -> Answer {
    let own = house.admin.address();
    let request = Request::builder().method(method).uri(path).header("host", own.to_string());
    let request = request.header("authorization", format!("Bearer {token}"));
    exchange(own, request.body(Full::<bytes::Bytes>::default()).unwrap()).await.unwrap()
}

/// Where it is, without the rest of a long text.
fn excerpt<'a>(text: &'a str, canary: &str) -> &'a str {
    let at = text.find(canary).unwrap_or(0);
    let from = (0..=at.saturating_sub(80)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[from..at]
}
