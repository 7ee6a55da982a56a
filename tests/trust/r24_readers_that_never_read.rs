//! R24: a thousand readers of events that never read, on a workload's own hostname and on the admin
//! side. Telling stays as fast as without them, what waits for them is bounded, and they are dropped.

use std::time::{Duration, Instant};

use dormouse_testkit::abuse::LazyReader;
use dormouse_wire::Phase;
use tokio::time::timeout;

use crate::harness::client::{Stream, get};
use crate::harness::eventually;
use crate::harness::house::House;

use crate::harness::local::process;
use crate::harness::quiet;
use crate::harness::report::{Report, UNNAMED, scale};
use crate::harness::vitals::Vitals;

const VISITORS: usize = 1_000;
/// As many as the admin side takes, less the one that reads.
const ADMINS: usize = 255;
const PINS: usize = 1_200;
/// Of a reader that never reads, with everything that waits for it.
const READER_KIB_MAX: u64 = 96;
/// How much longer telling may take than without them. Their tasks run on the same two cores.
const SLOWER_MAX: f64 = 6.0;
/// Whoever falls behind is dropped within this.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r24_readers_that_never_read_slow_down_nobody() {
    let _quiet = quiet().await;
    let mut report = Report::of("R24");
    let house = House::start(&process("web", &[], "idle_timeout = \"never\"")).await;
    assert!(house.admin.wake("web", Duration::from_secs(30)).await.status == 200);
    let alone = tell(&house, PINS / 4).await;
    let before = Vitals::of(&house).await;

    let mut lazy = Vec::new();
    for _ in 0..VISITORS {
        lazy.push(LazyReader::open(house.http, "web.test", "/.dormouse/events").await.unwrap());
    }
    for _ in 0..ADMINS {
        let at = house.admin.address();
        lazy.push(LazyReader::open(at, &at.to_string(), "/api/v1/events").await.unwrap());
    }
    report.cases(lazy.iter().map(|reader| match reader.status {
        200 => Ok(()),
        other => Err(format!("a reader was answered {other}")),
    }));
    let mut good = Stream::open(house.admin.address(), get("localhost", "/api/v1/events")).await;
    let reads = tokio::spawn(async move {
        let mut bytes = 0;
        while let Some(piece) = good.next().await {
            bytes += piece.len();
            if String::from_utf8_lossy(&piece).contains("asleep") {
                break;
            }
        }
        bytes
    });
    let beside = tell(&house, PINS * scale(UNNAMED)).await;
    // The visitors' readers hear of wakes only.
    for _ in 0..3 {
        assert_eq!(house.admin.sleep("web").await.status, 202);
        house.admin.until("web", Phase::Asleep).await;
        assert_eq!(house.admin.wake("web", Duration::from_secs(30)).await.status, 200);
    }
    let crowd = Vitals::of(&house).await.beyond(before);
    let read = timeout(DROPPED_WITHIN, reads).await;
    report.case(match read {
        Ok(Ok(bytes)) if bytes > 0 => Ok(()),
        other => Err(format!("who reads has heard {other:?}")),
    });
    let slower = beside.p99.as_secs_f64() / alone.p99.as_secs_f64();
    report.case(if slower <= SLOWER_MAX { Ok(()) } else { Err(format!("{slower:.2} times")) });
    let memory_kib = READER_KIB_MAX * (VISITORS + ADMINS) as u64;
    report.case(crowd.within(Vitals { memory_kib, files: u64::MAX, tasks: u64::MAX }));

    // Those of the admin side have missed more than may wait for them.
    let admins = lazy.split_off(VISITORS);
    let ends = admins.into_iter().map(|reader| timeout(DROPPED_WITHIN, reader.end()));
    let ends = futures_util::future::join_all(ends).await;
    let dropped = ends.iter().filter(|end| end.is_ok()).count();
    let told = "a reader that fell behind was not dropped";
    report.cases(ends.into_iter().map(|end| end.map_err(|_| told)));
    drop(lazy);
    let left = async || Vitals::of(&house).await.beyond(before).files < 64;
    eventually(DROPPED_WITHIN, "the files of all readers are closed", left).await;
    report.finish(format_args!(
        "readers and looks; {VISITORS} and {ADMINS} never read, p99 of a change that is told \
         {:.1?}, {slower:.2} times that without them; {crowd}; {dropped} dropped",
        beside.p99
    ));
}

/// How long it takes to change something that everybody is told of.
struct Telling {
    p99: Duration,
}

async fn tell(house: &House, pins: usize) -> Telling {
    let mut took = Vec::new();
    for _ in 0..pins {
        let began = Instant::now();
        assert_eq!(house.admin.pin("web", "1h").await.status, 200);
        assert_eq!(house.admin.unpin("web").await.status, 200);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Telling { p99: took[took.len() * 99 / 100] }
}
