//! Requests against rests: two thousand requests timed around the moment at which a rest begins,
//! while it is under way and when it has just ended. Every one is answered by the app itself.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse_wire::{Event, Phase};
use harness::admin::Admin;
use harness::client::{Stream, exchange, get};
use harness::dice::Dice;
use harness::docker::{App, Docker};
use harness::house::House;
use harness::report::Report;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The idle period of those that rest by themselves.
const IDLE: Duration = Duration::from_millis(300);
/// How much earlier than the rest the earliest requests are sent.
const BEFORE_MS: i64 = 5;

/// How often one kind of rest is raced, and up to how long after it began.
struct Course {
    rest: &'static str,
    /// Milliseconds that the app takes to end.
    term_delay_ms: u32,
    begun_by: BegunBy,
    /// Workloads that race at the same time.
    lanes: u32,
    races: u32,
    offset_max_ms: i64,
}

/// What makes the workload rest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum BegunBy {
    Asking,
    Force,
    Idleness,
}

const COURSES: [Course; 7] = [
    course("pause", 0, BegunBy::Asking, 4, (900, 90)),
    course("pause", 0, BegunBy::Force, 2, (400, 90)),
    course("pause", 0, BegunBy::Idleness, 5, (500, 90)),
    course("kill", 0, BegunBy::Asking, 2, (70, 200)),
    course("kill", 0, BegunBy::Idleness, 2, (40, 200)),
    course("stop", 0, BegunBy::Asking, 2, (60, 250)),
    course("stop", 150, BegunBy::Idleness, 2, (30, 400)),
];

/// One race.
struct Race {
    course: usize,
    workload: String,
    offset_ms: i64,
    sent: jiff::Timestamp,
    took: Duration,
    /// `None`: answered by the app itself.
    failure: Option<String>,
}

/// Who entered which phase when, oldest first.
type Moves = Arc<Mutex<Vec<(jiff::Timestamp, String, String)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_no_request_is_lost_to_a_rest() {
    let Some(docker) = Docker::of_machine().await else { return };
    let mut verdict = Report::of("R02");
    let seed = verdict.seed();
    let mut configuration = docker.environment();
    let mut lanes = Vec::new();
    for (index, course) in COURSES.iter().enumerate() {
        for lane in 0..course.lanes {
            let short = format!("{}-{index}-{lane}", course.rest);
            let delay = format!("TERM_DELAY_MS={}", course.term_delay_ms);
            let app = docker.app(&short, &[&delay]).await;
            configuration += &app.workload(&course.keys());
            lanes.push((index, lane, app));
        }
    }
    let house = House::start(&configuration).await;
    for (_, _, app) in &lanes {
        house.admin.until(&app.short, Phase::Asleep).await;
    }
    let moves = Moves::default();
    let mut listener = JoinSet::new();
    let events = Stream::open(house.admin.address(), get("localhost", "/api/v1/events")).await;
    listener.spawn(follow(events, Arc::clone(&moves)));

    let began = Instant::now();
    let mut running = JoinSet::new();
    for (index, lane, app) in lanes {
        let dice = Dice::new(seed ^ u64::from(lane) << 32 ^ u64::try_from(index).unwrap());
        let racer = Racer { course: index, app, http: house.http, admin: house.admin, dice };
        running.spawn(racer.race(lane));
    }
    let races: Vec<Race> = running.join_all().await.into_iter().flatten().collect();
    report(&races, &moves.lock().unwrap());
    verdict.cases(races.iter().map(|race| match &race.failure {
        Some(why) => Err(format!("{} at {} ms: {why}", race.workload, race.offset_ms)),
        None => Ok(()),
    }));
    assert_eq!(races.len(), 2000);
    verdict.finish(format_args!("requests around rests, in {:.1?}", began.elapsed()));
}

const fn course(
    rest: &'static str,
    term_delay_ms: u32,
    begun_by: BegunBy,
    lanes: u32,
    (races, offset_max_ms): (u32, i64),
) -> Course {
    Course { rest, term_delay_ms, begun_by, lanes, races, offset_max_ms }
}

impl Course {
    fn keys(&self) -> String {
        let idle = match self.begun_by {
            BegunBy::Idleness => format!("{}ms", IDLE.as_millis()),
            BegunBy::Asking | BegunBy::Force => "never".to_owned(),
        };
        format!("rest = \"{}\"\nidle_timeout = \"{idle}\"", self.rest)
    }

    /// Of the n-th race: swept evenly, from just before the rest to some time after its end.
    fn offset_ms(&self, n: u32) -> i64 {
        let span = self.offset_max_ms + BEFORE_MS;
        i64::from(n) * span / i64::from(self.races.max(2) - 1) - BEFORE_MS
    }
}

/// One workload and whoever races against its rests.
struct Racer {
    course: usize,
    app: App,
    http: SocketAddr,
    admin: Admin,
    dice: Dice,
}

impl Racer {
    async fn race(mut self, lane: u32) -> Vec<Race> {
        let course = &COURSES[self.course];
        let mut races = Vec::new();
        self.send(0).await;
        for n in (lane..course.races).step_by(usize::try_from(course.lanes).unwrap()) {
            let offset_ms = course.offset_ms(n);
            // A part of a millisecond, so that no two sweeps are alike.
            let part = Duration::from_micros(self.dice.below(1000));
            let race = match course.begun_by {
                BegunBy::Idleness => {
                    let after = i64::try_from(IDLE.as_millis()).unwrap() + offset_ms;
                    sleep(millis(after) + part).await;
                    self.send(offset_ms).await
                }
                BegunBy::Asking | BegunBy::Force => {
                    let rest = async {
                        sleep(millis(-offset_ms)).await;
                        match course.begun_by {
                            BegunBy::Force => self.admin.sleep_by_force(&self.app.short).await,
                            BegunBy::Asking | BegunBy::Idleness => {
                                self.admin.sleep(&self.app.short).await
                            }
                        }
                    };
                    let request = async {
                        sleep(millis(offset_ms) + part).await;
                        self.send(offset_ms).await
                    };
                    tokio::join!(rest, request).1
                }
            };
            races.push(race);
            if course.begun_by != BegunBy::Idleness {
                // The next race begins with a workload that is awake.
                races.last_mut().unwrap().add(self.send(offset_ms).await);
            }
        }
        races
    }

    async fn send(&self, offset_ms: i64) -> Race {
        let (sent, asked) = (jiff::Timestamp::now(), Instant::now());
        let outcome = exchange(self.http, get(&self.app.host(), "/instance")).await;
        let failure = match outcome {
            Ok(answer) if answer.status == 200 && answer.json()["mark"] == *self.app.short => None,
            Ok(answer) => Some(format!("{} {}", answer.status, answer.text())),
            Err(error) => Some(error.to_string()),
        };
        let (course, workload) = (self.course, self.app.short.clone());
        Race { course, workload, offset_ms, sent, took: asked.elapsed(), failure }
    }
}

impl Race {
    /// What follows the race must not fail either.
    fn add(&mut self, after: Race) {
        let failure = after.failure.map(|why| format!("afterwards: {why}"));
        self.failure = self.failure.take().or(failure);
    }
}

/// Follows the journal, for the phases that requests met.
async fn follow(mut events: Stream, moves: Moves) {
    let mut text = String::new();
    while let Some(piece) = events.next().await {
        text += &String::from_utf8_lossy(&piece);
        while let Some((line, rest)) = text.split_once('\n') {
            let event = line.strip_prefix("data:").and_then(|it| serde_json::from_str(it).ok());
            if let Some(Event { at, workload: Some(workload), to: Some(to), .. }) = event {
                let name = workload.trim_start_matches("local/").to_owned();
                moves.lock().unwrap().push((at.parse().unwrap(), name, to));
            }
            text = rest.to_owned();
        }
    }
}

/// How many races of each course met which phase, to the millisecond.
fn report(races: &[Race], moves: &[(jiff::Timestamp, String, String)]) {
    let mut of_workload: BTreeMap<&str, Vec<(jiff::Timestamp, &str)>> = BTreeMap::new();
    for (at, workload, to) in moves {
        of_workload.entry(workload).or_default().push((*at, to));
    }
    for (index, course) in COURSES.iter().enumerate() {
        let own: Vec<&Race> = races.iter().filter(|race| race.course == index).collect();
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for race in &own {
            let moves = of_workload.get(&*race.workload).map(Vec::as_slice).unwrap_or_default();
            let before = moves.partition_point(|(at, _)| *at <= race.sent);
            let phase = before.checked_sub(1).map_or("unknown", |index| moves[index].1);
            *met.entry(phase).or_default() += 1;
        }
        let mut offsets: Vec<i64> = own.iter().map(|race| race.offset_ms).collect();
        offsets.sort_unstable();
        let quantile = |part: usize| offsets[(offsets.len() - 1) * part / 4];
        println!(
            "{:5} by {:?}, ends in {} ms: {} races, offsets {} | {} | {} | {} | {} ms, met {met:?}, \
             slowest {:.0?}",
            course.rest,
            course.begun_by,
            course.term_delay_ms,
            own.len(),
            quantile(0),
            quantile(1),
            quantile(2),
            quantile(3),
            quantile(4),
            own.iter().map(|race| race.took).max().unwrap_or_default(),
        );
    }
}

/// No time at all where it is negative.
fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
