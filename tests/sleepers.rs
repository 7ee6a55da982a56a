//! Many workloads that sleep cost little: what each is stands once, and what only the awake need is
//! not there.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::fmt::Write as _;

use harness::client::{fetch, get};
use harness::house::House;
use harness::vitals::memory_kib;
use harness::{PATIENCE, eventually};

const SLEEPERS: u64 = 3_000;
/// Half as much again as one was seen to take: 4.2 KiB.
const SLEEPER_KIB_MAX: u64 = 6;
/// A house with few workloads, in a build of any kind.
const HOUSE_KIB_MAX: u64 = 8 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_takes_a_few_kib() {
    let mut configuration = String::new();
    for n in 0..SLEEPERS {
        let name = format!("w{n}");
        let port = 20_000 + n % 1_000;
        writeln!(configuration, "[workload.{name}]\ncommand = [\"/bin/false\"]").unwrap();
        writeln!(configuration, "port = {port}\nhosts = [\"{name}.test\"]").unwrap();
    }
    let house = House::start(&configuration).await;
    let last = format!("w{}.test", SLEEPERS - 1);
    assert_eq!(fetch(house.http, get(&last, "/.dormouse/status")).await.status, 200);
    // What reading the file took is given back a while after it was read.
    let kib_max = HOUSE_KIB_MAX + SLEEPERS * SLEEPER_KIB_MAX;
    let what = format!("{SLEEPERS} sleepers take at most {kib_max} KiB");
    eventually(PATIENCE, &what, async || memory_kib(house.pid()) <= kib_max).await;
}
