//! R12: uploads of many sizes while their workload wakes, stops, freezes and dies. None is lost
//! without a word, and none is sent twice: the workload itself writes down what it has read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use crate::harness::client::{Answer, exchange, fetch, get};
use crate::harness::dice::Dice;
use crate::harness::house::House;
use crate::harness::local::process;
use crate::harness::report::{Report, UNNAMED, scale};

const SIZES: [usize; 7] = [0, 1, 1_000, 16_385, 100_000, 1 << 20, 3 << 20];
const PIECE: usize = 16 << 10;
const SENDERS: usize = 6;
const UPLOADS: usize = 25;
/// Between two pieces of a body.
const PIECE_EVERY: Duration = Duration::from_millis(1);
/// Of those that send, between two uploads, at most.
const GAP_MAX: Duration = Duration::from_millis(120);

/// What a workload has to do with its uploads' troubles.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// It is asked to sleep whenever nobody uses it.
    Sleeps,
    /// It is killed from outside.
    Dies,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_no_body_is_lost_or_sent_twice() {
    let mut report = Report::of("R12");
    let folder = tempfile::tempdir().unwrap();
    let ledgers = ["stops", "freezes", "dies"].map(|name| folder.path().join(name));
    let configuration = process("stops", &[&knob(&ledgers[0])], "rest = \"stop\"")
        + &process("freezes", &[&knob(&ledgers[1])], "rest = \"pause\"")
        + &process("dies", &[&knob(&ledgers[2])], "");
    let house = Arc::new(House::start(&configuration).await);
    let worlds = [
        ("stops", Trouble::Sleeps, &ledgers[0]),
        ("freezes", Trouble::Sleeps, &ledgers[1]),
        ("dies", Trouble::Dies, &ledgers[2]),
    ];
    let mut told = Vec::new();
    for (name, trouble, ledger) in worlds {
        let disturber = tokio::spawn(disturb(Arc::clone(&house), name, trouble));
        let answers = upload_all(house.http, name, report.dice()).await;
        disturber.abort();
        let seen = Ledger::read(ledger);
        let answered = answers.iter().filter(|(_, answer)| answer.is_some()).count();
        told.push(format!("{name}: {answered} of {} answered 200", answers.len()));
        for (upload, answer) in &answers {
            report.case(seen.check(upload, answer.as_deref(), trouble));
        }
    }
    let starts = house.log().iter().filter(|line| line.contains("to=\"ready\"")).count();
    report.case(if starts > 6 { Ok(()) } else { Err(format!("hardly disturbed: {starts} wakes")) });
    report.finish(format_args!("uploads; {}; {starts} wakes meanwhile", told.join(", ")));
}

fn knob(ledger: &Path) -> String {
    format!("LEDGER={}", ledger.display())
}

/// One upload: its id and what it is made of.
#[derive(Clone, Debug)]
struct Upload {
    id: String,
    bytes: usize,
    seed: u8,
}

/// Sends all uploads of one world. Answers each with what the workload said of it, if it did.
async fn upload_all(
    at: std::net::SocketAddr,
    name: &'static str,
    dice: Dice,
) -> Vec<(Upload, Option<String>)> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let mut dice = Dice::new(dice.clone().below(u64::MAX) + sender as u64);
        senders.spawn(async move {
            let mut sent = Vec::new();
            for n in 0..UPLOADS * scale(UNNAMED) {
                let upload = Upload {
                    id: format!("{name}-{sender}-{n}"),
                    bytes: *dice.pick(&SIZES),
                    seed: u8::try_from(dice.below(256)).unwrap(),
                };
                let answer = send(at, name, &upload).await;
                // A gap in which nobody uses it, so that it may rest.
                tokio::time::sleep(dice.period(GAP_MAX)).await;
                sent.push((upload, answer));
            }
            sent
        });
    }
    senders.join_all().await.into_iter().flatten().collect()
}

async fn send(at: std::net::SocketAddr, name: &str, upload: &Upload) -> Option<String> {
    let mut request =
        Request::post("/upload").header("host", format!("{name}.test")).header("x-id", &upload.id);
    if upload.seed.is_multiple_of(2) {
        request = request.header("content-length", upload.bytes);
    }
    let request = request.body(StreamBody::new(upload.pieces())).unwrap();
    let answer: Answer = exchange(at, request).await.ok()?;
    (answer.status == 200).then(|| answer.json()["fnv64"].as_str().unwrap_or_default().to_owned())
}

impl Upload {
    fn content(&self) -> impl Iterator<Item = u8> {
        let seed = self.seed;
        (0..self.bytes).map(move |at| (at % 251) as u8 ^ seed)
    }

    fn pieces(&self) -> impl Stream<Item = std::io::Result<Frame<Bytes>>> + Send + use<> {
        let content: Vec<u8> = self.content().collect();
        let pieces: Vec<Bytes> = content.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        let slowly = |piece| async {
            tokio::time::sleep(PIECE_EVERY).await;
            Ok(Frame::data(piece))
        };
        Box::pin(stream::iter(pieces).then(slowly))
    }

    /// The FNV-1a digest that the workload should have taken.
    fn digest(&self) -> String {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        format!("{:016x}", self.content().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

/// What a workload has written down: a line when a request came, another when it was read whole.
#[derive(Default)]
struct Ledger {
    came: BTreeMap<String, usize>,
    whole: BTreeMap<String, Vec<String>>,
}

impl Ledger {
    fn read(path: &PathBuf) -> Self {
        let mut ledger = Self::default();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["came", id] => *ledger.came.entry(id.to_owned()).or_default() += 1,
                ["whole", id, digest] => {
                    ledger.whole.entry(id.to_owned()).or_default().push(digest.to_owned());
                }
                // The last line of one that was killed while it wrote.
                _ => {}
            }
        }
        ledger
    }

    fn check(&self, upload: &Upload, said: Option<&str>, trouble: Trouble) -> Result<(), String> {
        let digest = upload.digest();
        let came = self.came.get(&upload.id).copied().unwrap_or(0);
        let whole = self.whole.get(&upload.id).map(Vec::as_slice).unwrap_or_default();
        let tell = |what: &str| format!("{upload:?}: {what}; it came {came} times, {whole:?}");
        match said {
            Some(said) if said != digest => return Err(tell(&format!("was read as {said}"))),
            Some(_) if whole != [digest] => return Err(tell("was not read once")),
            None if trouble == Trouble::Sleeps => return Err(tell("was lost")),
            Some(_) | None => {}
        }
        // An empty one may be repeated until it is answered; a body never.
        if came > 1 && upload.bytes > 0 { Err(tell("was sent twice")) } else { Ok(()) }
    }
}

/// Does one deed after the other to a workload for as long as it is let.
async fn disturb(house: Arc<House>, name: &'static str, trouble: Trouble) {
    let mut ticks = tokio::time::interval(match trouble {
        Trouble::Sleeps => Duration::from_millis(50),
        // Often enough to hit uploads, seldom enough to leave it time to come back.
        Trouble::Dies => Duration::from_millis(700),
    });
    loop {
        ticks.tick().await;
        match trouble {
            Trouble::Sleeps => {
                // Refused while it is in use.
                house.admin.sleep(name).await;
            }
            Trouble::Dies => {
                let instance = fetch(house.http, get(&format!("{name}.test"), "/instance")).await;
                let pid = instance.json()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
                if let Some(pid) = pid.and_then(Pid::from_raw) {
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }
}
