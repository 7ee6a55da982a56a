//! Checks of what a provider does when it is told: start, rest, look, list, read the log.

use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::policy::Rest;
use dormouse_providers::{ProviderError, RestOrder, Sighting, Target};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::bench::{
    Bench, Kind, Setting, comes_to, is_paused, is_running, is_stopped, observe, order, rest,
    run_of, soon, start, try_start,
};
use super::{Verdict, applies};

/// How much later than its deadline an answer may come on a busy machine.
const DEADLINE_MARGIN: Duration = Duration::from_millis(750);

/// A start from `stopped`.
pub async fn a_start_brings_up_what_is_stopped<B: Bench>(bench: &B) -> Verdict {
    starts_from(bench, Setting::Stopped).await
}

/// A start from `paused`.
pub async fn a_start_brings_up_what_is_paused<B: Bench>(bench: &B) -> Verdict {
    starts_from(bench, Setting::Paused).await
}

/// A start from `created`.
pub async fn a_start_brings_up_what_was_never_started<B: Bench>(bench: &B) -> Verdict {
    starts_from(bench, Setting::Created).await
}

/// A start of what runs answers the same run.
pub async fn a_second_start_changes_nothing<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let starts = bench.real_starts(&target).await;
    let (first, second) = (start(bench, &target).await, start(bench, &target).await);
    assert_eq!(run_of(&first), run_of(&second));
    assert_eq!(bench.real_starts(&target).await, starts, "it was started again");
    Verdict::Holds
}

/// Any number of starts at once are one start.
pub async fn concurrent_starts_yield_one_run<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
    let before = bench.real_starts(&target).await;
    let mut starts = JoinSet::new();
    for _ in 0..24 {
        let (provider, target) = (bench.provider(), target.clone());
        let order = bench.start_order(&target);
        starts.spawn(async move { provider.start(&target, &order, soon()).await });
    }
    let answers = starts.join_all().await;
    let runs: Vec<_> =
        answers.into_iter().map(|answer| run_of(&answer.expect("each succeeds"))).collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    if let (Some(before), Some(after)) = (before, bench.real_starts(&target).await) {
        assert_eq!(after - before, 1, "starts at the runtime");
    }
    Verdict::Holds
}

/// A stop of what is stopped succeeds.
pub async fn a_second_stop_changes_nothing<B: Bench>(bench: &B) -> Verdict {
    rests_twice(bench, Rest::Stop, is_stopped).await
}

/// A pause of what is paused succeeds, and keeps the run.
pub async fn a_second_pause_changes_nothing<B: Bench>(bench: &B) -> Verdict {
    if !bench.provider().abilities().pause {
        return Verdict::DoesNotApply("nothing can be paused");
    }
    rests_twice(bench, Rest::Pause, is_paused).await
}

/// A kill of what is stopped succeeds.
pub async fn a_second_kill_changes_nothing<B: Bench>(bench: &B) -> Verdict {
    rests_twice(bench, Rest::Kill, is_stopped).await
}

/// What is frozen can still be stopped.
pub async fn a_stop_ends_what_is_paused<B: Bench>(bench: &B) -> Verdict {
    let target =
        applies!(bench.set_up(Kind::Obedient, Setting::Paused).await, "nothing can be paused");
    let seen = rest(bench, &target, Rest::Stop).await;
    assert!(is_stopped(seen.condition), "{:?}", seen.condition);
    Verdict::Holds
}

/// The grace is granted, and is an end.
pub async fn a_rest_with_grace_kills_what_does_not_listen<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Deaf, Setting::Running).await, "nothing is deaf");
    let grace = Duration::from_secs(1);
    let order = RestOrder { rest: Rest::Stop, signal: None, grace };
    let began = Instant::now();
    let seen = bench.provider().rest(&target, &order, soon()).await.expect("it is killed");
    assert!(is_stopped(seen.condition), "{:?}", seen.condition);
    let took = began.elapsed();
    assert!(took >= grace, "killed after {took:?}");
    assert!(took < grace + Duration::from_secs(5), "killed after {took:?}");
    Verdict::Holds
}

/// The deadline is the caller's, whatever the grace; and the target can be killed afterwards.
pub async fn a_rest_that_outlasts_its_deadline_is_a_timeout<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Deaf, Setting::Running).await, "nothing is deaf");
    let order = RestOrder { rest: Rest::Stop, signal: None, grace: Duration::from_secs(20) };
    let deadline = Instant::now() + Duration::from_millis(300);
    let answer = bench.provider().rest(&target, &order, deadline).await;
    let late = Instant::now().saturating_duration_since(deadline);
    assert!(matches!(answer, Err(ProviderError::Timeout(_))), "{answer:?}");
    assert!(late < DEADLINE_MARGIN, "{late:?} late");
    let seen = rest(bench, &target, Rest::Kill).await;
    assert!(is_stopped(seen.condition), "{:?}", seen.condition);
    Verdict::Holds
}

/// What has no time left neither hangs nor lies.
pub async fn a_deadline_in_the_past_is_a_timeout_or_an_answer<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let provider = bench.provider();
    let past = Instant::now();
    sleep(Duration::from_millis(1)).await;
    let looks = async {
        let answers = [
            provider.observe(&target, past).await,
            provider.start(&target, &bench.start_order(&target), past).await,
        ];
        let list = provider.list(past).await.map(drop);
        (answers, list)
    };
    let (answers, list) = timeout(DEADLINE_MARGIN, looks).await.expect("nothing hangs");
    for answer in answers {
        match answer {
            Ok(seen) => assert!(is_running(seen.condition), "{:?}", seen.condition),
            Err(error) => assert!(matches!(error, ProviderError::Timeout(_)), "{error:?}"),
        }
    }
    assert!(matches!(list, Ok(()) | Err(ProviderError::Timeout(_))), "{list:?}");
    Verdict::Holds
}

/// A start whose caller has gone leaves nothing behind that a second one would stumble over.
pub async fn a_dropped_start_leaves_the_target_usable<B: Bench>(bench: &B) -> Verdict {
    for after_ms in [0, 1, 3, 10, 40, 120] {
        let target =
            applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
        let dropped = try_start(bench, &target);
        // Whether it was in time is beside the point.
        let _ = timeout(Duration::from_millis(after_ms), dropped).await;
        let seen = start(bench, &target).await;
        runs_truthfully(bench, &target, &seen).await;
    }
    Verdict::Holds
}

/// A rest whose caller has gone leaves nothing behind that a second one, or a start, would stumble
/// over.
pub async fn a_dropped_rest_leaves_the_target_usable<B: Bench>(bench: &B) -> Verdict {
    for after_ms in [0, 1, 3, 10, 40, 120] {
        let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
        let provider = bench.provider();
        let order = order(Rest::Stop);
        let dropped = provider.rest(&target, &order, soon());
        // Whether it was in time is beside the point.
        let _ = timeout(Duration::from_millis(after_ms), dropped).await;
        let seen = start(bench, &target).await;
        runs_truthfully(bench, &target, &seen).await;
        let seen = rest(bench, &target, Rest::Stop).await;
        assert!(is_stopped(seen.condition), "{:?}", seen.condition);
    }
    Verdict::Holds
}

/// The run is the same for as long as connections to it may be.
pub async fn a_run_survives_a_pause_and_not_a_stop<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let first = run_of(&observe(bench, &target).await);
    if bench.provider().abilities().pause {
        assert_eq!(run_of(&rest(bench, &target, Rest::Pause).await), first);
        assert_eq!(run_of(&start(bench, &target).await), first);
    }
    rest(bench, &target, Rest::Stop).await;
    let second = run_of(&start(bench, &target).await);
    assert_ne!(second, first, "another start is another run");
    rest(bench, &target, Rest::Kill).await;
    let third = run_of(&start(bench, &target).await);
    assert!(third != first && third != second, "{first:?} {second:?} {third:?}");
    Verdict::Holds
}

/// What is not there cannot be started.
pub async fn a_start_of_what_is_absent_is_absent<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Absent).await, "a start defines");
    if bench.start_order(&target).launch.is_some() {
        return Verdict::DoesNotApply("the order itself says what to run");
    }
    let answer = try_start(bench, &target).await;
    assert_eq!(answer, Err(ProviderError::Absent(target)));
    Verdict::Holds
}

/// What is not there cannot be rested.
pub async fn a_rest_of_what_is_absent_is_absent<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Absent).await, "all is there");
    for how in [Rest::Stop, Rest::Pause, Rest::Kill] {
        let answer = bench.provider().rest(&target, &order(how), soon()).await;
        assert_eq!(answer, Err(ProviderError::Absent(target.clone())), "{how:?}");
    }
    let lines = bench.provider().log_tail(&target, 5, soon()).await;
    assert_eq!(lines, Err(ProviderError::Absent(target)));
    Verdict::Holds
}

/// Absence is an answer, not an error.
pub async fn a_look_at_what_is_absent_shows_it_absent<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Absent).await, "all is there");
    let seen = observe(bench, &target).await;
    assert_eq!(seen.condition, Condition::Absent);
    assert!(seen.addresses.is_empty(), "{:?}", seen.addresses);
    Verdict::Holds
}

/// The list shows what runs and what does not.
pub async fn the_list_names_everything<B: Bench>(bench: &B) -> Verdict {
    let running = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let stopped = applies!(bench.set_up(Kind::Obedient, Setting::Stopped).await, "nothing stops");
    let list = bench.provider().list(soon()).await.expect("a list succeeds");
    let condition = |target: &Target| {
        let found = list.iter().find(|found| found.target == *target);
        found.unwrap_or_else(|| panic!("{target} is not in the list")).sighting.condition
    };
    assert!(is_running(condition(&running)), "{:?}", condition(&running));
    assert!(is_stopped(condition(&stopped)), "{:?}", condition(&stopped));
    Verdict::Holds
}

/// The log's end, and no more of it than was asked for.
pub async fn the_last_lines_come_oldest_first<B: Bench>(bench: &B) -> Verdict {
    let target = applies!(bench.set_up(Kind::Talkative, Setting::Running).await, "nothing talks");
    let provider = bench.provider();
    let give_up_at = soon();
    loop {
        let lines = provider.log_tail(&target, 2, soon()).await.expect("a log is read");
        if lines == ["line 4", "line 5"] {
            break;
        }
        assert!(Instant::now() < give_up_at, "{lines:?}");
        sleep(Duration::from_millis(10)).await;
    }
    let all = provider.log_tail(&target, 100, soon()).await.expect("a log is read");
    assert_eq!(all, ["line 1", "line 2", "line 3", "line 4", "line 5"]);
    Verdict::Holds
}

async fn starts_from<B: Bench>(bench: &B, setting: Setting) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, setting).await, "no such setting");
    let before = bench.real_starts(&target).await;
    let called_at = Instant::now();
    let seen = start(bench, &target).await;
    assert!(seen.as_of >= called_at, "the look began before the call");
    runs_truthfully(bench, &target, &seen).await;
    if let (Some(before), Some(after)) = (before, bench.real_starts(&target).await) {
        let expected = usize::from(setting != Setting::Paused);
        assert_eq!(after - before, expected, "starts at the runtime");
    }
    Verdict::Holds
}

/// What a start answered is true at once, and says where the target is reached.
async fn runs_truthfully<B: Bench>(bench: &B, target: &Target, seen: &Sighting) {
    assert!(is_running(seen.condition), "{:?}", seen.condition);
    assert!(!seen.addresses.is_empty(), "nothing says where {target} is reached");
    for candidate in seen.candidates(seen.default_port.unwrap_or(80)) {
        assert!(!candidate.at.ip().is_unspecified(), "{candidate:?}");
    }
    let again = observe(bench, target).await;
    assert_eq!(again.condition.run(), seen.condition.run());
    assert!(is_running(again.condition), "{:?}", again.condition);
}

async fn rests_twice<B: Bench>(
    bench: &B,
    how: Rest,
    rests: impl Fn(Condition) -> bool + Copy,
) -> Verdict {
    let target = applies!(bench.set_up(Kind::Obedient, Setting::Running).await, "nothing runs");
    let called_at = Instant::now();
    let seen = rest(bench, &target, how).await;
    assert!(seen.as_of >= called_at, "the look began before the call");
    assert!(rests(seen.condition), "{:?}", seen.condition);
    assert!(seen.addresses.is_empty(), "what rests is reached nowhere: {:?}", seen.addresses);
    assert_eq!(rest(bench, &target, how).await.condition, seen.condition);
    let settled = comes_to(bench, &target, rests).await;
    assert_eq!(settled.condition, seen.condition);
    Verdict::Holds
}
