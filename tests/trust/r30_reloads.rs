//! R30: reloads without end under load, each of which changes policies, routes and workloads. No
//! request fails, and memory, files and tasks stay what they are.

use std::time::Duration;

use crate::harness::house::House;
use crate::harness::load::Load;
use crate::harness::local::process;
use crate::harness::report::{Report, scale};
use crate::harness::vitals::Vitals;

const RELOADS: usize = 120;
/// The scale of 1,000 reloads.
const FULL: usize = 9;
const NAMES: [&str; 2] = ["a", "b"];
/// Others that each version has, all but one of them as the version before.
const ADDED: usize = 4;
const CLIENTS: usize = 2;
const REQUEST_EVERY: Duration = Duration::from_millis(10);
/// After the first reloads, what may be added by all others.
const GROWS: Vitals = Vitals { memory_kib: 12 << 10, files: 16, tasks: 32 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r30_reloads_fail_nothing_and_leave_nothing_behind() {
    let mut report = Report::of("R30");
    let house = House::start(&configuration(0)).await;
    for name in NAMES {
        let first = Load::on(house.http, &format!("{name}.test"), 1).send(1).await;
        assert_eq!(first.failed(), 0, "{:?}", first.statuses);
    }
    let loads = NAMES.map(|name| {
        Load::on(house.http, &format!("{name}.test"), CLIENTS).every(REQUEST_EVERY).run()
    });
    let reloads = RELOADS * scale(FULL);
    let mut warm = None;
    for version in 1..=reloads {
        house.rewrite(&configuration(version));
        let answer = house.admin.call("POST", "/api/v1/reload", "").await;
        report.case(match answer.status {
            200 => Ok(()),
            status => Err(format!("reload {version}: {status} {}", answer.text())),
        });
        let added = format!("added-{version}");
        let known = house.admin.find(&added).await.is_some();
        report.case(if known { Ok(()) } else { Err(format!("{added} is not there")) });
        let (there, wanted) =
            (house.admin.workloads().await.len(), NAMES.len() + ADDED.min(version + 1));
        report.case(if there == wanted {
            Ok(())
        } else {
            Err(format!("reload {version}: {there} workloads, not {wanted}"))
        });
        if version == RELOADS / 3 {
            warm = Some(Vitals::of(&house).await);
        }
    }
    let grown = Vitals::of(&house).await.beyond(warm.unwrap());
    report.case(grown.within(GROWS));
    let mut requests = 0;
    for load in loads {
        let outcome = load.end().await;
        requests += outcome.sent();
        report.cases((0..outcome.failed()).map(|_| Err(format!("{:?}", outcome.statuses))));
    }
    report.case(if requests > reloads { Ok(()) } else { Err(format!("{requests} requests")) });
    report.finish(format_args!(
        "looks at {reloads} reloads; {requests} requests meanwhile; after the first third it grew \
         by {grown}"
    ));
}

/// Every version differs from the one before: in timeouts, routes and the workloads of others.
fn configuration(version: usize) -> String {
    let seconds = 600 + version;
    let keys = format!("idle_timeout = \"{seconds}s\"\nheld = {{ requests = {seconds} }}");
    let mut text: String = NAMES.iter().map(|name| process(name, &[], &keys)).collect();
    for other in (version + 1).saturating_sub(ADDED)..=version {
        let hosts = format!("routes = [{{ host = \"*.v{version}-{other}.test\", port = 81 }}]");
        text += &process(&format!("added-{other}"), &[], &hosts);
    }
    text
}
