//! Facts about the Docker Engine, checked against the real one and the fake alike, so that the
//! fake cannot drift.

mod lab;

use std::time::Duration;

use dormouse_testkit::engine::{RestartPolicy, stock};
use tokio::time::{Instant, sleep};

use lab::Lab;

/// Makes one test of each fact for the fake engine and one for the real one.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod fake {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(&super::Lab::fake().await).await;
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                if let Some(lab) = super::Lab::real().await {
                    super::$fact(&lab).await;
                }
            })*
        }
    };
}

facts![
    a_ping_names_the_api_version,
    a_version_outside_the_range_is_refused,
    what_is_absent_is_a_404,
    a_taken_name_is_a_409_that_names_its_owner,
    created_is_neither_running_nor_stopped,
    a_start_of_what_runs_is_a_304,
    a_stop_of_what_is_stopped_is_a_304,
    a_kill_or_pause_of_what_is_stopped_is_a_409,
    unpausing_what_is_not_paused_is_a_500,
    paused_reads_as_running,
    a_paused_container_refuses_a_start,
    a_start_while_stopping_is_a_304_and_then_it_dies,
    a_stop_goes_on_after_its_caller_has_left,
    a_stop_says_kill_die_stop,
    a_stop_that_is_ignored_ends_in_a_kill,
    a_kill_says_kill_die,
    a_hup_does_not_stop_but_is_said,
    a_hup_by_kill_disables_the_restart_policy,
    a_signal_thaws_what_is_paused,
    a_stop_of_what_is_paused_thaws_it,
    a_restart_says_stop_start_restart,
    a_removal_by_force_says_kill_die_destroy,
    a_running_container_is_not_removed_without_force,
    a_rename_says_both_names,
    a_renamed_container_keeps_its_id,
    concurrent_starts_start_once,
    a_crash_says_die_with_its_code,
    a_restart_policy_starts_it_again,
    on_failure_gives_up_after_its_retries,
    a_program_that_is_missing_is_a_400,
    a_passing_health_check_is_said_once,
    a_failing_health_check_needs_its_retries,
    a_paused_container_reads_unhealthy,
    started_at_survives_a_pause_and_changes_at_a_restart,
    events_are_replayed_from_a_moment_inclusively,
    at_most_256_events_are_replayed,
    events_are_filtered_by_container_and_action,
    a_bad_filter_is_a_500,
    a_bad_moment_is_a_500,
    a_listing_without_all_shows_what_runs,
    a_listing_is_filtered_by_label,
    a_published_port_is_told_while_it_runs,
    a_freed_address_goes_to_the_next_start,
    logs_come_in_frames,
    logs_without_a_stream_are_a_400,
    a_look_at_what_is_starting_waits,
];

async fn a_ping_names_the_api_version(lab: &Lab) {
    let answer = lab.client.read("/_ping").await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"OK"[..]));
    let version = lab.client.read("/version").await.unwrap().json();
    assert_eq!(
        answer.headers["api-version"],
        version["ApiVersion"].as_str().unwrap()
    );
}

async fn a_version_outside_the_range_is_refused(lab: &Lab) {
    let new = lab.client.read("/v9.99/version").await.unwrap();
    assert_eq!(new.status, 400);
    assert!(
        new.message()
            .starts_with("client version 9.99 is too new. Maximum supported API")
    );
    let old = lab.client.read("/v1.1/version").await.unwrap();
    assert_eq!(old.status, 400);
    let text = String::from_utf8_lossy(&old.body);
    assert!(text.contains("client version 1.1 is too old. Minimum supported API version is"));
}

async fn what_is_absent_is_a_404(lab: &Lab) {
    let name = lab.name("nosuch");
    for path in ["start", "stop", "kill", "pause", "unpause", "restart"] {
        let answer = lab
            .client
            .post(&format!("/containers/{name}/{path}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 404, "{path}");
        let absent = format!("No such container: {name}");
        assert!(
            answer.message().ends_with(&absent),
            "{path}: {}",
            answer.message()
        );
    }
    assert_eq!(
        lab.client
            .read(&format!("/containers/{name}/json"))
            .await
            .unwrap()
            .status,
        404
    );
    let nowhere = lab.client.read("/nowhere").await.unwrap();
    assert_eq!(
        (nowhere.status, nowhere.message().as_str()),
        (404, "page not found")
    );
}

async fn a_taken_name_is_a_409_that_names_its_owner(lab: &Lab) {
    let id = lab.create(stock::obedient("taken")).await;
    let name = lab.name("taken");
    let image = lab.image().await;
    let body = serde_json::json!({"Image": image, "Cmd": ["true"]});
    let path = format!("/containers/create?name={name}");
    let answer = lab.client.post_json(&path, &body).await.unwrap();
    assert_eq!(answer.status, 409);
    assert!(answer.message().contains(&id), "{}", answer.message());
}

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
    assert_eq!(
        (state["Status"].as_str(), state["ExitCode"].as_i64()),
        (Some("exited"), Some(0))
    );
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
    assert_eq!(
        (pause.status, pause.message()),
        (409, format!("Container {id} is not running"))
    );
}

async fn unpausing_what_is_not_paused_is_a_500(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    let answer = lab.answer("a", "unpause").await;
    assert_eq!(
        (answer.status, answer.message()),
        (500, format!("Container {id} is not paused"))
    );
}

async fn paused_reads_as_running(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    assert_eq!(lab.post("a", "pause").await, 204);
    let state = lab.state("a").await;
    assert_eq!(state["Status"], "paused");
    assert_eq!(
        (&state["Running"], &state["Paused"]),
        (&true.into(), &true.into())
    );
    let again = lab.answer("a", "pause").await;
    assert_eq!(
        (again.status, again.message()),
        (409, format!("Container {id} is already paused"))
    );
}

async fn a_paused_container_refuses_a_start(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "pause").await;
    let answer = lab.answer("a", "start").await;
    assert_eq!(answer.status, 409);
    assert_eq!(
        answer.message(),
        "cannot start a paused container, try unpause instead"
    );
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

async fn a_stop_says_kill_die_stop(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "stop?t=5").await;
    let events = lab.events("a").await;
    let actions: Vec<_> = events
        .iter()
        .map(|it| it["Action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["create", "start", "kill", "die", "stop"]);
    assert_eq!(events[2]["Actor"]["Attributes"]["signal"], "15");
    assert_eq!(events[3]["Actor"]["Attributes"]["exitCode"], "0");
    assert_eq!(events[4]["status"], "stop");
    assert_eq!(events[4]["Type"], "container");
    assert_eq!(events[4]["scope"], "local");
    assert_eq!(events[4]["Actor"]["Attributes"]["name"], lab.name("a"));
    assert!(events[4]["timeNano"].as_u64() > events[3]["timeNano"].as_u64());
}

async fn a_stop_that_is_ignored_ends_in_a_kill(lab: &Lab) {
    lab.running(stock::deaf("a")).await;
    let began = Instant::now();
    assert_eq!(lab.post("a", "stop?t=1").await, 204);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        lab.actions("a").await,
        ["create", "start", "kill", "kill", "die", "stop"]
    );
    assert_eq!(lab.state("a").await["ExitCode"], 137);
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
    assert_eq!(
        lab.answer("a", "kill?signal=FOO").await.message(),
        "Invalid signal: FOO"
    );
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
    assert_eq!(
        lab.actions("a").await,
        ["create", "start", "pause", "kill", "unpause"]
    );
    assert_eq!(lab.state("a").await["Status"], "running");
}

async fn a_stop_of_what_is_paused_thaws_it(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.post("a", "pause").await;
    assert_eq!(lab.post("a", "stop?t=5").await, 204);
    let expected = ["create", "start", "pause", "kill", "unpause", "die", "stop"];
    assert_eq!(lab.actions("a").await, expected);
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
    assert_eq!(
        lab.actions("a").await,
        ["create", "start", "kill", "die", "destroy"]
    );
    assert_eq!(lab.delete("a", "?force=1").await.status, 404);
}

async fn a_running_container_is_not_removed_without_force(lab: &Lab) {
    let id = lab.running(stock::obedient("a")).await;
    let refused = lab.delete("a", "").await;
    assert_eq!(refused.status, 409);
    assert!(
        refused
            .message()
            .starts_with(&format!("You cannot remove a running container {id}."))
    );
    lab.post("a", "pause").await;
    let refused = lab.delete("a", "").await;
    assert!(
        refused
            .message()
            .starts_with(&format!("You cannot remove a paused container {id}."))
    );
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

async fn a_renamed_container_keeps_its_id(lab: &Lab) {
    let id = lab.create(stock::obedient("a")).await;
    let new = lab.name("b");
    lab.post("a", &format!("rename?name={new}")).await;
    assert_eq!(
        lab.client
            .read(&format!("/containers/{id}/json"))
            .await
            .unwrap()
            .json()["Id"],
        id
    );
    let short = &id[..12];
    let by_prefix = lab
        .client
        .read(&format!("/containers/{short}/json"))
        .await
        .unwrap();
    assert_eq!(by_prefix.json()["Name"], format!("/{new}"));
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
    assert!(
        answers.iter().all(|status| [204, 304].contains(status)),
        "{answers:?}"
    );
    assert_eq!(lab.actions("a").await, ["create", "start"]);
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

async fn a_restart_policy_starts_it_again(lab: &Lab) {
    lab.running(stock::brief("a", 3).restarting(RestartPolicy::Always))
        .await;
    let state = lab.until("a", |state| state["Restarting"] == true).await;
    assert_eq!(state["Status"], "restarting");
    assert_eq!(
        (&state["Running"], &state["Pid"]),
        (&true.into(), &0.into())
    );
    assert_eq!(state["ExitCode"], 3);
    lab.until("a", |state| state["Status"] == "running").await;
    assert!(lab.inspect("a").await["RestartCount"].as_u64() >= Some(1));
    let actions = lab.actions("a").await;
    assert_eq!(actions[..4], ["create", "start", "die", "start"]);
    lab.until("a", |state| state["Restarting"] == true).await;
    lab.post("a", "stop?t=0").await;
    assert_eq!(
        lab.until("a", |state| state["Restarting"] == false).await["Status"],
        "exited"
    );
}

async fn on_failure_gives_up_after_its_retries(lab: &Lab) {
    let policy = RestartPolicy::OnFailure { retries_max: 2 };
    lab.running(stock::brief("a", 2).restarting(policy)).await;
    let expected = ["create", "start", "die", "start", "die", "start", "die"];
    lab.eventually("it has given up", async || {
        lab.actions("a").await == expected
    })
    .await;
    assert_eq!(
        lab.until("a", |state| state["Restarting"] == false).await["Status"],
        "exited"
    );
    assert_eq!(lab.inspect("a").await["RestartCount"], 2);
}

async fn a_program_that_is_missing_is_a_400(lab: &Lab) {
    lab.create(stock::broken("a")).await;
    let answer = lab.answer("a", "start").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.message().contains("no such file or directory"),
        "{}",
        answer.message()
    );
    let state = lab.state("a").await;
    assert_eq!(
        (state["Status"].as_str(), state["ExitCode"].as_i64()),
        (Some("created"), Some(127))
    );
    assert_eq!(state["Error"], answer.message());
    assert_eq!(lab.actions("a").await, ["create"]);
}

async fn a_passing_health_check_is_said_once(lab: &Lab) {
    lab.running(stock::checked("a", true)).await;
    assert_eq!(lab.state("a").await["Health"]["Status"], "starting");
    lab.until("a", |state| state["Health"]["Status"] == "healthy")
        .await;
    lab.eventually("it is checked again", async || {
        lab.actions("a")
            .await
            .iter()
            .filter(|it| it.starts_with("exec_die"))
            .count()
            >= 2
    })
    .await;
    let actions = lab.actions("a").await;
    let verdicts: Vec<_> = actions
        .iter()
        .filter(|it| it.starts_with("health_status"))
        .collect();
    assert_eq!(verdicts, ["health_status: healthy"]);
}

async fn a_failing_health_check_needs_its_retries(lab: &Lab) {
    lab.running(stock::checked("a", false)).await;
    let state = lab
        .until("a", |state| state["Health"]["Status"] == "unhealthy")
        .await;
    assert!(state["Health"]["FailingStreak"].as_u64() >= Some(2));
    assert!(
        lab.actions("a")
            .await
            .contains(&"health_status: unhealthy".to_owned())
    );
}

async fn a_paused_container_reads_unhealthy(lab: &Lab) {
    lab.running(stock::checked("a", true)).await;
    lab.until("a", |state| state["Health"]["Status"] == "healthy")
        .await;
    lab.post("a", "pause").await;
    assert_eq!(lab.state("a").await["Health"]["Status"], "unhealthy");
    lab.post("a", "unpause").await;
    lab.until("a", |state| state["Health"]["Status"] == "healthy")
        .await;
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

async fn events_are_replayed_from_a_moment_inclusively(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    let start = lab.events("a").await[1]["timeNano"].as_u64().unwrap();
    lab.post("a", "stop?t=5").await;
    let replayed = lab.actions_since("a", start).await;
    assert_eq!(replayed, ["start", "kill", "die", "stop"]);
    assert_eq!(
        lab.actions_since("a", start + 1).await,
        ["kill", "die", "stop"]
    );
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
    let actions: Vec<_> = actions
        .iter()
        .map(|it| it["Action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["start", "die"]);
}

async fn a_bad_filter_is_a_500(lab: &Lab) {
    for path in ["/containers/json?filters=bad", "/events?filters=%7Bbad"] {
        assert_eq!(lab.client.read(path).await.unwrap().status, 500, "{path}");
    }
}

async fn a_bad_moment_is_a_500(lab: &Lab) {
    assert_eq!(
        lab.client.read("/events?since=bad").await.unwrap().status,
        500
    );
    assert_eq!(
        lab.client
            .read("/events?until=10&since=20")
            .await
            .unwrap()
            .status,
        400
    );
}

async fn a_listing_without_all_shows_what_runs(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.running(stock::obedient("b")).await;
    lab.create(stock::obedient("c")).await;
    lab.post("b", "pause").await;
    assert_eq!(
        lab.listed("").await,
        [("b", "paused"), ("a", "running")].map(owned)
    );
    let all = [("c", "created"), ("b", "paused"), ("a", "running")].map(owned);
    assert_eq!(lab.listed("&all=1").await, all);
    let filter = "&filters=%7B%22status%22%3A%5B%22created%22%5D%7D";
    assert_eq!(lab.listed(filter).await, [("c", "created")].map(owned));
}

async fn a_listing_is_filtered_by_label(lab: &Lab) {
    lab.create(stock::obedient("a").label("tier", "web")).await;
    lab.create(stock::obedient("b").label("tier", "db")).await;
    let filter = "&all=1&filters=%7B%22label%22%3A%5B%22tier%3Dweb%22%5D%7D";
    assert_eq!(lab.listed(filter).await, [("a", "created")].map(owned));
    let filter = "&all=1&filters=%7B%22label%22%3A%7B%22tier%22%3Atrue%7D%7D";
    assert_eq!(
        lab.listed(filter).await,
        [("b", "created"), ("a", "created")].map(owned)
    );
}

async fn a_published_port_is_told_while_it_runs(lab: &Lab) {
    lab.create(
        stock::obedient("a")
            .publishing(8080, "127.0.0.1")
            .exposing(9090),
    )
    .await;
    assert_eq!(
        lab.inspect("a").await["NetworkSettings"]["Ports"],
        serde_json::json!({})
    );
    lab.post("a", "start").await;
    let settings = lab.inspect("a").await["NetworkSettings"].clone();
    let published = &settings["Ports"]["8080/tcp"][0];
    assert_eq!(published["HostIp"], "127.0.0.1");
    assert!(
        published["HostPort"]
            .as_str()
            .unwrap()
            .parse::<u16>()
            .unwrap()
            > 0
    );
    assert_eq!(settings["Ports"]["9090/tcp"], serde_json::Value::Null);
    let address = settings["IPAddress"].as_str().unwrap();
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    assert_eq!(settings["Networks"]["bridge"]["IPAddress"], address);
    lab.post("a", "kill").await;
    let settings = lab.inspect("a").await["NetworkSettings"].clone();
    assert_eq!(
        (&settings["Ports"], &settings["IPAddress"]),
        (&serde_json::json!({}), &"".into())
    );
}

async fn a_freed_address_goes_to_the_next_start(lab: &Lab) {
    if lab.is_shared() {
        // Other users of the machine's engine may take the address in between.
        return;
    }
    lab.running(stock::obedient("a")).await;
    lab.create(stock::obedient("b")).await;
    let first = lab.inspect("a").await["NetworkSettings"]["IPAddress"].clone();
    lab.post("a", "kill").await;
    lab.post("b", "start").await;
    assert_eq!(
        lab.inspect("b").await["NetworkSettings"]["IPAddress"],
        first
    );
}

async fn logs_come_in_frames(lab: &Lab) {
    lab.running(stock::talkative("a")).await;
    let name = lab.name("a");
    let path = format!("/containers/{name}/logs?stdout=1&stderr=1&tail=2");
    lab.eventually("it has spoken", async || {
        let body = lab.client.read(&path).await.unwrap().body;
        body[..] == b"\x01\0\0\0\0\0\0\x07line 4\n\x01\0\0\0\0\0\0\x07line 5\n"[..]
    })
    .await;
}

async fn logs_without_a_stream_are_a_400(lab: &Lab) {
    lab.create(stock::obedient("a")).await;
    let name = lab.name("a");
    let answer = lab
        .client
        .read(&format!("/containers/{name}/logs"))
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.message(),
        "Bad parameters: you must choose at least one stream"
    );
}

async fn a_look_at_what_is_starting_waits(lab: &Lab) {
    let mut spec = stock::obedient("a");
    spec.behaviour.start_delay = Duration::from_millis(150);
    lab.create(spec).await;
    let start = lab.spawn_post("a", "start");
    sleep(Duration::from_millis(30)).await;
    assert_eq!(lab.state("a").await["Status"], "running");
    assert_eq!(start.await.unwrap(), 204);
}

fn owned((name, state): (&str, &str)) -> (String, String) {
    (name.to_owned(), state.to_owned())
}
