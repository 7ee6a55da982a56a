//! What a dormouse that was dropped or killed leaves behind, which is nothing, and the guard that
//! sees to it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dormouse_providers::Provider;
use dormouse_providers::process::guard::GuardCommand;
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use tokio::time::sleep;

use crate::{GUARD, by_hand, eventually, lives, members, provider, shell, start, state};

#[tokio::test]
async fn a_dropped_provider_leaves_nothing() {
    let provider = provider();
    let (_, pid) = start(&provider, &shell("trap '' TERM; sleep 1000 & wait")).await;
    drop(provider);
    assert_eq!(state(pid), None);
}

#[tokio::test]
async fn a_dormouse_that_is_killed_leaves_nothing_however_frozen() {
    for frozen in ["CONT", "STOP"] {
        let script = "trap '' TERM HUP; sleep 1000 & sleep 1000";
        let mut host = Command::new(GUARD)
            .args(["host", "/bin/sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let group: u32 = line.trim().strip_prefix("ready ").expect("it runs").parse().unwrap();
        eventually("both sleep", || members(group).len() >= 3).await;
        for member in members(group) {
            by_hand(frozen, member);
        }
        // SIGKILL: no handler, no drop.
        host.kill().unwrap();
        host.wait().unwrap();
        eventually("nothing is left behind", || members(group).is_empty()).await;
    }
}

#[tokio::test]
async fn a_dormouse_that_is_killed_while_it_starts_something_leaves_nothing() {
    let marker = format!("marker-{}", std::process::id());
    for round in 0..40_u64 {
        let mut host = Command::new(GUARD)
            .args(["host", "/bin/sh", "-c", "trap '' TERM; sleep 1000", &marker])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere between its own birth and a while after its guest's.
        sleep(Duration::from_micros(round * 400)).await;
        host.kill().unwrap();
        host.wait().unwrap();
    }
    eventually("nothing is left behind", || carrying(&marker).is_empty()).await;
}

/// The living processes that were given an argument.
fn carrying(argument: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        lives(*pid) && command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
    .collect()
}

#[tokio::test]
async fn a_guard_that_was_killed_is_replaced() {
    let (provider, name) = named_guard("--name=replaced");
    start(&provider, &shell("exec sleep 1000")).await;
    let first = running(name);
    assert_eq!(first.len(), 1);
    by_hand("KILL", first[0]);
    eventually("another guard stands", || {
        let now = running(name);
        now.len() == 1 && now != first
    })
    .await;
    provider.shutdown().await;
    eventually("the guard leaves when it is not needed", || running(name).is_empty()).await;
}

#[tokio::test]
async fn a_guard_does_not_follow_those_who_end_services() {
    let (provider, name) = named_guard("--name=deaf");
    start(&provider, &shell("exec sleep 1000")).await;
    let guards = running(name);
    let deaf = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", guards[0])).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & TERM_INT_HUP == TERM_INT_HUP
    };
    eventually("the guard has its handlers", deaf).await;
    for signal in ["TERM", "INT", "HUP"] {
        by_hand(signal, guards[0]);
    }
    start(&provider, &shell("exec sleep 1000")).await;
    assert_eq!(running(name), guards);
    provider.shutdown().await;
}

/// The bits of SIGHUP, SIGINT and SIGTERM in a signal mask.
const TERM_INT_HUP: u64 = 1 | 1 << 1 | 1 << 14;

/// A provider whose guard can be told from those of the tests beside it.
fn named_guard(name: &'static str) -> (Arc<ProcessProvider>, &'static str) {
    let guard = GuardCommand { program: GUARD.into(), args: vec![name.into()] };
    (ProcessProvider::new(ProcessConfig::new(guard)).unwrap(), name)
}

/// The living children of this test that were given an argument.
fn running(argument: &str) -> Vec<u32> {
    let ours = |pid: &u32| state(*pid).is_some_and(|(_, parent)| parent == std::process::id());
    carrying(argument).into_iter().filter(ours).collect()
}
