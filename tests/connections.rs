//! Raw TCP end to end: a reload opens, moves and closes listeners without hurting what is open, an
//! address that is taken is refused, a label that asks for one costs that address alone, and what
//! passed is counted.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::net::{SocketAddr, TcpListener as StdListener};

use dormouse_wire::FindingList;
use harness::client::{exchange, get};
use harness::docker::{App, Docker};
use harness::house::{House, free_address};
use harness::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the app listens on.
const PORT: u16 = 8080;
const ASK: &[u8] = b"GET /instance HTTP/1.1\r\nhost: raw\r\n\r\n";

/// A workload that connections alone lead to.
fn workload(app: &App, at: SocketAddr) -> String {
    let App { short, name, .. } = app;
    format!(
        "[workload.{short}]\ntarget = \"local/{name}\"\nidle_timeout = \"never\"\n\
         tcp = [{{ listen = \"{at}\", port = {PORT} }}]\n"
    )
}

/// Asks once more on a connection that stays open.
async fn ask(connection: &mut TcpStream) {
    connection.write_all(ASK).await.unwrap();
    let mut answer = [0; 1024];
    let length = connection.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{length} bytes");
}

async fn status(at: SocketAddr) -> u16 {
    exchange(at, get("raw", "/instance")).await.unwrap().status
}

#[tokio::test]
async fn a_reload_opens_moves_and_closes_listeners_and_hurts_nothing_that_is_open() {
    let Some(docker) = Docker::of_machine().await else { return };
    let (one, two) = (docker.app("one", &[]).await, docker.app("two", &[]).await);
    let (first, second) = (free_address(), free_address());
    let begin = docker.environment() + &workload(&one, first) + &two.workload("");
    let house = House::start(&begin).await;
    let mut kept = TcpStream::connect(first).await.unwrap();
    ask(&mut kept).await;
    assert_eq!(house.admin.workload("one").await.leases.connection, 1);

    // A taken address: nothing of the file holds, and what is open goes on.
    let taken = StdListener::bind(free_address()).unwrap();
    house.rewrite(
        &(docker.environment()
            + &workload(&one, first)
            + &workload(&two, taken.local_addr().unwrap())),
    );
    let refused = async || {
        let findings: FindingList = house.admin.read("/api/v1/config/findings").await;
        findings.findings.iter().any(|finding| finding.slug == "cannot-listen")
    };
    eventually(PATIENCE, "the address is refused", refused).await;
    assert_eq!(house.admin.workload("two").await.listeners, []);
    ask(&mut kept).await;

    // A further one, which wakes the other workload.
    house.rewrite(&(docker.environment() + &workload(&one, first) + &workload(&two, second)));
    let opened = async || !house.admin.workload("two").await.listeners.is_empty();
    eventually(PATIENCE, "the second listener is open", opened).await;
    assert_eq!(status(second).await, 200);
    ask(&mut kept).await;

    // The first address moves to the other workload, the second one is closed, and the connection
    // that is open stays where it is.
    house.rewrite(&(docker.environment() + &one.workload("") + &workload(&two, first)));
    let closed = async || StdListener::bind(second).is_ok();
    eventually(PATIENCE, "the second address is free", closed).await;
    assert_eq!(status(first).await, 200);
    ask(&mut kept).await;
    assert_eq!(house.admin.workload("one").await.leases.connection, 1);
    assert_eq!((docker.calls_of(&one, "start"), docker.calls_of(&two, "start")), (1, 1));
    drop(kept);
    let ended = async || house.admin.workload("one").await.leases.connection == 0;
    eventually(PATIENCE, "its lease is given back", ended).await;
    let metrics = house.admin.call("GET", "/metrics", "").await.text();
    let series = |direction: &str| {
        let name = format!("direction=\"{direction}\"");
        let line = metrics.lines().find(|line| {
            line.starts_with("dormouse_tcp_bytes_total{")
                && line.contains("workload=\"one\"")
                && line.contains(&name)
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(series("received"), Some(4 * ASK.len() as u64), "{metrics}");
    assert!(series("sent") > Some(0));
}

#[tokio::test]
async fn a_label_opens_an_address_and_one_that_is_taken_costs_that_address_alone() {
    let Some(docker) = Docker::of_machine().await else { return };
    let taken = StdListener::bind(free_address()).unwrap();
    let free = free_address();
    let spec = docker
        .spec("labelled", &[])
        .label("dormouse.name", "labelled")
        .label("dormouse.tcp.a.listen", &taken.local_addr().unwrap().to_string())
        .label("dormouse.tcp.a.port", &PORT.to_string())
        .label("dormouse.tcp.b.listen", &free.to_string())
        .label("dormouse.tcp.b.port", &PORT.to_string());
    docker.create("labelled", spec).await;
    let house = House::start(&docker.environment_with_labels()).await;
    assert_eq!(status(free).await, 200);
    let listeners = house.admin.workload("labelled").await.listeners;
    assert_eq!(listeners.iter().map(|own| &*own.listen).collect::<Vec<_>>(), [free.to_string()]);
    let findings: FindingList = house.admin.read("/api/v1/config/findings").await;
    assert!(findings.findings.iter().any(|finding| finding.slug == "cannot-listen"));
}
