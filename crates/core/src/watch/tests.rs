//! What a watch does, told as lines: what happens when, and what follows.

use super::*;

/// A watch and its clock, driven by hand.
struct Bench {
    watch: Watch,
    now: Timestamp,
    moves: Vec<Transition>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let policy = settings.validated().unwrap();
        let mut watch = Watch::new(policy, 7, Timestamp::ZERO);
        watch.handle(Event::Started, Timestamp::ZERO);
        Self { watch, now: Timestamp::ZERO, moves: Vec::new() }
    }

    fn up() -> Self {
        let mut bench = Self::new(Settings::default());
        bench.answer(Ok(()));
        assert_eq!(bench.state(), State::Up);
        bench.effects();
        bench.moves.clear();
        bench
    }

    fn state(&self) -> State {
        self.watch.status().state
    }

    /// Drains the effects, keeps the moves, and gives the others.
    fn effects(&mut self) -> Vec<Effect> {
        let mut others = Vec::new();
        while let Some(effect) = self.watch.poll_effect() {
            match effect {
                Effect::Moved(transition) => self.moves.push(transition),
                Effect::Probe { .. } | Effect::Abandon { .. } => others.push(effect),
            }
        }
        others
    }

    fn asking(&self) -> Option<Epoch> {
        match self.watch.plan {
            Plan::Asking { epoch, .. } => Some(epoch),
            Plan::NotStarted | Plan::Waiting { .. } | Plan::Stopped => None,
        }
    }

    /// Answers the probe in flight.
    fn answer(&mut self, result: Result<(), &str>) {
        let epoch = self.asking().expect("a probe is in flight");
        let result = result.map_err(Into::into);
        self.watch.handle(Event::Answered { epoch, result }, self.now);
        self.effects();
    }

    fn tell(&mut self, event: Event) {
        self.watch.handle(event, self.now);
    }

    /// Goes to the next deadline; says why there was one.
    fn next(&mut self) -> TimerReason {
        let (at, reason) = self.watch.poll_timeout().expect("it waits for something");
        self.now = self.now.max(at);
        self.watch.handle_timeout(self.now);
        reason
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.watch.handle_timeout(self.now);
    }

    fn to(&self) -> Vec<State> {
        self.moves.iter().map(|transition| transition.to).collect()
    }
}

fn seconds(at: Timestamp) -> u64 {
    at.since(Timestamp::ZERO).as_secs()
}

#[test]
fn startup_probes_come_on_schedule_and_then_it_polls() {
    let mut bench = Bench::new(Settings::default());
    let mut began = Vec::new();
    for _ in 0..13 {
        began.push(seconds(bench.now));
        bench.answer(Err("refused"));
        bench.next();
    }
    assert_eq!(began, [0, 2, 6, 14, 30, 62, 122, 182, 242, 302, 362, 422, 482]);
    // The tenth failure decided.
    assert_eq!(bench.to(), [State::Down]);
    assert_eq!(seconds(bench.moves[0].at), 302);
    assert_eq!(bench.moves[0].from, State::Pending);
}

#[test]
fn each_wait_has_its_reason() {
    let mut bench = Bench::new(Settings { max_retries: 2, ..Settings::default() });
    bench.answer(Err("no"));
    assert_eq!(bench.next(), TimerReason::Startup);
    bench.answer(Err("no"));
    assert_eq!(bench.next(), TimerReason::Poll);
    bench.answer(Ok(()));
    assert_eq!(bench.next(), TimerReason::Poll);
    bench.answer(Err("no"));
    assert_eq!(bench.next(), TimerReason::Confirm);
    bench.answer(Err("no"));
    for _ in 0..2 {
        assert_eq!(bench.next(), TimerReason::Reprobe);
        bench.answer(Err("no"));
    }
    assert_eq!(bench.next(), TimerReason::Poll);
    bench.next();
    assert_eq!(bench.watch.poll_timeout().unwrap().1, TimerReason::Poll);
}

#[test]
fn a_fall_is_followed_by_as_many_quick_probes_as_there_are_startup_tries() {
    let mut bench = Bench::up();
    bench.next();
    bench.answer(Err("no"));
    bench.next();
    bench.answer(Err("no"));
    assert_eq!(bench.to(), [State::Down]);
    let mut quick = 0;
    while bench.next() == TimerReason::Reprobe {
        quick += 1;
        bench.answer(Err("no"));
    }
    assert_eq!(quick, 10);
}

#[test]
fn quick_probes_of_watches_that_fell_together_do_not_come_together() {
    let waits: std::collections::BTreeSet<u64> = (0..100)
        .map(|seed| {
            let mut watch = Watch::new(Policy::default(), seed, Timestamp::ZERO);
            watch.handle(Event::Started, Timestamp::ZERO);
            let answer = |epoch, result| Event::Answered { epoch: Epoch(epoch), result };
            watch.handle(answer(1, Ok(())), Timestamp::ZERO);
            watch.handle(Event::FailureReported("no".into()), Timestamp::from_millis(500));
            watch.handle(answer(2, Err("no".into())), Timestamp::from_millis(500));
            assert_eq!(watch.status().state, State::Down);
            let (at, _) = watch.poll_timeout().unwrap();
            assert!(at <= Timestamp::from_millis(2_500), "{at}");
            at.as_millis()
        })
        .collect();
    assert!(waits.len() > 90, "{} different waits", waits.len());
}

#[test]
fn one_failure_is_a_doubt_and_two_are_a_fall() {
    let mut bench = Bench::up();
    bench.next();
    bench.answer(Err("timed out"));
    let status = bench.watch.status();
    assert_eq!((status.state, status.failures), (State::Up, 1));
    assert_eq!(status.last_error.as_deref(), Some("timed out"));
    // It is confirmed soon, not a poll later.
    let (at, _) = bench.watch.poll_timeout().unwrap();
    assert!(at.since(bench.now) <= Duration::from_secs(2));
    bench.next();
    bench.answer(Err("refused"));
    assert_eq!(bench.state(), State::Down);
    assert_eq!(bench.moves[0].error.as_deref(), Some("refused"));
}

#[test]
fn a_success_between_two_failures_forgives_the_first() {
    let mut bench = Bench::up();
    for result in [Err("no"), Ok(()), Err("no"), Ok(()), Err("no")] {
        bench.next();
        bench.answer(result);
    }
    assert_eq!(bench.state(), State::Up);
    assert_eq!(bench.watch.status().failures, 1);
    assert_eq!(bench.moves, []);
}

#[test]
fn rising_takes_as_many_successes_as_it_says() {
    let mut bench = Bench::new(Settings { rise: 3, ..Settings::default() });
    for (result, state) in [
        (Ok(()), State::Pending),
        (Ok(()), State::Pending),
        (Err("no"), State::Pending),
        (Ok(()), State::Pending),
        (Ok(()), State::Pending),
        (Ok(()), State::Up),
    ] {
        bench.answer(result);
        assert_eq!(bench.state(), state);
        let wait = bench.watch.poll_timeout().unwrap().0.since(bench.now);
        assert!(state == State::Up || wait <= Duration::from_secs(2), "{wait:?}");
        bench.next();
    }
}

#[test]
fn a_probe_that_ignores_its_deadline_is_abandoned_and_has_failed() {
    let mut bench = Bench::new(Settings::default());
    let epoch = bench.asking().unwrap();
    bench.effects();
    assert_eq!(bench.next(), TimerReason::ProbeDeadline);
    assert_eq!(seconds(bench.now), 10);
    assert_eq!(bench.effects(), [Effect::Abandon { epoch }]);
    let status = bench.watch.status();
    assert_eq!(status.failures, 1);
    assert_eq!(status.last_error.as_deref(), Some("no answer within 10s"));
    // Its late answer is nobody's.
    bench.tell(Event::Answered { epoch, result: Ok(()) });
    assert_eq!(bench.watch.status(), status);
}

#[test]
fn the_answer_to_another_question_changes_nothing() {
    let mut bench = Bench::up();
    let before = bench.watch.status();
    bench.tell(Event::Answered { epoch: Epoch(1), result: Err("late".into()) });
    bench.tell(Event::Answered { epoch: Epoch(99), result: Err("never asked".into()) });
    assert_eq!(bench.watch.status(), before);
    assert_eq!(bench.effects(), []);
}

#[test]
fn a_kick_probes_now() {
    let mut bench = Bench::up();
    bench.wait(Duration::from_secs(1));
    bench.tell(Event::Kicked);
    assert!(matches!(bench.effects()[..], [Effect::Probe { epoch: Epoch(2), .. }]));
}

#[test]
fn kicks_under_way_add_one_probe_however_many_they_are() {
    let mut bench = Bench::up();
    bench.wait(Duration::from_secs(1));
    for _ in 0..1_000 {
        bench.tell(Event::Kicked);
    }
    assert_eq!(bench.effects().len(), 1);
    // The one in flight may have been asked before what made somebody kick.
    bench.answer(Ok(()));
    assert_eq!(bench.next(), TimerReason::Kick);
    assert_eq!(bench.now.since(Timestamp::ZERO), Duration::from_millis(1_100));
    bench.answer(Ok(()));
    assert_eq!(bench.watch.poll_timeout().unwrap().1, TimerReason::Poll);
}

#[test]
fn a_caller_who_saw_it_fail_is_the_first_strike_and_a_probe_the_second() {
    let mut bench = Bench::up();
    bench.wait(Duration::from_secs(30));
    for _ in 0..100 {
        bench.tell(Event::FailureReported("connection reset".into()));
    }
    let status = bench.watch.status();
    assert_eq!((status.state, status.failures), (State::Up, 1));
    assert_eq!(status.last_error.as_deref(), Some("connection reset"));
    assert_eq!(bench.effects().len(), 1);
    bench.answer(Err("refused"));
    assert_eq!(bench.to(), [State::Down]);
    assert_eq!(seconds(bench.now), 30);
}

#[test]
fn a_report_while_a_probe_is_under_way_is_looked_into_after_its_answer() {
    let mut bench = Bench::up();
    bench.next();
    bench.tell(Event::FailureReported("reset".into()));
    bench.answer(Ok(()));
    assert_eq!(bench.state(), State::Up);
    assert_eq!(bench.next(), TimerReason::Kick);
}

#[test]
fn callers_cannot_hurry_a_service_that_is_known_to_be_down() {
    let mut bench = Bench::new(Settings::default());
    bench.answer(Err("refused"));
    let before = (bench.watch.status(), bench.watch.poll_timeout());
    bench.tell(Event::FailureReported("refused".into()));
    assert_eq!((bench.watch.status(), bench.watch.poll_timeout()), before);
}

#[test]
fn a_caller_who_saw_it_work_counts_like_a_probe_and_saves_one() {
    let mut bench = Bench::new(Settings::default());
    let epoch = bench.asking().unwrap();
    bench.effects();
    bench.tell(Event::SuccessReported);
    assert_eq!(bench.effects(), [Effect::Abandon { epoch }]);
    assert_eq!(bench.to(), [State::Up]);
    assert_eq!(bench.next(), TimerReason::Poll);
    assert_eq!(seconds(bench.now), 60);
}

#[test]
fn stopping_reports_nothing_and_nothing_comes_after() {
    let mut bench = Bench::up();
    bench.next();
    let epoch = bench.asking().unwrap();
    bench.effects();
    bench.tell(Event::Stopped);
    assert_eq!(bench.effects(), [Effect::Abandon { epoch }]);
    let status = bench.watch.status();
    assert_eq!((status.state, status.next_check), (State::Up, None));
    for event in [
        Event::Answered { epoch, result: Err("cut".into()) },
        Event::Kicked,
        Event::FailureReported("cut".into()),
        Event::SuccessReported,
        Event::Started,
        Event::Stopped,
    ] {
        bench.tell(event);
    }
    assert_eq!(bench.effects(), []);
    assert_eq!(bench.watch.poll_timeout(), None);
    assert_eq!(bench.watch.status(), status);
    assert_eq!(bench.moves, []);
}

#[test]
fn the_status_is_of_one_moment() {
    let mut bench = Bench::new(Settings { max_retries: 1, ..Settings::default() });
    bench.now = Timestamp::from_millis(300);
    bench.answer(Err("refused"));
    let status = bench.watch.status();
    let at = Timestamp::from_millis(300);
    assert_eq!(
        status,
        Status {
            state: State::Down,
            since: at,
            failures: 1,
            last_check: Some(at),
            next_check: Some(at + Duration::from_secs(60)),
            last_error: Some("refused".into()),
        }
    );
}
