//! The queue of reports: what is replaced, what is counted, what is bounded.

use bytes::Bytes;
use dormouse_core::limits;
use dormouse_wire::{CollectReport, EnvId, EnvironmentUse, RawJson};

use super::Queue;

const ENV: EnvId = EnvId(1);
const OTHER: EnvId = EnvId(2);

fn event(env: EnvId, number: usize) -> CollectReport {
    let text = format!("{{\"n\":{number}}}");
    CollectReport::ContainerEvent { env, event: RawJson::read(Bytes::from(text)).unwrap() }
}

fn status(env: EnvId, online: bool) -> CollectReport {
    let error = (!online).then(|| "gone".to_owned());
    CollectReport::EnvStatus { env, online, error }
}

fn metrics(env: EnvId, mem_used: u64) -> CollectReport {
    let figures =
        EnvironmentUse { cpu: 1.0, mem_percent: 1.0, mem_used, mem_total: 1, cpu_count: 1 };
    CollectReport::Metrics(env, figures)
}

fn disk(env: EnvId, bytes: usize) -> CollectReport {
    let text = format!("\"{}\"", "x".repeat(bytes - 2));
    let data = RawJson::read(Bytes::from(text)).unwrap();
    CollectReport::DiskUsage { env, data, info: None }
}

fn everything(queue: &mut Queue) -> Vec<CollectReport> {
    std::iter::from_fn(|| queue.take()).collect()
}

#[test]
fn newer_figures_replace_those_that_nobody_has_read_and_events_stay_in_order() {
    let mut queue = Queue::default();
    for report in [metrics(ENV, 1), event(ENV, 1), metrics(OTHER, 7), metrics(ENV, 2)] {
        queue.push(report);
    }
    queue.push(event(ENV, 2));
    let expected = [metrics(ENV, 2), event(ENV, 1), metrics(OTHER, 7), event(ENV, 2)];
    assert_eq!(everything(&mut queue), expected);
    queue.push(metrics(ENV, 3));
    assert_eq!(everything(&mut queue), [metrics(ENV, 3)], "what was read is not replaced");
}

#[test]
fn a_reader_is_told_a_status_only_where_it_differs_from_what_it_was_told_last() {
    let mut queue = Queue::default();
    queue.push(status(ENV, true));
    assert_eq!(everything(&mut queue), [status(ENV, true)]);
    queue.push(status(ENV, false));
    queue.push(status(ENV, true));
    assert_eq!(everything(&mut queue), [], "it went and came while nobody read");
    queue.push(status(ENV, false));
    assert_eq!(everything(&mut queue), [status(ENV, false)]);
    queue.forget(ENV);
    queue.push(status(ENV, false));
    assert_eq!(everything(&mut queue), [status(ENV, false)], "a new environment of that number");
}

#[test]
fn events_beyond_the_bound_are_counted_where_they_are_missing() {
    let mut queue = Queue::default();
    for number in 0..limits::COLLECT_EVENTS_MAX {
        queue.push(event(ENV, number));
    }
    queue.push(event(ENV, 7));
    queue.push(event(OTHER, 8));
    queue.push(event(ENV, 9));
    assert_eq!(queue.take(), Some(event(ENV, 0)));
    queue.push(event(ENV, 10));
    queue.push(event(ENV, 11));
    let reports = everything(&mut queue);
    let (kept, rest) = reports.split_at(limits::COLLECT_EVENTS_MAX - 1);
    assert!(kept.iter().enumerate().all(|(n, report)| *report == event(ENV, n + 1)));
    let dropped = |env, count| {
        let error = format!("{count} events were dropped: the output is read too slowly");
        CollectReport::Error { env: Some(env), error }
    };
    assert_eq!(rest, [dropped(ENV, 2), dropped(OTHER, 1), event(ENV, 10), dropped(ENV, 1)]);
}

#[test]
fn the_bytes_of_events_and_of_disk_answers_are_bounded_too() {
    let mut queue = Queue::default();
    let text = format!("\"{}\"", "x".repeat(limits::COLLECT_EVENT_BYTES_MAX / 4));
    let big = RawJson::read(Bytes::from(text)).unwrap();
    for _ in 0..6 {
        queue.push(CollectReport::ContainerEvent { env: ENV, event: big.clone() });
    }
    assert!(queue.held.event_bytes <= limits::COLLECT_EVENT_BYTES_MAX);
    assert_eq!(everything(&mut queue).len(), 4, "three events and the count of the others");

    let large = limits::COLLECT_DISK_BYTES_MAX - 1;
    queue.push(disk(ENV, large));
    queue.push(disk(ENV, 10));
    queue.push(disk(OTHER, 11));
    assert_eq!(everything(&mut queue), [disk(ENV, 10), disk(OTHER, 11)], "the newest of each");
    queue.push(disk(ENV, large));
    queue.push(disk(OTHER, 10));
    let reports = everything(&mut queue);
    assert_eq!(reports.len(), 2);
    assert!(matches!(&reports[1], CollectReport::Error { env: Some(OTHER), .. }), "{reports:?}");
}

#[test]
fn errors_are_bounded() {
    let mut queue = Queue::default();
    for _ in 0..limits::COLLECT_ERRORS_MAX + 5 {
        queue.push(CollectReport::Error { env: None, error: "configure: no".into() });
    }
    assert_eq!(everything(&mut queue).len(), limits::COLLECT_ERRORS_MAX);
    assert_eq!(queue.held.errors, 0);
}

#[test]
fn nothing_of_a_forgotten_environment_is_left() {
    let mut queue = Queue::default();
    for env in [ENV, OTHER] {
        queue.push(status(env, true));
        queue.push(metrics(env, 1));
        queue.push(event(env, 1));
        queue.push(disk(env, 10));
        queue.push(CollectReport::Error { env: Some(env), error: "e".into() });
    }
    queue.forget(ENV);
    let left = everything(&mut queue);
    assert_eq!(left.len(), 5);
    assert!(left.iter().all(|report| report.env() == Some(OTHER)), "{left:?}");
    let held = &queue.held;
    assert_eq!((held.events, held.event_bytes, held.disk_bytes, held.errors), (0, 0, 0, 0));
    assert!(queue.slots.is_empty() && queue.gaps.is_empty());
}
