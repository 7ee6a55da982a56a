//! The fake engine misbehaves as it is told, and otherwise only as its flavour does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use dormouse_testkit::engine::{
    ContainerSpec, EngineConfig, EventFaults, FakeEngine, Fault, OnTerm, RawAnswer, RawClient,
    RawLines, RestartPolicy, Rule, StopOrder, Survivors,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(150);

/// An engine with one stopped container called `web`.
async fn with_web(config: EngineConfig) -> (FakeEngine, RawClient) {
    let engine = FakeEngine::with(config).await;
    engine.by_hand().create(ContainerSpec::named("web")).unwrap();
    let client = RawClient::new(engine.socket());
    (engine, client)
}

async fn docker() -> (FakeEngine, RawClient) {
    with_web(EngineConfig::docker_20_10()).await
}

async fn start(client: &RawClient) -> std::io::Result<RawAnswer> {
    client.post("/v1.41/containers/web/start").await
}

/// Listens to the containers' events; what happens from now on is heard.
async fn listen(client: &RawClient) -> RawLines {
    client.lines("/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D").await.unwrap()
}

async fn next_line(lines: &mut RawLines) -> Bytes {
    timeout(PATIENCE, lines.next()).await.expect("a line comes").unwrap().expect("not the end")
}

async fn next_action(lines: &mut RawLines) -> String {
    let event: Value = serde_json::from_slice(&next_line(lines).await).unwrap();
    event["Action"].as_str().unwrap().to_owned()
}

async fn is_silent(lines: &mut RawLines) -> bool {
    timeout(SILENCE, lines.next()).await.is_err()
}

/// One plain GET, to the end of the connection.
async fn ask(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_delayed_call_is_heard_later() {
    let (engine, client) = docker().await;
    let delay = Duration::from_millis(80);
    engine.faults().add(Rule::any(Fault::Delay(delay)).path("/start").times(1));
    let began = Instant::now();
    let answer = start(&client).await.unwrap();
    assert_eq!(answer.status, 204);
    assert!(began.elapsed() >= delay);
    assert_eq!(start(&client).await.unwrap().status, 304);
    assert_eq!(engine.calls_of("start", "web"), 2);
    assert_eq!(engine.starts("web"), 1);
}

#[tokio::test]
async fn a_hanging_call_does_nothing() {
    let (engine, client) = docker().await;
    engine.faults().add(Rule::any(Fault::Hang).method("POST").container("web"));
    assert!(timeout(SILENCE, start(&client)).await.is_err());
    assert_eq!(engine.starts("web"), 0);
    assert_eq!(client.read("/containers/web/json").await.unwrap().status, 200);
    engine.faults().clear();
    assert_eq!(start(&client).await.unwrap().status, 204);
}

#[tokio::test]
async fn a_call_can_be_done_and_never_answered() {
    let (engine, client) = docker().await;
    engine.faults().add(Rule::any(Fault::HangAfterDeed).path("/start").times(1));
    assert!(timeout(SILENCE, start(&client)).await.is_err());
    assert_eq!(engine.starts("web"), 1);
    engine.by_hand().crash("web", 1);
    engine.faults().add(Rule::any(Fault::DropAfterDeed).path("/start").times(1));
    assert!(start(&client).await.is_err());
    assert_eq!(engine.starts("web"), 2);
}

#[tokio::test]
async fn a_call_can_be_dropped_or_answered_otherwise() {
    let (engine, client) = docker().await;
    engine.faults().add(Rule::any(Fault::Drop).path("/start").times(1));
    let answer = Fault::Answer { status: 503, body: "{\"message\":\"busy\"}".to_owned() };
    engine.faults().add(Rule::any(answer).path("/start").after(1).times(1));
    assert!(start(&client).await.is_err());
    assert_eq!(start(&client).await.unwrap().status, 204);
    let answer = start(&client).await.unwrap();
    assert_eq!((answer.status, answer.message().as_str()), (503, "busy"));
    let statuses: Vec<_> = engine.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [None, Some(204), Some(503)]);
}

#[tokio::test]
async fn a_cut_body_is_noticed_by_its_announced_length() {
    let (engine, client) = docker().await;
    engine.faults().add(Rule::any(Fault::CutAfter(10)).path("/json").times(1));
    assert!(client.read("/containers/web/json").await.is_err());
    engine.faults().add(Rule::any(Fault::CutAfter(0)).path("/json").times(1));
    assert!(client.read("/containers/web/json").await.is_err());
    assert_eq!(client.read("/containers/web/json").await.unwrap().json()["Name"], "/web");
}

#[tokio::test]
async fn a_truncated_or_garbled_body_is_no_json() {
    let (engine, client) = docker().await;
    for fault in [Fault::Truncate, Fault::Garbage] {
        engine.faults().add(Rule::any(fault).path("/json").times(1));
        let answer = client.read("/containers/web/json").await.unwrap();
        assert_eq!((answer.status, answer.json()), (200, Value::Null));
        assert!(!answer.body.is_empty());
    }
}

#[tokio::test]
async fn an_event_stream_can_be_cut_after_bytes_or_now() {
    let (engine, client) = docker().await;
    engine.faults().add(Rule::any(Fault::CutAfter(40)).path("/events").times(1));
    let mut lines = listen(&client).await;
    engine.by_hand().start("web").await.unwrap();
    assert!(timeout(PATIENCE, lines.next()).await.unwrap().is_err());
    let mut lines = listen(&client).await;
    engine.by_hand().kill("web", "KILL").await.unwrap();
    assert_eq!(next_action(&mut lines).await, "kill");
    assert_eq!(next_action(&mut lines).await, "die");
    engine.faults().cut_events();
    assert!(timeout(PATIENCE, lines.next()).await.unwrap().is_err());
}

#[tokio::test]
async fn lost_events_are_lost_to_a_replay_too() {
    let (engine, client) = docker().await;
    engine.faults().set_events(EventFaults { lost: 0.5, seed: 3, ..EventFaults::default() });
    let mut lines = listen(&client).await;
    for _ in 0..100 {
        engine.by_hand().start("web").await.unwrap();
        engine.by_hand().crash("web", 1);
    }
    let mut heard = Vec::new();
    while let Ok(line) = timeout(SILENCE, lines.next()).await {
        heard.push(line.unwrap().unwrap());
    }
    assert!((60..140).contains(&heard.len()), "{} of 200", heard.len());
    let path = "/events?since=1&until=9999999999&filters=%7B%22type%22%3A%5B%22container%22%5D%7D";
    let mut replay = client.lines(path).await.unwrap();
    let last = heard.last().unwrap().clone();
    let mut replayed = Vec::new();
    while replayed.last() != Some(&last) {
        replayed.push(next_line(&mut replay).await);
    }
    let tail = &heard[heard.len() - 20..];
    assert!(replayed.ends_with(tail), "a replay shows the same ones");
}

#[tokio::test]
async fn doubled_events_come_twice() {
    let (engine, client) = docker().await;
    engine.faults().set_events(EventFaults { doubled: 1.0, ..EventFaults::default() });
    let mut lines = listen(&client).await;
    engine.by_hand().start("web").await.unwrap();
    assert_eq!(next_line(&mut lines).await, next_line(&mut lines).await);
    assert!(is_silent(&mut lines).await);
}

#[tokio::test]
async fn overtaken_events_come_after_their_successors() {
    let (engine, client) = docker().await;
    engine.by_hand().start("web").await.unwrap();
    let mut lines = listen(&client).await;
    engine.faults().set_events(EventFaults { reordered: 1.0, ..EventFaults::default() });
    engine.by_hand().kill("web", "KILL").await.unwrap();
    assert_eq!(next_action(&mut lines).await, "die");
    assert_eq!(next_action(&mut lines).await, "kill");
}

#[tokio::test]
async fn late_events_are_late_by_their_own_time() {
    let (engine, client) = docker().await;
    let delay = Duration::from_millis(100);
    engine.faults().set_events(EventFaults { delay, ..EventFaults::default() });
    let mut lines = listen(&client).await;
    let began = Instant::now();
    engine.by_hand().start("web").await.unwrap();
    engine.by_hand().crash("web", 1);
    assert_eq!(next_action(&mut lines).await, "start");
    assert!(began.elapsed() >= delay);
    assert_eq!(next_action(&mut lines).await, "die");
}

#[tokio::test]
async fn garbage_and_long_lines_come_between_events() {
    let (engine, client) = docker().await;
    let faults = EventFaults { garbage: 1.0, long: 1.0, long_bytes: 100_000, ..Default::default() };
    engine.faults().set_events(faults);
    let mut lines = listen(&client).await;
    engine.by_hand().start("web").await.unwrap();
    assert!(serde_json::from_slice::<Value>(&next_line(&mut lines).await).is_err());
    assert!(next_line(&mut lines).await.len() > 100_000);
    assert_eq!(next_action(&mut lines).await, "start");
}

#[tokio::test]
async fn a_killed_engine_is_gone_and_forgets_its_events() {
    let (engine, client) = docker().await;
    engine.by_hand().start("web").await.unwrap();
    let mut lines = listen(&client).await;
    engine.kill().await;
    assert!(!matches!(timeout(PATIENCE, lines.next()).await.unwrap(), Ok(Some(_))));
    assert!(client.read("/_ping").await.is_err());
    assert_eq!(engine.state_of("web"), Some("running"), "containers outlive their engine");
    engine.restart(Survivors::Live).await;
    let replay = client.read("/events?since=1&until=2").await.unwrap();
    assert_eq!((replay.status, replay.body.len()), (200, 0));
    assert_eq!(client.read("/containers/web/json").await.unwrap().json()["State"]["Running"], true);
}

#[tokio::test]
async fn the_restart_policies_decide_at_the_engines_start() {
    let (engine, _) = docker().await;
    let hand = engine.by_hand();
    let policies = [
        ("always", RestartPolicy::Always),
        ("unless", RestartPolicy::UnlessStopped),
        ("failure", RestartPolicy::OnFailure { retries_max: 0 }),
        ("no", RestartPolicy::No),
    ];
    for (name, policy) in policies {
        for (prefix, stop) in [("stopped", true), ("ran", false)] {
            let name = format!("{prefix}-{name}");
            hand.create(ContainerSpec::named(&name).restarting(policy)).unwrap();
            hand.start(&name).await.unwrap();
            if stop {
                hand.stop(&name, PATIENCE).await.unwrap();
            }
        }
    }
    engine.restart(Survivors::Die).await;
    let state = |name: &str| engine.state_of(name).unwrap();
    assert_eq!(state("stopped-always"), "running", "`always` resurrects sleepers");
    assert_eq!(state("ran-always"), "running");
    assert_eq!(state("stopped-unless"), "exited");
    assert_eq!(state("ran-unless"), "running");
    assert_eq!(state("stopped-failure"), "exited");
    assert_eq!(state("ran-failure"), "running", "it was killed, which is a failure");
    assert_eq!((state("stopped-no"), state("ran-no")), ("exited", "exited"));
}

#[tokio::test]
async fn an_engine_that_ends_in_order_stops_its_containers() {
    let (engine, client) = docker().await;
    engine.by_hand().start("web").await.unwrap();
    engine.shut_down().await;
    assert_eq!(engine.state_of("web"), Some("exited"));
    assert_eq!(engine.events_of("web"), ["create", "start", "kill", "die", "stop"]);
    assert!(client.read("/_ping").await.is_err());
}

#[tokio::test]
async fn a_served_container_answers_only_while_it_runs() {
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(ContainerSpec::named("web").serving(8080)).unwrap();
    engine.by_hand().start("web").await.unwrap();
    let at = SocketAddr::new(engine.address_of("web").unwrap(), 8080);
    assert!(at.ip().is_loopback());
    let answer = timeout(PATIENCE, ask(at)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("web GET /x\n"), "{answer}");
    assert!(answer.contains("x-container: web\r\n"), "{answer}");
    engine.by_hand().pause("web").await.unwrap();
    assert!(timeout(SILENCE, ask(at)).await.is_err(), "frozen: it accepts and says nothing");
    engine.by_hand().unpause("web").await.unwrap();
    assert!(timeout(PATIENCE, ask(at)).await.unwrap().is_ok());
    engine.by_hand().kill("web", "KILL").await.unwrap();
    refuses(at).await;
    engine.by_hand().start("web").await.unwrap();
    assert!(timeout(PATIENCE, ask(at)).await.unwrap().is_ok(), "at the same address");
}

#[tokio::test]
async fn a_freed_address_answers_for_its_next_owner() {
    let engine = FakeEngine::docker().await;
    let hand = engine.by_hand();
    for name in ["one", "two"] {
        hand.create(ContainerSpec::named(name).serving(8080)).unwrap();
    }
    hand.start("one").await.unwrap();
    let at = SocketAddr::new(engine.address_of("one").unwrap(), 8080);
    for round in 0..20 {
        let (from, to) = if round % 2 == 0 { ("one", "two") } else { ("two", "one") };
        hand.kill(from, "KILL").await.unwrap();
        hand.start(to).await.unwrap();
        assert_eq!(engine.address_of(to), Some(at.ip()));
        let answer = timeout(PATIENCE, ask(at)).await.unwrap().unwrap();
        assert!(answer.contains(&format!("x-container: {to}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn a_late_listener_and_a_forwarder_tell_apart_accepting_and_answering() {
    let engine = FakeEngine::docker().await;
    let spec = ContainerSpec::named("web")
        .serving(8080)
        .publishing(8080, "127.0.0.1")
        .behaving(|it| it.listen_delay = Duration::from_millis(600));
    engine.by_hand().create(spec).unwrap();
    engine.by_hand().start("web").await.unwrap();
    let client = RawClient::new(engine.socket());
    let shape = client.read("/containers/web/json").await.unwrap().json();
    let port = shape["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"].as_str().unwrap();
    let own = SocketAddr::new(engine.address_of("web").unwrap(), 8080);
    let published = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port.parse().unwrap());
    assert!(TcpStream::connect(own).await.is_err(), "it does not listen yet");
    assert!(TcpStream::connect(published).await.is_ok(), "the forwarder accepts all the same");
    assert!(ask(published).await.map_or(true, |answer| answer.is_empty()), "nothing is behind it");
    let give_up_at = Instant::now() + PATIENCE;
    while !ask(published).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        assert!(Instant::now() < give_up_at, "it never listens");
        sleep(Duration::from_millis(5)).await;
    }
    engine.by_hand().kill("web", "KILL").await.unwrap();
    refuses(published).await;
}

#[tokio::test]
async fn docker_29_refuses_what_is_older_than_1_44() {
    let (_engine, client) = with_web(EngineConfig::docker_29()).await;
    let refused = client.read("/v1.41/containers/json").await.unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.message(),
        "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade \
         your client to a newer version"
    );
    assert_eq!(client.read("/v1.44/containers/json").await.unwrap().status, 200);
    assert_eq!(client.read("/version").await.unwrap().json()["MinAPIVersion"], "1.44");
}

#[tokio::test]
async fn an_engine_may_say_stop_before_die() {
    let config =
        EngineConfig { stop_order: StopOrder::StopThenDie, ..EngineConfig::docker_20_10() };
    let (engine, client) = with_web(config).await;
    start(&client).await.unwrap();
    client.post("/containers/web/stop").await.unwrap();
    assert_eq!(engine.events_of("web"), ["create", "start", "kill", "stop", "die"]);
}

#[tokio::test]
async fn podman_says_500_and_has_states_of_its_own() {
    let (engine, client) = with_web(EngineConfig::podman()).await;
    let stop_delay = Duration::from_millis(300);
    engine.change("web", |spec| {
        spec.behaviour.on_term = OnTerm::Exit { after: stop_delay, code: 0 };
    });
    assert_eq!(client.post("/containers/web/pause").await.unwrap().status, 500);
    assert_eq!(start(&client).await.unwrap().status, 204);
    client.post("/containers/web/pause").await.unwrap();
    assert_eq!(start(&client).await.unwrap().status, 500);
    assert_eq!(client.post("/containers/web/stop").await.unwrap().status, 500);
    client.post("/containers/web/unpause").await.unwrap();
    let stopping = tokio::spawn({
        let client = client.clone();
        async move { client.post("/containers/web/stop").await.unwrap().status }
    });
    let state = async || client.read("/containers/web/json").await.unwrap().json()["State"].clone();
    until(async || state().await["Status"] == "stopping").await;
    assert_eq!(state().await["Running"], false);
    assert_eq!(start(&client).await.unwrap().status, 500);
    assert_eq!(stopping.await.unwrap(), 204);
    until(async || state().await["Status"] == "exited").await;
    let name = &client.read("/version").await.unwrap().json()["Components"][0]["Name"];
    assert_eq!(name, "Podman Engine");
}

#[tokio::test]
async fn a_removal_that_takes_time_can_be_seen() {
    let (engine, client) = docker().await;
    engine.change("web", |spec| spec.behaviour.remove_delay = Duration::from_millis(150));
    let removal = tokio::spawn({
        let client = client.clone();
        async move { client.delete("/containers/web?force=1").await.unwrap().status }
    });
    until(async || engine.state_of("web") == Some("removing")).await;
    assert_eq!(start(&client).await.unwrap().status, 409);
    assert_eq!(client.delete("/containers/web").await.unwrap().status, 409);
    assert_eq!(removal.await.unwrap(), 204);
    assert_eq!(client.read("/containers/web/json").await.unwrap().status, 404);
}

async fn until(holds: impl AsyncFn() -> bool) {
    let give_up_at = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up_at, "it does not come so far");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A socket is closed by its task, a moment after the end was said.
async fn refuses(at: SocketAddr) {
    until(async || TcpStream::connect(at).await.is_err()).await;
}
