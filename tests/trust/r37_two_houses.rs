//! R37: two dormice on one engine. Only one of them keeps a container; the other one says loudly
//! who does, leaves it alone, and takes it over when the first has ended, in order or by a crash.

use std::time::Duration;

use dormouse_wire::Phase;

use crate::harness::client::{exchange, fetch, get};
use crate::harness::docker::Docker;
use crate::harness::house::House;
use crate::harness::report::{Report, UNNAMED, scale};

const REQUESTS: usize = 20;
/// The first house rests it so soon that the second one would be hurt by it.
const KEYS: &str = "idle_timeout = \"1s\"\nrest = \"stop\"";
const TAKEN_OVER_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r37_of_two_houses_on_one_engine_one_keeps_a_container() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut report = Report::of("R37");
    let (web, own) = (docker.app("web", &[]).await, docker.app("own", &[]).await);
    let mut first = House::start(&(docker.environment() + &web.workload(KEYS))).await;
    first.admin.until("web", Phase::Asleep).await;
    let both = docker.environment() + &web.workload(KEYS) + &own.workload("");
    let second = House::start(&both).await;

    // What only the second one keeps is none of the first one's business.
    let served = fetch(second.http, get(&own.host(), "/instance")).await;
    report.case((served.status == 200).then_some(()).ok_or_else(|| served.text()));
    for _ in 0..REQUESTS * scale(UNNAMED) {
        let (one, two) = tokio::join!(
            exchange(first.http, get(&web.host(), "/instance")),
            exchange(second.http, get(&web.host(), "/instance")),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        report.case((one.status == 200).then_some(()).ok_or_else(|| one.text()));
        let refused = two.status == 500 && two.json()["slug"] == "misconfigured";
        let loud = refused && two.text().contains("another dormouse");
        report.case(loud.then_some(()).ok_or_else(|| two.text()));
    }
    let starts = docker.calls_of(&web, "start");
    report.case((starts == 1).then_some(()).ok_or_else(|| format!("{starts} starts")));
    let explained = second.admin.explain("web").await;
    let named = explained.workload.phase == Phase::Misconfigured
        && explained.workload.why.contains(&first.pid().to_string());
    report.case(named.then_some(()).ok_or_else(|| explained.workload.why.clone()));

    // A crash lets go of it, too.
    let by = if report.dice().below(2) == 0 { "a crash" } else { "its end" };
    match by {
        "a crash" => first.kill(),
        _ => drop(first.end().await),
    }
    let taken_over = async || second.admin.phase("web").await != Phase::Misconfigured;
    crate::harness::eventually(TAKEN_OVER_MAX, "it is taken over", taken_over).await;
    let answer = fetch(second.http, get(&web.host(), "/instance")).await;
    report.case((answer.status == 200).then_some(()).ok_or_else(|| answer.text()));
    report.finish(format_args!("requests through both; taken over after {by} of the first"));
}
