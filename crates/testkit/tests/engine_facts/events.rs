//! Facts about events: which, in which order, and how many are remembered.

use dormouse_testkit::engine::stock;

use crate::facts;
use crate::lab::Lab;

facts![
    a_stop_says_kill_die_stop,
    a_kill_says_kill_die,
    a_hup_does_not_stop_but_is_said,
    a_restart_says_stop_start_restart,
    a_removal_by_force_says_kill_die_destroy,
    a_rename_says_both_names,
    a_crash_says_die_with_its_code,
    a_passing_health_check_is_said_once,
    a_failing_health_check_needs_its_retries,
    events_are_replayed_from_a_moment_inclusively,
    at_most_256_events_are_replayed,
    events_are_filtered_by_container_and_action,
];

async fn a_stop_says_kill_die_stop(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "stop?t=5").await;
    let events = lab.events("a").await;
    let actions: Vec<_> = events.iter().map(|it| it["Action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "start", "kill", "die", "stop"]);
    assert_eq!(events[2]["Actor"]["Attributes"]["signal"], "15");
    assert_eq!(events[3]["Actor"]["Attributes"]["exitCode"], "0");
    assert_eq!(events[4]["status"], "stop");
    assert_eq!(events[4]["Type"], "container");
    assert_eq!(events[4]["scope"], "local");
    assert_eq!(events[4]["Actor"]["Attributes"]["name"], lab.name("a"));
    assert!(events[4]["timeNano"].as_u64() > events[3]["timeNano"].as_u64());
}

async fn a_kill_says_kill_die(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "kill").await, 204);
    assert_eq!(lab.state("a").await["ExitCode"], 137);
    assert_eq!(lab.actions("a").await, ["create", "start", "kill", "die"]);
}

async fn a_hup_does_not_stop_but_is_said(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    let before = lab.state("a").await;
    assert_eq!(lab.post("a", "kill?signal=HUP").await, 204);
    assert_eq!(lab.state("a").await, before);
    assert_eq!(lab.actions("a").await, ["create", "start", "kill"]);
    assert_eq!(lab.answer("a", "kill?signal=FOO").await.message(), "Invalid signal: FOO");
}

async fn a_restart_says_stop_start_restart(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "restart?t=5").await, 204);
    let expected = ["create", "start", "kill", "die", "stop", "start", "restart"];
    assert_eq!(lab.actions("a").await, expected);
}

async fn a_removal_by_force_says_kill_die_destroy(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    assert_eq!(lab.delete("a", "?force=1").await.status, 204);
    assert_eq!(lab.actions("a").await, ["create", "start", "kill", "die", "destroy"]);
    assert_eq!(lab.delete("a", "?force=1").await.status, 404);
}

async fn a_rename_says_both_names(lab: &Lab) {
    lab.create(stock::obedient("a")).await;
    let (old, new) = (lab.name("a"), lab.name("b"));
    assert_eq!(lab.post("a", &format!("rename?name={new}")).await, 204);
    let events = lab.events("b").await;
    let attributes = &events.last().unwrap()["Actor"]["Attributes"];
    assert_eq!(attributes["name"], new);
    assert_eq!(attributes["oldName"], format!("/{old}"));
    assert_eq!(lab.post("b", &format!("rename?name={new}")).await, 400);
    assert_eq!(lab.post("b", "rename?name=").await, 400);
}

async fn a_crash_says_die_with_its_code(lab: &Lab) {
    lab.running(stock::brief("a", 3)).await;
    lab.until("a", |state| state["Status"] == "exited").await;
    assert_eq!(lab.state("a").await["ExitCode"], 3);
    let events = lab.events("a").await;
    let last = events.last().unwrap();
    assert_eq!(last["Action"], "die");
    assert_eq!(last["Actor"]["Attributes"]["exitCode"], "3");
}

async fn a_passing_health_check_is_said_once(lab: &Lab) {
    lab.running(stock::checked("a", true)).await;
    assert_eq!(lab.state("a").await["Health"]["Status"], "starting");
    lab.until("a", |state| state["Health"]["Status"] == "healthy").await;
    lab.eventually("it is checked again", async || {
        lab.actions("a").await.iter().filter(|it| it.starts_with("exec_die")).count() >= 2
    })
    .await;
    let actions = lab.actions("a").await;
    let verdicts: Vec<_> = actions.iter().filter(|it| it.starts_with("health_status")).collect();
    assert_eq!(verdicts, ["health_status: healthy"]);
}

async fn a_failing_health_check_needs_its_retries(lab: &Lab) {
    lab.running(stock::checked("a", false)).await;
    let state = lab.until("a", |state| state["Health"]["Status"] == "unhealthy").await;
    assert!(state["Health"]["FailingStreak"].as_u64() >= Some(2));
    assert!(lab.actions("a").await.contains(&"health_status: unhealthy".to_owned()));
}

async fn events_are_replayed_from_a_moment_inclusively(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    let start = lab.events("a").await[1]["timeNano"].as_u64().unwrap();
    lab.post("a", "stop?t=5").await;
    let replayed = lab.actions_since("a", start).await;
    assert_eq!(replayed, ["start", "kill", "die", "stop"]);
    assert_eq!(lab.actions_since("a", start + 1).await, ["kill", "die", "stop"]);
}

async fn at_most_256_events_are_replayed(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    for _ in 0..300 {
        lab.post("a", "kill?signal=WINCH").await;
    }
    let all = lab.events("a").await;
    assert!(all.len() <= 256, "{}", all.len());
    assert!(all.iter().all(|event| event["Action"] == "kill"));
}

async fn events_are_filtered_by_container_and_action(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.running(stock::obedient("b")).await;
    lab.post("a", "kill").await;
    let name = lab.name("a");
    let filters = format!(r#"{{"container":["{name}"],"event":["die","start"]}}"#);
    let actions = lab.replay(1, &filters).await;
    let actions: Vec<_> = actions.iter().map(|it| it["Action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["start", "die"]);
}
