//! Datagrams end to end: a flow keeps its workload awake until both sides are silent, the listener
//! stays when the workload's address changes, and a reload opens, moves and closes listeners.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::net::UdpSocket as StdSocket;
use std::time::{Duration, SystemTime};

use dormouse_wire::{FindingList, Phase};
use harness::datagrams::{Peer, free_udp_address};
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::Report;
use harness::{PATIENCE, eventually};
use tokio::time::sleep;

const IDLE: Duration = Duration::from_secs(3);
/// A flow is over when both sides have been silent for this long.
const SILENCE: Duration = Duration::from_secs(4);
const WORD_EVERY: Duration = Duration::from_secs(1);
/// How late a rest may be.
const LATE_MAX: Duration = Duration::from_secs(1);

/// A workload that datagrams alone lead to.
fn workload(app: &App, keys: &str, at: std::net::SocketAddr) -> String {
    let App { short, name, .. } = app;
    format!(
        "[workload.{short}]\ntarget = \"local/{name}\"\n{keys}\n\
         udp = [{{ listen = \"{at}\", port = 7000 }}]\n"
    )
}

#[tokio::test]
async fn r04_a_flow_with_a_word_now_and_then_outlasts_idle_timeout() {
    let Some(docker) = Docker::of_machine().await else { return };
    let (talk, pause) = (
        docker.app("talk", &["UDP_PORT=7000"]).await,
        docker.app("pause", &["UDP_PORT=7000"]).await,
    );
    let (at, pause_at) = (free_udp_address(), free_udp_address());
    let keys = "idle_timeout = \"3s\"\nconnection_idle = \"4s\"";
    let house = House::start(
        &(docker.environment()
            + &workload(&talk, keys, at)
            + &workload(&pause, &format!("{keys}\nrest = \"pause\""), pause_at)),
    )
    .await;
    let mut report = Report::of("R04");
    let cases = [(&talk, ("stop", "die"), at), (&pause, ("pause", "pause"), pause_at)];
    let all = cases.map(async |(app, (asked, said), at)| {
        let mut peer = Peer::of(at).await;
        let began = SystemTime::now();
        let mut spoke = (began, began);
        while began.elapsed().unwrap() < IDLE * 3 {
            let before = SystemTime::now();
            peer.send(3).await;
            peer.expect_all(PATIENCE).await?;
            spoke = (before, SystemTime::now());
            let flows = house.admin.workload(&app.short).await.leases.flow;
            assert_eq!(flows, 1, "{}: the leases of its flow", app.short);
            sleep(WORD_EVERY).await;
        }
        let rested = docker.said_within(SILENCE + PATIENCE, app, said, 1).await;
        let due = spoke.0 + SILENCE + IDLE;
        if let Ok(early) = due.duration_since(rested) {
            return Err(format!("{}: rested {early:?} early", app.short));
        }
        let late = docker.last_call_of(app, asked).unwrap();
        let late = late.duration_since(spoke.1 + SILENCE + IDLE).unwrap_or_default();
        println!("{}: {asked} was asked {late:?} late", app.short);
        assert!(late <= LATE_MAX, "{}: {late:?} late", app.short);
        assert_eq!((docker.calls_of(app, asked), docker.calls_of(app, "start")), (1, 1));
        house.admin.until(&app.short, Phase::Asleep).await;
        assert_eq!(house.admin.workload(&app.short).await.leases.flow, 0);
        Ok(())
    });
    report.cases(futures_util::future::join_all(all).await);
    report.finish("two flows, each three times idle_timeout, then silent");
}

#[tokio::test]
async fn a_container_created_anew_is_reached_by_the_same_flow() {
    let Some(docker) = Docker::of_machine().await else { return };
    let app = docker.app("again", &["UDP_PORT=7000"]).await;
    let at = free_udp_address();
    let house = House::start(&(docker.environment() + &workload(&app, "", at))).await;
    let mut peer = Peer::of(at).await;
    peer.send(5).await;
    peer.expect_all(PATIENCE).await.unwrap();
    let upstream = house.admin.workload("again").await.upstream;
    docker.engine.remove(&app.id).await.unwrap();
    // Somebody else has its address.
    let heir = docker.app("heir", &[]).await;
    docker.engine.start(&heir.id).await.unwrap();
    let anew = docker.app("again", &["UDP_PORT=7000"]).await;
    eventually(PATIENCE, "the new one is known", async || {
        house.admin.phase("again").await == Phase::Asleep
    })
    .await;
    peer.send(5).await;
    peer.expect_all(PATIENCE).await.unwrap();
    assert_eq!(docker.state(&anew).await, "running");
    assert_ne!(house.admin.workload("again").await.upstream, upstream);
}

#[tokio::test]
async fn a_reload_opens_moves_and_closes_listeners_and_refuses_what_is_taken() {
    let Some(docker) = Docker::of_machine().await else { return };
    let one = docker.app("one", &["UDP_PORT=7000"]).await;
    let two = docker.app("two", &["UDP_PORT=7000"]).await;
    let (first, second) = (free_udp_address(), free_udp_address());
    let begin = docker.environment() + &workload(&one, "", first) + &two.workload("");
    let house = House::start(&begin).await;
    let mut kept = Peer::of(first).await;
    kept.send(3).await;
    kept.expect_all(PATIENCE).await.unwrap();

    // A taken address: nothing of the file holds, and what is open goes on.
    let taken = StdSocket::bind(free_udp_address()).unwrap();
    let bad = begin.clone() + "udp = [{ listen = \"" + &taken.local_addr().unwrap().to_string();
    house.rewrite(&(bad + "\", port = 7000 }]\n"));
    let refused = async || {
        let findings: FindingList = house.admin.read("/api/v1/config/findings").await;
        findings.findings.iter().any(|finding| finding.slug == "cannot-listen")
    };
    eventually(PATIENCE, "the address is refused", refused).await;
    assert_eq!(house.admin.workload("two").await.listeners, []);
    kept.send(3).await;
    kept.expect_all(PATIENCE).await.unwrap();

    // A further one, beside a flow that goes on.
    let further = docker.environment() + &workload(&one, "", first) + &workload(&two, "", second);
    house.rewrite(&further);
    let opened = async || !house.admin.workload("two").await.listeners.is_empty();
    eventually(PATIENCE, "the second listener is open", opened).await;
    let mut other = Peer::of(second).await;
    other.send(3).await;
    other.expect_all(PATIENCE).await.unwrap();
    kept.send(3).await;
    kept.expect_all(PATIENCE).await.unwrap();
    assert_eq!(docker.calls_of(&one, "start"), 1);

    // Moved: the first address leads to the other workload now, and the second one is free.
    let moved = docker.environment() + &one.workload("") + &workload(&two, "", first);
    house.rewrite(&moved);
    let closed = async || StdSocket::bind(second).is_ok();
    eventually(PATIENCE, "the second address is free", closed).await;
    let mut mover = Peer::of(first).await;
    mover.send(3).await;
    mover.expect_all(PATIENCE).await.unwrap();
    kept.send(3).await;
    kept.expect_all(PATIENCE).await.unwrap();
    assert_eq!(house.admin.workload("two").await.leases.flow, 2);
    let let_go = async || house.admin.workload("one").await.leases.flow == 0;
    eventually(PATIENCE, "the first workload is let go", let_go).await;
}

#[tokio::test]
async fn a_label_that_asks_for_a_taken_address_costs_that_address_alone() {
    let Some(docker) = Docker::of_machine().await else { return };
    let taken = StdSocket::bind(free_udp_address()).unwrap();
    let free = free_udp_address();
    let spec = docker.spec("labelled", &["UDP_PORT=7000"]);
    let spec = spec
        .label("dormouse.name", "labelled")
        .label("dormouse.udp.a.listen", &taken.local_addr().unwrap().to_string())
        .label("dormouse.udp.a.port", "7000")
        .label("dormouse.udp.b.listen", &free.to_string())
        .label("dormouse.udp.b.port", "7000");
    docker.create("labelled", spec).await;
    let house = House::start(&docker.environment_with_labels()).await;
    let mut peer = Peer::of(free).await;
    peer.send(3).await;
    peer.expect_all(PATIENCE).await.unwrap();
    let listeners = house.admin.workload("labelled").await.listeners;
    assert_eq!(listeners.iter().map(|own| &*own.listen).collect::<Vec<_>>(), [free.to_string()]);
    let findings: FindingList = house.admin.read("/api/v1/config/findings").await;
    assert!(findings.findings.iter().any(|finding| finding.slug == "cannot-listen"));
}
