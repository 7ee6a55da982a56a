//! The process provider with real children: what it starts it rests, sees and never leaves behind.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod guard;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::policy::Rest;
use dormouse_core::{Condition, RunId};
use dormouse_providers::process::guard::GuardCommand;
use dormouse_providers::process::{ProcessConfig, ProcessProvider};
use dormouse_providers::{
    FeedItem, Found, LaunchSpec, Provider, ProviderError, RestOrder, StartOrder, Target,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const GUARD: &str = env!("CARGO_BIN_EXE_testguard");
const APP: &str = env!("CARGO_BIN_EXE_testapp");
/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn provider() -> Arc<ProcessProvider> {
    let guard = GuardCommand { program: GUARD.into(), args: Vec::new() };
    ProcessProvider::new(ProcessConfig::new(guard)).unwrap()
}

fn order(command: &[&str]) -> StartOrder {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    StartOrder { launch: Some(LaunchSpec { command, ..LaunchSpec::default() }.into()) }
}

/// Scripts that trap a signal run nothing while they wait: dash forgets one that comes while it
/// starts a program with vfork.
fn shell(script: &str) -> StartOrder {
    order(&["/bin/sh", "-c", script])
}

fn rest_order(rest: Rest) -> RestOrder {
    RestOrder { rest, signal: None, grace: PATIENCE }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn target() -> Target {
    Target::new("one")
}

/// The run and its process group.
async fn start(provider: &ProcessProvider, order: &StartOrder) -> (RunId, u32) {
    let sighting = provider.start(&target(), order, soon()).await.unwrap();
    let run = sighting.condition.run().expect("it runs");
    (run, run.0 as u32)
}

async fn observe(provider: &ProcessProvider) -> Condition {
    provider.observe(&target(), soon()).await.unwrap().condition
}

/// Waits until `done`, looking often.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let give_up_at = soon();
    while !done() {
        assert!(Instant::now() < give_up_at, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// The state letter of a process and its parent; none when it is gone.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether a process executes or could; a zombie does not.
fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|(letter, _)| letter != 'Z')
}

/// The number that a shell of ours wrote as its last line.
async fn written_number(provider: &ProcessProvider) -> u32 {
    let give_up_at = soon();
    loop {
        let lines = provider.log_tail(&target(), 1, soon()).await.unwrap();
        if let Some(number) = lines.first().and_then(|line| line.parse().ok()) {
            return number;
        }
        assert!(Instant::now() < give_up_at, "it wrote no number");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A feed whose first listing is over: from here on everything is a change.
async fn listed_feed(provider: &ProcessProvider) -> mpsc::Receiver<FeedItem> {
    let mut feed = provider.feed();
    while timeout(PATIENCE, feed.recv()).await.unwrap().unwrap() != FeedItem::ResyncDone {}
    feed
}

async fn next_change(feed: &mut mpsc::Receiver<FeedItem>) -> Found {
    loop {
        match timeout(PATIENCE, feed.recv()).await.expect("a change is reported").unwrap() {
            FeedItem::Changed(found) => return found,
            FeedItem::Resync | FeedItem::Listed(_) | FeedItem::ResyncDone => {}
            FeedItem::Lost { reason } => panic!("children cannot be lost: {reason}"),
        }
    }
}

#[tokio::test]
async fn a_started_process_is_reached_on_its_own_port() {
    let provider = provider();
    let sighting = provider.start(&target(), &order(&[APP, "--mark=$PORT"]), soon()).await.unwrap();
    let port = sighting.default_port.unwrap();
    let candidate = sighting.candidates(port)[0];
    assert_eq!(candidate.at, (Ipv4Addr::LOCALHOST, port).into());
    let give_up_at = soon();
    while TcpStream::connect(candidate.at).await.is_err() {
        assert!(Instant::now() < give_up_at, "nothing listens");
        sleep(Duration::from_millis(2)).await;
    }
    // It listens first and says so then.
    eventually_log(&provider, &format!("testapp {port} listens on {port}")).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_start_costs_little_beside_the_program_itself() {
    let provider = provider();
    let order = order(&["/bin/sleep", "1000"]);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let began = Instant::now();
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        bare.push(began.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
        let began = Instant::now();
        start(&provider, &order).await;
        ours.push(began.elapsed());
        provider.rest(&target(), &rest_order(Rest::Kill), soon()).await.unwrap();
    }
    ours.sort();
    bare.sort();
    println!("a start until exec: p50 {:?}; a bare spawn: p50 {:?}", ours[20], bare[20]);
    assert!(ours[20] < bare[20] + Duration::from_millis(200));
    provider.shutdown().await;
}

#[tokio::test]
async fn a_start_of_what_runs_changes_nothing() {
    let provider = provider();
    let order = shell("exec sleep 1000");
    let (first, _) = start(&provider, &order).await;
    let (second, _) = start(&provider, &order).await;
    assert_eq!(first, second);
    provider.shutdown().await;
}

#[tokio::test]
async fn any_number_of_starts_at_once_are_one_start() {
    let provider = provider();
    let order = shell("exec sleep 1000");
    let one = target();
    let starts = (0..50).map(|_| provider.start(&one, &order, soon()));
    let sightings = futures_util::future::try_join_all(starts).await.unwrap();
    let runs: BTreeSet<_> = sightings.iter().filter_map(|seen| seen.condition.run()).collect();
    assert_eq!(runs.len(), 1);
    provider.shutdown().await;
}

#[tokio::test]
async fn each_start_is_another_run_on_the_same_port() {
    let provider = provider();
    let order = shell("exec sleep 1000");
    let (first, _) = start(&provider, &order).await;
    let port = provider.observe(&target(), soon()).await.unwrap().default_port;
    provider.rest(&target(), &rest_order(Rest::Stop), soon()).await.unwrap();
    let (second, _) = start(&provider, &order).await;
    assert_ne!(first, second);
    assert_eq!(provider.observe(&target(), soon()).await.unwrap().default_port, port);
    provider.shutdown().await;
}

#[tokio::test]
async fn a_stop_tells_how_it_ended_and_leaves_no_zombie() {
    let provider = provider();
    let (_, pid) =
        start(&provider, &shell("trap 'exit 7' TERM; echo on; while :; do :; done")).await;
    eventually_log(&provider, "on").await;
    let sighting = provider.rest(&target(), &rest_order(Rest::Stop), soon()).await.unwrap();
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(7) });
    assert_eq!(state(pid), None);
    let again = provider.rest(&target(), &rest_order(Rest::Stop), soon()).await.unwrap();
    assert_eq!(again.condition, sighting.condition);
    provider.shutdown().await;
}

async fn eventually_log(provider: &ProcessProvider, line: &str) {
    let give_up_at = soon();
    while provider.log_tail(&target(), 1, soon()).await.unwrap() != [line] {
        assert!(Instant::now() < give_up_at, "it never wrote {line:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_signal_of_the_order_is_the_one_that_is_sent() {
    let provider = provider();
    start(&provider, &shell("trap 'exit 2' INT; echo on; while :; do :; done")).await;
    eventually_log(&provider, "on").await;
    let order = RestOrder { signal: Some("SIGINT".into()), ..rest_order(Rest::Stop) };
    let sighting = provider.rest(&target(), &order, soon()).await.unwrap();
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(2) });
    let order = RestOrder { signal: Some("SIGNORE".into()), ..order };
    let refused = provider.rest(&target(), &order, soon()).await;
    assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    provider.shutdown().await;
}

#[tokio::test]
async fn what_ignores_the_stop_is_killed_after_its_grace() {
    let provider = provider();
    start(&provider, &shell("trap '' TERM; echo on; while :; do sleep 0.01; done")).await;
    eventually_log(&provider, "on").await;
    let grace = Duration::from_millis(100);
    let began = Instant::now();
    let order = RestOrder { grace, ..rest_order(Rest::Stop) };
    let sighting = provider.rest(&target(), &order, soon()).await.unwrap();
    assert!(began.elapsed() >= grace);
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(137) });
    provider.shutdown().await;
}

#[tokio::test]
async fn a_stop_whose_caller_went_away_goes_on() {
    let provider = provider();
    let (_, pid) =
        start(&provider, &shell("trap '' TERM; echo on; while :; do sleep 0.01; done")).await;
    eventually_log(&provider, "on").await;
    let order = RestOrder { grace: Duration::from_millis(50), ..rest_order(Rest::Stop) };
    let left = provider.rest(&target(), &order, Instant::now()).await;
    assert_eq!(left, Err(ProviderError::Timeout("rest")));
    eventually("it is killed all the same", || !lives(pid)).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_start_while_it_stops_is_a_new_run() {
    let provider = provider();
    let order = shell("trap 'sleep 0.2; exit 0' TERM; echo on; while :; do :; done");
    let (first, _) = start(&provider, &order).await;
    eventually_log(&provider, "on").await;
    let one = target();
    let rest = rest_order(Rest::Stop);
    let resting = provider.rest(&one, &rest, soon());
    let starting = provider.start(&one, &order, soon());
    // The rest is polled first, so the signal is out before the start looks.
    let (rested, started) = tokio::join!(biased; resting, starting);
    let second = started.unwrap().condition.run().unwrap();
    assert_ne!(first, second);
    assert!(rested.is_ok());
    provider.shutdown().await;
}

#[tokio::test]
async fn a_pause_freezes_and_a_start_goes_on_where_it_was() {
    let provider = provider();
    let order = shell("exec sleep 1000");
    let (run, pid) = start(&provider, &order).await;
    let sighting = provider.rest(&target(), &rest_order(Rest::Pause), soon()).await.unwrap();
    assert_eq!(sighting.condition, Condition::Paused { run });
    assert!(sighting.addresses.is_empty());
    assert_eq!(state(pid).unwrap().0, 'T');
    let sighting = provider.start(&target(), &order, soon()).await.unwrap();
    assert_eq!(sighting.condition.run(), Some(run));
    assert!(matches!(sighting.condition, Condition::Running { .. }));
    assert_ne!(state(pid).unwrap().0, 'T');
    provider.shutdown().await;
}

#[tokio::test]
async fn a_leader_that_waits_for_its_child_to_exec_is_frozen_all_the_same() {
    let provider = provider();
    // This shell does little else than to wait for its children to exec.
    let order = shell("while :; do /bin/true; done");
    for _ in 0..50 {
        let (run, _) = start(&provider, &order).await;
        let sighting = provider.rest(&target(), &rest_order(Rest::Pause), soon()).await.unwrap();
        assert_eq!(sighting.condition, Condition::Paused { run });
    }
    provider.shutdown().await;
}

#[tokio::test]
async fn a_pause_whose_caller_went_away_leaves_nothing_half_frozen() {
    let provider = provider();
    let order = shell("while :; do /bin/true; done");
    let (run, leader) = start(&provider, &order).await;
    let (one, pause) = (target(), rest_order(Rest::Pause));
    for round in 0..50_u64 {
        let pausing = provider.rest(&one, &pause, soon());
        let _ = timeout(Duration::from_micros(round * 50), pausing).await;
        let frozen = observe(&provider).await == Condition::Paused { run };
        eventually("the group is in one state", || {
            state(leader).is_some_and(|(letter, _)| (letter == 'T') == frozen)
                && (frozen || members(leader).iter().all(|pid| !is_frozen(*pid)))
        })
        .await;
        start(&provider, &order).await;
    }
    provider.shutdown().await;
}

/// The living processes of a group.
fn members(group: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| lives(*pid) && group_of(*pid) == Some(group)).collect()
}

fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

fn is_frozen(pid: u32) -> bool {
    state(pid).is_some_and(|(letter, _)| letter == 'T')
}

#[tokio::test]
async fn a_paused_process_can_be_stopped() {
    let provider = provider();
    start(&provider, &shell("exec sleep 1000")).await;
    provider.rest(&target(), &rest_order(Rest::Pause), soon()).await.unwrap();
    let sighting = provider.rest(&target(), &rest_order(Rest::Stop), soon()).await.unwrap();
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(143) });
    provider.shutdown().await;
}

#[tokio::test]
async fn a_kill_asks_nobody() {
    let provider = provider();
    start(&provider, &shell("trap '' TERM; sleep 1000")).await;
    let sighting = provider.rest(&target(), &rest_order(Rest::Kill), soon()).await.unwrap();
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(137) });
    provider.shutdown().await;
}

#[tokio::test]
async fn the_end_of_the_leader_is_the_end_of_its_group() {
    let provider = provider();
    start(&provider, &shell("sleep 1000 & echo $!; read forever < /dev/zero")).await;
    let orphan = written_number(&provider).await;
    assert!(lives(orphan));
    provider.rest(&target(), &rest_order(Rest::Kill), soon()).await.unwrap();
    eventually("the group is gone", || !lives(orphan)).await;
    provider.shutdown().await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let provider = provider();
    let missing = provider.start(&target(), &order(&["/no/such/program"]), soon()).await;
    let Err(ProviderError::Misconfigured(why)) = missing else { panic!("{missing:?}") };
    assert!(why.starts_with("cannot run /no/such/program: No such file"), "{why}");
    provider.shutdown().await;
}

#[tokio::test]
async fn a_crash_carries_its_code_and_last_words() {
    let provider = provider();
    let mut feed = listed_feed(&provider).await;
    // Whether the start still sees it run is a matter of luck; what comes after is not.
    let started =
        provider.start(&target(), &shell("echo last; echo words >&2; exit 3"), soon()).await;
    assert!(
        started.is_ok() || started == Err(ProviderError::Ended { exit_code: Some(3) }),
        "{started:?}"
    );
    let ended = Condition::Stopped { exit_code: Some(3) };
    while next_change(&mut feed).await.sighting.condition != ended {}
    assert_eq!(observe(&provider).await, ended);
    let lines = provider.log_tail(&target(), 5, soon()).await.unwrap();
    assert_eq!(lines, ["last", "words"]);
    provider.shutdown().await;
}

#[tokio::test]
async fn what_somebody_does_by_hand_is_seen_at_once() {
    let provider = provider();
    let (run, pid) = start(&provider, &shell("exec sleep 1000")).await;
    let mut feed = listed_feed(&provider).await;
    by_hand("STOP", pid);
    assert_eq!(next_change(&mut feed).await.sighting.condition, Condition::Paused { run });
    by_hand("CONT", pid);
    assert_eq!(next_change(&mut feed).await.sighting.condition.run(), Some(run));
    by_hand("KILL", pid);
    let ended = Condition::Stopped { exit_code: Some(137) };
    assert_eq!(next_change(&mut feed).await.sighting.condition, ended);
    provider.shutdown().await;
}

fn by_hand(signal: &str, pid: u32) {
    let sent = Command::new("/bin/kill").args(["-s", signal, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn only_what_is_followed_or_was_started_is_known() {
    let provider = provider();
    assert_eq!(observe(&provider).await, Condition::Absent);
    let unknown = provider.rest(&target(), &rest_order(Rest::Stop), soon()).await;
    assert_eq!(unknown, Err(ProviderError::Absent(target())));
    let mut feed = listed_feed(&provider).await;
    provider.follow([target()].into());
    let change = next_change(&mut feed).await;
    assert_eq!(change.sighting.condition, Condition::Stopped { exit_code: None });
    assert_eq!(provider.list(soon()).await.unwrap().len(), 1);
    provider.follow(BTreeSet::new());
    assert_eq!(next_change(&mut feed).await.sighting.condition, Condition::Absent);
    assert_eq!(provider.list(soon()).await.unwrap(), []);
    provider.shutdown().await;
}

#[tokio::test]
async fn a_feed_that_was_not_read_is_resynced_and_ends_true() {
    let provider = provider();
    let mut feed = provider.feed();
    for round in 0..2_000 {
        let targets = if round % 2 == 0 { [target()].into() } else { BTreeSet::new() };
        provider.follow(targets);
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    provider.follow([target(), Target::new("two")].into());
    let mut known = BTreeMap::new();
    let mut resyncs = 0;
    while known.len() < 2 {
        match timeout(PATIENCE, feed.recv()).await.unwrap().unwrap() {
            FeedItem::Resync => {
                resyncs += 1;
                known.clear();
            }
            FeedItem::Listed(found) | FeedItem::Changed(found) => {
                if found.sighting.condition == Condition::Absent {
                    known.remove(&found.target);
                } else {
                    known.insert(found.target, found.sighting.condition);
                }
            }
            FeedItem::ResyncDone => {}
            FeedItem::Lost { reason } => panic!("children cannot be lost: {reason}"),
        }
    }
    assert!(resyncs >= 2, "{resyncs}");
    provider.shutdown().await;
}

#[tokio::test]
async fn a_port_that_somebody_uses_is_not_started_upon() {
    let provider = provider();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut order = shell("exec sleep 1000");
    Arc::make_mut(order.launch.as_mut().unwrap()).port = Some(port);
    let refused = provider.start(&target(), &order, soon()).await;
    assert!(matches!(refused, Err(ProviderError::Refused(_))), "{refused:?}");
    provider.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_asks_first_and_then_leaves_nothing() {
    let provider = provider();
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let script =
        format!("trap 'echo bye > {}; exit 0' TERM; echo on; while :; do :; done", note.display());
    let (_, pid) = start(&provider, &shell(&script)).await;
    eventually_log(&provider, "on").await;
    provider.rest(&target(), &rest_order(Rest::Pause), soon()).await.unwrap();
    provider.shutdown().await;
    assert_eq!(state(pid), None);
    assert_eq!(std::fs::read_to_string(note).unwrap(), "bye\n");
    let refused = provider.start(&target(), &shell("true"), soon()).await;
    assert!(matches!(refused, Err(ProviderError::Refused(_))), "{refused:?}");
}
