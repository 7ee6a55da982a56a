//! R1 over UDP: the first datagrams of however many clients wake a workload once, from a stop and
//! from a pause, and every one of them is delivered, in order, also where the workload runs for a
//! while before it listens.

use std::time::Duration;

use dormouse_wire::Phase;

use crate::harness::datagrams::{Peer, free_udp_address};
use crate::harness::docker::Docker;
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::{eventually, quiet};

/// Clients, and how many datagrams each sends. More at once are more than the system's own buffer
/// of the application's socket holds.
const HERDS: [(usize, usize); 3] = [(1, 100), (10, 10), (100, 1)];
const HERD_MAX: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r01_first_datagrams_wake_once_and_none_is_lost() {
    let Some(docker) = Docker::of_machine().await else { return };
    let _alone = quiet().await;
    let mut report = Report::of("R01");
    let cases = [("stop", "start", "0"), ("pause", "unpause", "0"), ("late", "start", "700")];
    let mut configuration = docker.environment();
    let mut listeners = Vec::new();
    for (name, _, delay_ms) in cases {
        let delay = format!("START_DELAY_MS={delay_ms}");
        // The TCP port that its image declares is none: nobody must wait for it.
        let app = docker.app(name, &["UDP_PORT=7000", "PORT=9090", &delay]).await;
        let at = free_udp_address();
        let rest = if name == "pause" { "pause" } else { "stop" };
        configuration += &format!(
            "[workload.{name}]\ntarget = \"local/{}\"\nrest = \"{rest}\"\nidle_timeout = \"never\"\n\
             drain_timeout = \"0s\"\n\
             udp = [{{ listen = \"{at}\", port = {PORT} }}]\n",
            app.name
        );
        listeners.push(at);
    }
    let house = House::start(&configuration).await;
    let mut wakes = 0;
    for ((name, wake, _), at) in cases.into_iter().zip(listeners) {
        house.admin.until(name, Phase::Asleep).await;
        // From a pause only what has run before is woken.
        let mut first = Peer::of(at).await;
        first.send(1).await;
        report.case(first.expect_all(HERD_MAX).await);
        for _ in 0..scale(UNNAMED) {
            for (clients, datagrams) in HERDS {
                house.admin.sleep_by_force(name).await;
                house.admin.until(name, Phase::Asleep).await;
                docker.forget_calls();
                // Nobody is late: all of them wait before anything is done.
                let hold = docker.hold(wake);
                let mut peers = Vec::new();
                for _ in 0..clients {
                    let mut peer = Peer::of(at).await;
                    peer.send(datagrams).await;
                    peers.push(peer);
                }
                let all = async || house.admin.workload(name).await.waiting as usize == clients;
                eventually(HERD_MAX, "everybody waits", all).await;
                drop(hold);
                for peer in &mut peers {
                    let outcome = peer.expect_all(HERD_MAX).await;
                    report.case(outcome.map_err(|why| format!("{name} {clients}: {why}")));
                }
                let asked = docker.calls().iter().filter(|it| it.op == wake).count();
                let once = (asked == 1).then_some(());
                report.case(once.ok_or_else(|| format!("{name} {clients}: {asked} {wake}")));
                wakes += 1;
            }
        }
    }
    let metrics = house.admin.call("GET", "/metrics", "").await.text();
    let dropped = metrics.lines().filter(|line| line.starts_with("dormouse_udp_dropped_total{"));
    let dropped: Vec<&str> = dropped.filter(|line| !line.ends_with(" 0")).collect();
    report.case(dropped.is_empty().then_some(()).ok_or_else(|| format!("{dropped:?}")));
    report.finish(format_args!("flows and {wakes} wakes counted at the engine"));
}
