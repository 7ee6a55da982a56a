//! Each rule of the door, in front of a fake engine.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{Door, Fault, Rule};
use crate::engine::{ContainerSpec, FakeEngine, RawClient, RawLines};

/// Long enough to be seen, and shorter than anybody's patience.
const A_WHILE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine with a container, the door before it, and a client of the door.
struct Lab {
    engine: FakeEngine,
    door: Door,
    client: RawClient,
}

impl Lab {
    async fn open() -> Self {
        let engine = FakeEngine::docker().await;
        engine.by_hand().create(ContainerSpec::named("web")).unwrap();
        engine.by_hand().create(ContainerSpec::named("other")).unwrap();
        let door = Door::before(engine.socket()).unwrap();
        let client = RawClient::new(door.socket());
        Self { engine, door, client }
    }

    async fn start(&self, name: &str) -> std::io::Result<u16> {
        let path = format!("/v1.41/containers/{name}/start");
        self.client.post(&path).await.map(|answer| answer.status)
    }

    fn starts(&self) -> usize {
        self.engine.calls().iter().filter(|call| call.op == "start").count()
    }

    async fn listen(&self) -> RawLines {
        self.client.lines(r#"/events?filters={%22type%22:[%22container%22]}"#).await.unwrap()
    }

    /// The next three events of starts and ends.
    async fn restart_by_hand(&self) {
        self.engine.by_hand().start("web").await.unwrap();
        assert!(self.engine.by_hand().crash("web", 3));
        while self.engine.state_of("web") != Some("exited") {
            tokio::task::yield_now().await;
        }
        self.engine.by_hand().start("web").await.unwrap();
    }
}

async fn line(lines: &mut RawLines) -> Bytes {
    let next = timeout(PATIENCE, lines.next()).await.expect("a line in time");
    next.unwrap().expect("the stream goes on")
}

/// The action of the next line; the line itself where it is no event.
async fn action(lines: &mut RawLines) -> String {
    let line = line(lines).await;
    let event: Option<serde_json::Value> = serde_json::from_slice(&line).ok();
    let action = event.and_then(|event| event["Action"].as_str().map(str::to_owned));
    action.unwrap_or_else(|| String::from_utf8_lossy(&line).into_owned())
}

async fn actions(lines: &mut RawLines, count: usize) -> Vec<String> {
    let mut actions = Vec::new();
    for _ in 0..count {
        actions.push(action(lines).await);
    }
    actions
}

/// Nothing comes, and the stream goes on.
async fn is_silent(lines: &mut RawLines) -> bool {
    timeout(A_WHILE, lines.next()).await.is_err()
}

#[tokio::test]
async fn calls_are_passed_on_and_remembered() {
    let lab = Lab::open().await;
    assert_eq!(lab.start("web").await.unwrap(), 204);
    assert_eq!(lab.client.post("/containers/web/start").await.unwrap().status, 304);
    assert_eq!(lab.client.read("/_ping").await.unwrap().body, "OK");
    assert_eq!(lab.client.read("/containers/json").await.unwrap().status, 200);
    let calls = lab.door.calls();
    let seen = calls.iter().map(|call| (&*call.op, call.container.as_deref(), call.status));
    let expected = [
        ("start", Some("web"), Some(204)),
        ("start", Some("web"), Some(304)),
        ("_ping", None, Some(200)),
        ("json", None, Some(200)),
    ];
    assert!(seen.eq(expected), "{calls:?}");
    lab.door.forget();
    lab.client.post("/containers/web/stop").await.unwrap();
    let calls = lab.door.calls();
    assert!(calls.iter().map(|call| &*call.op).eq(["stop"]), "{calls:?}");
}

#[tokio::test]
async fn events_come_through_line_by_line_and_are_remembered() {
    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.restart_by_hand().await;
    assert_eq!(actions(&mut events, 3).await, ["start", "die", "start"]);
    let said = lab.door.events();
    let seen: Vec<_> = said.iter().map(|said| (&*said.action, &*said.name)).collect();
    assert_eq!(seen, [("start", "web"), ("die", "web"), ("start", "web")]);
    assert!(said.windows(2).all(|two| two[0].time_ns < two[1].time_ns), "{said:?}");
}

#[tokio::test]
async fn a_held_call_reaches_the_engine_when_it_is_let_go() {
    let lab = Lab::open().await;
    let hold = lab.door.hold("start");
    let start = lab.client.clone();
    let start = tokio::spawn(async move { start.post("/containers/web/start").await });
    while lab.door.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.client.read("/_ping").await.unwrap().status, 200, "others pass");
    assert_eq!(lab.starts(), 0);
    drop(hold);
    assert_eq!(start.await.unwrap().unwrap().status, 204);
}

#[tokio::test]
async fn a_rule_means_its_operation_its_container_its_turn_and_its_switch() {
    let lab = Lab::open().await;
    let answer = Fault::Answer { status: 418, body: "{}".to_owned() };
    let rule = Rule::calls(answer).named("start").container("web").after(1).times(2);
    let switch = lab.door.add(rule);
    let mut seen = vec![lab.start("other").await.unwrap()];
    for _ in 0..4 {
        seen.push(lab.start("web").await.unwrap());
    }
    assert_eq!(lab.client.read("/containers/web/json").await.unwrap().status, 200);
    assert_eq!(seen, [204, 204, 418, 418, 304], "another one, the first, two of them, used up");
    let always = lab.door.add(Rule::calls(Fault::Drop).named("start"));
    assert!(lab.start("web").await.is_err());
    always.off();
    switch.off();
    assert_eq!(lab.start("web").await.unwrap(), 304);
    always.on();
    assert!(lab.start("web").await.is_err());
    lab.door.clear();
    assert_eq!(lab.start("web").await.unwrap(), 304);
}

#[tokio::test]
async fn a_share_hits_the_same_ones_for_the_same_seed() {
    let mut drawn = Vec::new();
    for seed in [5, 5, 6] {
        let lab = Lab::open().await;
        lab.door.add(Rule::calls(Fault::Drop).named("_ping").share(0.5, seed));
        let mut hits = Vec::new();
        for _ in 0..64 {
            hits.push(lab.client.read("/_ping").await.is_err());
        }
        let hit = hits.iter().filter(|hit| **hit).count();
        assert!((16..48).contains(&hit), "{hit} of 64 for one half");
        drawn.push(hits);
    }
    assert_eq!(drawn[0], drawn[1]);
    assert_ne!(drawn[0], drawn[2]);
}

#[tokio::test]
async fn a_delayed_call_is_heard_later_and_a_late_answer_is_only_told_later() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Delay(A_WHILE)).named("start").times(1));
    lab.door.add(Rule::calls(Fault::AnswerLate(A_WHILE)).named("stop").times(1));
    let began = Instant::now();
    assert_eq!(lab.start("web").await.unwrap(), 204);
    assert!(began.elapsed() >= A_WHILE);
    let heard = lab.engine.calls().iter().find(|call| call.op == "start").unwrap().at;
    assert!(heard.duration_since(began) >= A_WHILE);
    let began = Instant::now();
    assert_eq!(lab.client.post("/containers/web/stop").await.unwrap().status, 204);
    assert!(began.elapsed() >= A_WHILE);
    let heard = lab.engine.calls().iter().find(|call| call.op == "stop").unwrap().at;
    assert!(heard.duration_since(began) < began.elapsed() - A_WHILE / 2, "it was heard at once");
}

#[tokio::test]
async fn a_hanging_call_is_never_answered_and_done_only_where_the_rule_says() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Hang).named("start"));
    assert!(timeout(A_WHILE, lab.start("web")).await.is_err());
    assert_eq!(lab.starts(), 0);
    lab.door.clear();
    lab.door.add(Rule::calls(Fault::HangAfterDeed).named("start"));
    assert!(timeout(A_WHILE, lab.start("web")).await.is_err());
    assert_eq!(lab.engine.state_of("web"), Some("running"));
}

#[tokio::test]
async fn a_dropped_call_has_no_answer_and_is_done_only_where_the_rule_says() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Drop).named("start").times(1));
    lab.door.add(Rule::calls(Fault::DropAfterDeed).named("start").times(1));
    assert!(lab.start("web").await.is_err());
    assert_eq!(lab.starts(), 0);
    assert!(lab.start("web").await.is_err());
    assert_eq!((lab.starts(), lab.engine.state_of("web")), (1, Some("running")));
}

#[tokio::test]
async fn a_doubled_call_is_done_twice() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Twice).named("start").times(1));
    assert_eq!(lab.start("web").await.unwrap(), 304, "the answer to the second one");
    assert_eq!((lab.starts(), lab.engine.starts("web")), (2, 1));
    assert_eq!(lab.door.calls().len(), 1, "it was called once");
}

#[tokio::test]
async fn an_overtaken_answer_comes_after_another_one() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Overtaken).named("start"));
    let client = lab.client.clone();
    let start = tokio::spawn(async move { client.post("/containers/web/start").await });
    while lab.engine.state_of("web") != Some("running") {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(lab.door.calls()[0].status, None, "it waits to be overtaken");
    lab.client.read("/_ping").await.unwrap();
    assert_eq!(start.await.unwrap().unwrap().status, 204);
}

#[tokio::test]
async fn a_truncated_answer_ends_in_the_middle() {
    let lab = Lab::open().await;
    lab.door.add(Rule::calls(Fault::Truncate).named("json").times(1));
    assert!(lab.client.read("/containers/web/json").await.is_err());
    assert_eq!(lab.client.read("/containers/web/json").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_wrong_answer_says_what_the_rule_says_and_is_done_only_where_it_says_so() {
    let lab = Lab::open().await;
    let refusal = || (500, "{\"message\":\"no\"}".to_owned());
    let (status, body) = refusal();
    lab.door.add(Rule::calls(Fault::Answer { status, body }).named("start").times(1));
    let (status, body) = refusal();
    lab.door.add(Rule::calls(Fault::AnswerAfterDeed { status, body }).named("start").times(1));
    for running in [false, true] {
        let answer = lab.client.post("/containers/web/start").await.unwrap();
        assert_eq!((answer.status, answer.message()), (500, "no".to_owned()));
        assert_eq!(lab.engine.state_of("web") == Some("running"), running);
    }
}

#[tokio::test]
async fn a_cut_ends_every_connection_and_no_later_one() {
    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::calls(Fault::Hang).named("start"));
    let client = lab.client.clone();
    let start = tokio::spawn(async move { client.post("/containers/web/start").await });
    while lab.door.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    lab.door.cut();
    assert!(timeout(PATIENCE, start).await.unwrap().unwrap().is_err());
    let ended = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|line| line.is_none()));
    assert_eq!(lab.client.read("/_ping").await.unwrap().status, 200);
}

#[tokio::test]
async fn events_are_lost_doubled_and_overtaken_by_rule() {
    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::Drop).named("die"));
    lab.restart_by_hand().await;
    assert_eq!(actions(&mut events, 2).await, ["start", "start"]);
    assert_eq!(lab.door.events().len(), 3, "the engine said it");

    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::Twice).named("die").container("web"));
    lab.restart_by_hand().await;
    assert_eq!(actions(&mut events, 4).await, ["start", "die", "die", "start"]);

    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::Overtaken).named("die"));
    lab.restart_by_hand().await;
    assert_eq!(actions(&mut events, 3).await, ["start", "start", "die"]);
    assert!(lab.engine.by_hand().crash("web", 3));
    assert_eq!(action(&mut events).await, "die", "also where nothing follows");
}

#[tokio::test]
async fn events_are_late_stall_and_end_by_rule() {
    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::Delay(A_WHILE)).named("start").times(1));
    let began = Instant::now();
    lab.engine.by_hand().start("web").await.unwrap();
    assert_eq!(action(&mut events).await, "start");
    assert!(began.elapsed() >= A_WHILE);
    lab.door.add(Rule::events(Fault::Hang).named("die"));
    assert!(lab.engine.by_hand().crash("web", 3));
    assert!(is_silent(&mut events).await);

    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::DropAfterDeed).named("start"));
    lab.engine.by_hand().start("web").await.unwrap();
    assert_eq!(action(&mut events).await, "start");
    let ended = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|line| line.is_none()));
}

#[tokio::test]
async fn events_are_truncated_and_replaced_by_rule() {
    let lab = Lab::open().await;
    let mut events = lab.listen().await;
    lab.door.add(Rule::events(Fault::Truncate).named("start").times(1));
    let other = |body: &str| Fault::Answer { status: 0, body: body.to_owned() };
    lab.door.add(Rule::events(other("nonsense")).named("die"));
    lab.restart_by_hand().await;
    let half = line(&mut events).await;
    assert!(serde_json::from_slice::<serde_json::Value>(&half).is_err(), "{half:?}");
    assert_eq!(actions(&mut events, 2).await, ["nonsense", "start"]);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_told_by_what_waits_for_it() {
    let lab = Lab::open().await;
    let _unread = lab.client.lines("/events").await.unwrap();
    let name = |n: usize| if n.is_multiple_of(2) { ("web", "pub") } else { ("pub", "web") };
    for n in 0..20_000 {
        let (from, to) = name(n);
        lab.engine.by_hand().rename(from, to).unwrap();
        if lab.door.behind_max() > 1000 {
            return;
        }
        if n.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    panic!("{} lines waited", lab.door.behind_max());
}
