//! The binary against a running API: what it prints, and how it ends.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dormouse::config::{AdminToken, Scope, Secret};
use dormouse_keeper::{Admission, Kind};
use dormouse_store::MemoryStore;
use dormouse_wire::Phase;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::house::{FILE, House, id};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["DORMOUSE_URL", "DORMOUSE_TOKEN", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.kill_on_drop(true);
    command
}

async fn end(child: Child) -> Output {
    let ended = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    ended.expect("an end in time").unwrap()
}

async fn run(house: &House, args: &[&str]) -> (i32, String, String) {
    let child = command(args).env("DORMOUSE_URL", house.url()).spawn().unwrap();
    let output = end(child).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn alone(args: &[&str]) -> (i32, String, String) {
    let output = end(command(args).spawn().unwrap()).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn looking_prints_tables_for_people_and_json_for_programs() {
    let house = House::open().await;
    let (code, out, err) = run(&house, &["list"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("NAME  ENVIRONMENT  PHASE"), "{out}");
    assert_eq!(out.lines().count(), 4, "{out}");
    let (code, out, _) = run(&house, &["list", "--json"]).await;
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, list.as_array().unwrap().len()), (0, 3));
    let (_, out, _) = run(&house, &["show", "blog", "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&shown["name"], &shown["explain"]["needs"][0]["on"]),
        (&"blog".into(), &"local/db".into())
    );
    let (_, out, _) = run(&house, &["show", "local/blog"]).await;
    assert!(out.starts_with("local/blog is asleep: nobody wants it\n"), "{out}");
    assert!(out.contains("blog.example.com"), "{out}");
    let (code, out, _) = run(&house, &["explain", "blog"]).await;
    assert!(code == 0 && out.contains("local/db until ready (asleep, not met)"), "{out}");
    let (code, out, _) = run(&house, &["top"]).await;
    assert!(code == 0 && out.contains("3 workloads, 0 awake, 3 asleep"), "{out}");
    let (code, out, _) = run(&house, &["health"]).await;
    assert!(code == 0 && out.starts_with("ok\n"), "{out}");
    let (code, out, _) = run(&house, &["logs", "app"]).await;
    assert_eq!((code, out.as_str()), (0, "app says hello\n"));
    let (code, out, _) = run(&house, &["events"]).await;
    assert!(code == 0 && out.contains("unknown → asleep"), "{out}");
    let (_, out, _) = run(&house, &["events", "app", "--json"]).await;
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["workload"], "local/app");
}

#[tokio::test]
async fn a_wake_that_is_waited_for_prints_each_step() {
    let house = House::open().await;
    house.runtime.slow_down("blog", Duration::from_millis(50));
    let (code, out, err) = run(&house, &["wake", "blog", "--wait", "30s"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() >= 4, "{out}");
    assert!(lines.last().unwrap().starts_with("local/blog is ready after "), "{out}");
    let (code, out, _) = run(&house, &["wake", "blog", "--wait"]).await;
    assert_eq!((code, out.as_str()), (0, "local/blog is ready\n"));
    let (code, out, _) = run(&house, &["wake", "app", "--wait", "30s", "--json"]).await;
    let workload: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &workload["phase"]), (0, &"ready".into()));
}

#[tokio::test]
async fn acting_says_what_was_done() {
    let house = House::open().await;
    let (code, out, _) = run(&house, &["wake", "app"]).await;
    assert_eq!((code, out.as_str()), (0, "local/app is being woken\n"));
    house.until("app", Phase::Ready).await;
    let (code, out, _) = run(&house, &["touch", "app"]).await;
    assert_eq!((code, out.as_str()), (0, "local/app counts as used now\n"));
    let pin = ["pin", "app", "--for", "2h", "--reason", "a demonstration"];
    let (code, out, _) = run(&house, &pin).await;
    assert!(code == 0 && out.starts_with("local/app is kept awake until "), "{out}");
    assert_eq!(house.workload("app").await.pins[0].reason, "a demonstration");
    let (code, _, err) = run(&house, &["sleep", "app"]).await;
    assert_eq!(code, 8, "{err}");
    let (code, out, _) = run(&house, &["unpin", "app"]).await;
    assert_eq!((code, out.as_str()), (0, "local/app has no pin\n"));
    let (code, out, _) = run(&house, &["sleep", "app"]).await;
    assert_eq!((code, out.as_str()), (0, "local/app goes to sleep\n"));
    house.until("app", Phase::Asleep).await;
}

#[tokio::test]
async fn every_end_has_its_exit_code() {
    let house = House::open().await;
    let (code, out, err) = run(&house, &["show", "blgo"]).await;
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.starts_with("error: no workload is called `blgo`\n"), "{err}");
    assert!(err.ends_with("hint: did you mean `blog`?\n"), "{err}");
    house.runtime.slow_down("app", Duration::from_secs(20));
    let (code, _, err) = run(&house, &["wake", "app", "--wait", "50ms"]).await;
    assert_eq!(code, 5, "{err}");
    house.runtime.refuse("db", "no such image");
    let (code, _, err) = run(&house, &["wake", "db", "--wait", "50s"]).await;
    assert!(code == 1 && err.contains("no such image") && err.contains("hint: "), "{code} {err}");
    let (code, _, err) = alone(&["list", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("caused by: ") && err.contains("hint: "), "{err}");
    let (code, _, _) = alone(&["list", "--url", "unix:///nowhere.sock"]).await;
    assert_eq!(code, 6);
    for wrong in [&["lits"][..], &["wake"], &["pin", "a", "--for", "2"], &["list", "--url", "x"]] {
        assert_eq!(alone(wrong).await.0, 2, "{wrong:?}");
    }
    assert_eq!(alone(&["--help"]).await.0, 0);
    assert_eq!(alone(&["--version"]).await.1, format!("dormouse {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn what_is_in_use_is_refused_with_what_uses_it() {
    let house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let gate = house.keeper.gate(&id("app")).await.unwrap().unwrap();
    let Admission::Pass(_pass) = gate.ask(Kind::Request) else { panic!("the gate is shut") };
    let (code, _, err) = run(&house, &["sleep", "app"]).await;
    assert_eq!(code, 8);
    assert!(err.contains("leases: 1 request"), "{err}");
}

#[tokio::test]
async fn a_token_is_sent_and_a_wrong_one_is_denied() {
    let token = AdminToken { token: Secret::new("s3cret"), scope: Scope::Read };
    let house = House::of(FILE, vec![token], Arc::new(MemoryStore::default())).await;
    assert_eq!(run(&house, &["list"]).await.0, 7);
    let (code, _, err) = run(&house, &["list", "--token", "wr0ng"]).await;
    assert!(code == 7 && !err.contains("wr0ng"), "{err}");
    assert_eq!(run(&house, &["list", "--token", "s3cret"]).await.0, 0);
    assert_eq!(run(&house, &["wake", "app", "--token", "s3cret"]).await.0, 7);
}

#[tokio::test]
async fn a_reader_who_has_had_enough_is_no_failure() {
    let house = House::open().await;
    let mut child = command(&["events", "-f"]).env("DORMOUSE_URL", house.url()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 16];
    out.read_exact(&mut first).await.unwrap();
    drop(out);
    // Another child that is being born may hold the pipe for a moment longer.
    let more = async {
        loop {
            house.json(Method::PUT, "/api/v1/workloads/app/pin").await;
            house.json(Method::DELETE, "/api/v1/workloads/app/pin").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let output = tokio::select! {
        output = end(child) => output,
        () = more => unreachable!("it goes on for ever"),
    };
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn ctrl_c_is_an_end_of_its_own() {
    let house = House::open().await;
    let mut child = command(&["events", "-f"]).env("DORMOUSE_URL", house.url()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 16];
    out.read_exact(&mut first).await.unwrap();
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(end(child).await.status.code(), Some(130));
}

#[tokio::test]
async fn what_needs_no_daemon_works_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dormouse.toml");
    std::fs::write(&file, "[gateway]\nhtpp = \":80\"\n").unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = alone(&["check", file, "--json"]).await;
    let checked: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &checked["findings"][0]["slug"]), (3, &"unknown-key".into()));
    assert_eq!(alone(&["serve", "-c", file]).await.0, 3);
    let (code, default, _) = alone(&["init"]).await;
    assert_eq!(code, 0);
    std::fs::write(file, default).unwrap();
    assert_eq!(alone(&["check", file]).await.0, 0);
    let (code, out, _) = alone(&["explain", "crashed"]).await;
    assert!(code == 0 && out.contains("read the last lines of its log"), "{out}");
    let (code, out, _) = alone(&["sim", "--seed", "7", "--steps", "50", "--json"]).await;
    let replayed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &replayed["violations"]), (0, &serde_json::json!([])));
    assert_eq!(alone(&["sim", "--seed", "7", "--steps", "50", "--json"]).await.1, out);
    for shell in ["bash", "zsh", "fish"] {
        assert!(alone(&["completions", shell]).await.1.contains("dormouse"));
    }
    assert!(alone(&["man"]).await.1.starts_with(".ie"));
}
