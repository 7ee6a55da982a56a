//! Facts about states: what may follow what, and what the engine says when it may not.

use std::time::Duration;

use dormouse_testkit::engine::{RestartPolicy, stock};
use tokio::time::{Instant, sleep};

use crate::facts;
use crate::lab::Lab;

facts![
    created_is_neither_running_nor_stopped,
    a_start_of_what_runs_is_a_304,
    a_stop_of_what_is_stopped_is_a_304,
    a_kill_or_pause_of_what_is_stopped_is_a_409,
    unpausing_what_is_not_paused_is_a_500,
    paused_reads_as_running,
    a_paused_container_refuses_a_start,
    a_start_while_stopping_is_a_304_and_then_it_dies,
    a_stop_goes_on_after_its_caller_has_left,
    a_stop_that_is_ignored_ends_in_a_kill,
    a_hup_by_kill_disables_the_restart_policy,
    a_signal_thaws_what_is_paused,
    a_stop_of_what_is_paused_thaws_it,
    a_running_container_is_not_removed_without_force,
    concurrent_starts_start_once,
    a_restart_policy_starts_it_again,
    on_failure_gives_up_after_its_retries,
    a_program_that_is_missing_is_a_400,
    a_paused_container_reads_unhealthy,
    started_at_survives_a_pause_and_changes_at_a_restart,
];

async fn created_is_neither_running_nor_stopped(lab: &Lab) {
    lab.create(stock::obedient("a")).await;
    let state = lab.state("a").await;
    assert_eq!(state["Status"], "created");
    assert_eq!(state["Running"], false);
    assert_eq!(state["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(state["FinishedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(lab.post("a", "stop").await, 304);
}

async fn a_start_of_what_runs_is_a_304(lab: &Lab) {
    lab.create(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "start").await, 204);
    assert_eq!(lab.post("a", "start").await, 304);
    assert_eq!(lab.actions("a").await, ["create", "start"]);
}

async fn a_stop_of_what_is_stopped_is_a_304(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "stop?t=5").await, 204);
    assert_eq!(lab.post("a", "stop?t=5").await, 304);
    let state = lab.state("a").await;
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(0)));
    assert_eq!(state["Pid"], 0);
}

async fn a_kill_or_pause_of_what_is_stopped_is_a_409(lab: &Lab) {
    let id = lab.create(stock::obedient("a")).await;
    let kill = lab.answer("a", "kill").await;
    let name = lab.name("a");
    assert_eq!(kill.status, 409);
    assert_eq!(
        kill.message(),
        format!("Cannot kill container: {name}: Container {id} is not running")
    );
    let pause = lab.answer("a", "pause").await;
    assert_eq!((pause.status, pause.message()), (409, format!("Container {id} is not running")));
}

async fn unpausing_what_is_not_paused_is_a_500(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    let answer = lab.answer("a", "unpause").await;
    assert_eq!((answer.status, answer.message()), (500, format!("Container {id} is not paused")));
}

async fn paused_reads_as_running(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "pause").await, 204);
    let state = lab.state("a").await;
    assert_eq!(state["Status"], "paused");
    assert_eq!((&state["Running"], &state["Paused"]), (&true.into(), &true.into()));
    let again = lab.answer("a", "pause").await;
    assert_eq!((again.status, again.message()), (409, format!("Container {id} is already paused")));
}

async fn a_paused_container_refuses_a_start(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "pause").await;
    let answer = lab.answer("a", "start").await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.message(), "cannot start a paused container, try unpause instead");
}

async fn a_start_while_stopping_is_a_304_and_then_it_dies(lab: &Lab) {
    lab.running(stock::deaf("a")).await;
    let stop = lab.spawn_post("a", "stop?t=1");
    lab.said("a", "kill").await;
    assert_eq!(lab.state("a").await["Status"], "running");
    assert_eq!(lab.post("a", "start").await, 304);
    assert_eq!(stop.await.unwrap(), 204);
    assert_eq!(lab.state("a").await["Status"], "exited");
}

async fn a_stop_goes_on_after_its_caller_has_left(lab: &Lab) {
    lab.running(stock::deaf("a")).await;
    let stop = lab.spawn_post("a", "stop?t=1");
    lab.said("a", "kill").await;
    stop.abort();
    lab.said("a", "stop").await;
    assert_eq!(lab.state("a").await["Status"], "exited");
}

async fn a_stop_that_is_ignored_ends_in_a_kill(lab: &Lab) {
    lab.running(stock::deaf("a")).await;
    let began = Instant::now();
    assert_eq!(lab.post("a", "stop?t=1").await, 204);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(lab.actions("a").await, ["create", "start", "kill", "kill", "die", "stop"]);
    assert_eq!(lab.state("a").await["ExitCode"], 137);
}

async fn a_hup_by_kill_disables_the_restart_policy(lab: &Lab) {
    let spec = stock::brief("a", 5).restarting(RestartPolicy::Always);
    lab.running(spec).await;
    assert_eq!(lab.post("a", "kill?signal=HUP").await, 204);
    lab.until("a", |state| state["Status"] == "exited").await;
    sleep(Duration::from_millis(400)).await;
    assert_eq!(lab.actions("a").await, ["create", "start", "kill", "die"]);
}

async fn a_signal_thaws_what_is_paused(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "pause").await;
    assert_eq!(lab.post("a", "kill?signal=USR1").await, 204);
    lab.said("a", "unpause").await;
    assert_eq!(lab.actions("a").await, ["create", "start", "pause", "kill", "unpause"]);
    assert_eq!(lab.state("a").await["Status"], "running");
}

async fn a_stop_of_what_is_paused_thaws_it(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "pause").await;
    assert_eq!(lab.post("a", "stop?t=5").await, 204);
    let expected = ["create", "start", "pause", "kill", "unpause", "die", "stop"];
    assert_eq!(lab.actions("a").await, expected);
}

async fn a_running_container_is_not_removed_without_force(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    let refused = lab.delete("a", "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.message().starts_with(&format!("You cannot remove a running container {id}.")));
    lab.post("a", "pause").await;
    let refused = lab.delete("a", "").await;
    assert!(refused.message().starts_with(&format!("You cannot remove a paused container {id}.")));
}

async fn concurrent_starts_start_once(lab: &Lab) {
    let mut spec = stock::obedient("a");
    spec.behaviour.start_delay = Duration::from_millis(50);
    lab.create(spec).await;
    let starts: Vec<_> = (0..4).map(|_| lab.spawn_post("a", "start")).collect();
    let mut answers = Vec::new();
    for start in starts {
        answers.push(start.await.unwrap());
    }
    answers.sort_unstable();
    // More than one may be told 204: the engine looks before it locks.
    assert_eq!(answers[0], 204);
    assert!(answers.iter().all(|status| [204, 304].contains(status)), "{answers:?}");
    assert_eq!(lab.actions("a").await, ["create", "start"]);
}

async fn a_restart_policy_starts_it_again(lab: &Lab) {
    lab.running(stock::brief("a", 3).restarting(RestartPolicy::Always)).await;
    let state = lab.until("a", |state| state["Restarting"] == true).await;
    assert_eq!(state["Status"], "restarting");
    assert_eq!((&state["Running"], &state["Pid"]), (&true.into(), &0.into()));
    assert_eq!(state["ExitCode"], 3);
    lab.until("a", |state| state["Status"] == "running").await;
    assert!(lab.inspect("a").await["RestartCount"].as_u64() >= Some(1));
    let actions = lab.actions("a").await;
    assert_eq!(actions[..4], ["create", "start", "die", "start"]);
    lab.until("a", |state| state["Restarting"] == true).await;
    lab.post("a", "stop?t=0").await;
    assert_eq!(lab.until("a", |state| state["Restarting"] == false).await["Status"], "exited");
}

async fn on_failure_gives_up_after_its_retries(lab: &Lab) {
    let policy = RestartPolicy::OnFailure { retries_max: 2 };
    lab.running(stock::brief("a", 2).restarting(policy)).await;
    let expected = ["create", "start", "die", "start", "die", "start", "die"];
    lab.eventually("it has given up", async || lab.actions("a").await == expected).await;
    assert_eq!(lab.until("a", |state| state["Restarting"] == false).await["Status"], "exited");
    assert_eq!(lab.inspect("a").await["RestartCount"], 2);
}

async fn a_program_that_is_missing_is_a_400(lab: &Lab) {
    lab.create(stock::broken("a")).await;
    let answer = lab.answer("a", "start").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("no such file or directory"), "{}", answer.message());
    let state = lab.state("a").await;
    assert_eq!(
        (state["Status"].as_str(), state["ExitCode"].as_i64()),
        (Some("created"), Some(127))
    );
    assert_eq!(state["Error"], answer.message());
    assert_eq!(lab.actions("a").await, ["create"]);
}

async fn a_paused_container_reads_unhealthy(lab: &Lab) {
    lab.running(stock::checked("a", true)).await;
    lab.until("a", |state| state["Health"]["Status"] == "healthy").await;
    lab.post("a", "pause").await;
    assert_eq!(lab.state("a").await["Health"]["Status"], "unhealthy");
    lab.post("a", "unpause").await;
    lab.until("a", |state| state["Health"]["Status"] == "healthy").await;
}

async fn started_at_survives_a_pause_and_changes_at_a_restart(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    let first = lab.state("a").await["StartedAt"].clone();
    lab.post("a", "pause").await;
    lab.post("a", "unpause").await;
    assert_eq!(lab.state("a").await["StartedAt"], first);
    lab.post("a", "restart?t=5").await;
    let second = lab.state("a").await["StartedAt"].clone();
    assert!(second.as_str() > first.as_str(), "{second} after {first}");
    assert!(second.as_str().unwrap().ends_with('Z') && second.as_str().unwrap().contains('.'));
}
