//! Watches with closures as probes and hooks, on a clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_core::watch::{Policy, Settings, State};
use dormouse_keeper::watch::{Change, Manager, Spec, Watch};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

/// Time that passes at once: the clock of these tests moves when nobody has anything to do.
const LONG: Duration = Duration::from_secs(3600);

/// A service that a test takes down and brings up.
#[derive(Clone, Default)]
struct Service {
    is_up: Arc<AtomicBool>,
    probes: Arc<AtomicU32>,
}

impl Service {
    fn up() -> Self {
        let service = Self::default();
        service.set(true);
        service
    }

    fn set(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::SeqCst);
    }

    fn probes(&self) -> u32 {
        self.probes.load(Ordering::SeqCst)
    }

    fn spec(&self, name: &str) -> Spec {
        let service = self.clone();
        Spec::new(name, move || {
            service.probes.fetch_add(1, Ordering::SeqCst);
            let is_up = service.is_up.load(Ordering::SeqCst);
            async move { if is_up { Ok(()) } else { Err("connection refused") } }
        })
    }
}

async fn until(watch: &Watch, state: State) {
    let mut changes = watch.changes();
    let reached = changes.wait_for(|status| status.state == state);
    timeout(LONG, reached).await.expect("the state comes").unwrap();
}

fn policy(settings: Settings) -> Policy {
    settings.validated().unwrap()
}

#[tokio::test(start_paused = true)]
async fn startup_probes_come_on_schedule_and_then_it_polls() {
    let began = Instant::now();
    let times: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&times);
    let manager = Manager::new();
    let watch = manager.watch(Spec::new("absent", move || {
        seen.lock().unwrap().push(began.elapsed().as_secs());
        async { Err::<(), _>("connection refused") }
    }));
    let watch = watch.unwrap();
    until(&watch, State::Down).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let times = times.lock().unwrap().clone();
    assert_eq!(times, [0, 2, 6, 14, 30, 62, 122, 182, 242, 302, 362]);
    let status = watch.status();
    assert_eq!(status.failures, 11);
    assert_eq!(status.last_error.as_deref(), Some("connection refused"));
    assert!(!watch.is_ready());
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_order_on_transitions_only_and_never_because_of_a_stop() {
    let service = Service::up();
    let (tell, mut told) = mpsc::channel(64);
    let hook = |word: &'static str| {
        let tell = tell.clone();
        move |change: Change| {
            let tell = tell.clone();
            async move {
                // The first takes longer than the transitions that follow it.
                tokio::time::sleep(Duration::from_secs(10)).await;
                tell.send((word, change.from, change.to)).await.unwrap();
            }
        }
    };
    let manager = Manager::new();
    let spec = service.spec("db").on_ready(hook("ready")).on_down(hook("down"));
    let watch = manager.watch(spec).unwrap();
    until(&watch, State::Up).await;
    service.set(false);
    watch.report_failure("reset by peer");
    until(&watch, State::Down).await;
    service.set(true);
    watch.kick();
    until(&watch, State::Up).await;
    for expected in [
        ("ready", State::Pending, State::Up),
        ("down", State::Up, State::Down),
        ("ready", State::Down, State::Up),
    ] {
        assert_eq!(timeout(LONG, told.recv()).await.unwrap(), Some(expected));
    }
    // Many polls that change nothing tell nothing.
    tokio::time::sleep(LONG).await;
    service.set(false);
    watch.stop().await;
    assert!(told.try_recv().is_err());
    assert_eq!(watch.status().state, State::Up);
    assert_eq!(watch.status().next_check_unix_ms, None);
}

#[tokio::test(start_paused = true)]
async fn a_fall_takes_two_failures_and_a_reported_one_is_the_first() {
    let service = Service::up();
    let manager = Manager::new();
    let watch = manager.watch(service.spec("db")).unwrap();
    until(&watch, State::Up).await;
    // Callers may be wrong: the probe that follows decides.
    let before = service.probes();
    watch.report_failure("reset by peer");
    let mut changes = watch.changes();
    let forgiven = changes.wait_for(|status| status.failures == 0 && service.probes() > before);
    timeout(LONG, forgiven).await.unwrap().unwrap();
    assert!(watch.is_ready());
    service.set(false);
    let began = Instant::now();
    watch.report_failure("reset by peer");
    until(&watch, State::Down).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(watch.last_error().as_deref(), Some("connection refused"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_ends_is_abandoned_and_has_failed() {
    let dropped = Arc::new(AtomicU32::new(0));
    struct Counts(Arc<AtomicU32>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = Arc::clone(&dropped);
    let manager = Manager::new();
    let watch = manager.watch(Spec::new("silent", move || {
        let mark = Counts(Arc::clone(&count));
        async move {
            let _mark = mark;
            std::future::pending::<Result<(), &str>>().await
        }
    }));
    let watch = watch.unwrap();
    until(&watch, State::Down).await;
    assert_eq!(watch.last_error().as_deref(), Some("no answer within 10s"));
    assert_eq!(dropped.load(Ordering::SeqCst), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_blocks_its_thread_is_not_waited_for() {
    let release = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let hold = Arc::clone(&release);
    let quick = Settings {
        probe_timeout: Duration::from_millis(20),
        max_retries: 1,
        ..Settings::default()
    };
    let manager = Manager::new();
    let spec = Spec::new("stuck", move || {
        let hold = Arc::clone(&hold);
        async move {
            let (free, freed) = &*hold;
            drop(freed.wait_while(free.lock().unwrap(), |free| !*free).unwrap());
            Ok::<(), &str>(())
        }
    });
    let watch = manager.watch(spec.policy(policy(quick))).unwrap();
    until(&watch, State::Down).await;
    assert_eq!(watch.last_error().as_deref(), Some("no answer within 20ms"));
    *release.0.lock().unwrap() = true;
    release.1.notify_all();
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_probe_or_in_a_hook_is_a_failure_and_the_watch_goes_on() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let (tell, mut told) = mpsc::channel(4);
    let manager = Manager::new();
    let spec = Spec::new("shaky", move || {
        let call = count.fetch_add(1, Ordering::SeqCst);
        // One panics before its future is made, one within it.
        assert!(call != 0, "the first is not made");
        async move {
            assert!(call != 1, "the second {}", "does not run");
            if call < 4 { Ok(()) } else { Err("gone") }
        }
    });
    let spec =
        spec.on_ready(|_| async { panic!("this hook always does") }).on_down(move |change| {
            let tell = tell.clone();
            async move { tell.send(change.error).await.unwrap() }
        });
    let watch = manager.watch(spec).unwrap();
    let mut errors = Vec::new();
    let mut changes = watch.changes();
    while errors.len() < 2 {
        changes.changed().await.unwrap();
        let error = changes.borrow_and_update().last_error.clone();
        if let Some(error) = error.filter(|error| errors.last() != Some(error)) {
            errors.push(error);
        }
    }
    assert_eq!(&*errors[0], "the probe panicked: the first is not made");
    assert_eq!(&*errors[1], "the probe panicked: the second does not run");
    // The hook of the rise panics; that of the fall runs all the same.
    let fallen = timeout(LONG, told.recv()).await.unwrap().unwrap();
    assert_eq!(fallen.as_deref(), Some("gone"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_never_ends_is_given_up_for_the_next_one() {
    let service = Service::up();
    let (tell, mut told) = mpsc::channel(4);
    let manager = Manager::new();
    let spec = service.spec("db").on_ready(|_| std::future::pending()).on_down(move |_| {
        let tell = tell.clone();
        async move { tell.send(Instant::now()).await.unwrap() }
    });
    let watch = manager.watch(spec).unwrap();
    until(&watch, State::Up).await;
    let began = Instant::now();
    service.set(false);
    watch.report_failure("gone");
    // The loop does not wait for the hook.
    until(&watch, State::Down).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    let at = timeout(LONG, told.recv()).await.unwrap().unwrap();
    assert!(at - began >= Duration::from_secs(29), "{:?}", at - began);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_flaps_faster_than_its_hook_keeps_a_bound_and_the_last_word() {
    let service = Service::up();
    let (tell, mut told) = mpsc::channel(256);
    let gate = Arc::new(Notify::new());
    let hook = |held: bool| {
        let (tell, gate) = (tell.clone(), Arc::clone(&gate));
        move |change: Change| {
            let (tell, gate) = (tell.clone(), Arc::clone(&gate));
            async move {
                if held && change.from == State::Pending {
                    gate.notified().await;
                }
                tell.send(change.to).await.unwrap();
            }
        }
    };
    let quick = Settings { fall: 1, probe_timeout: Duration::from_secs(1), ..Settings::default() };
    let manager = Manager::new();
    let spec = service.spec("flaps").on_ready(hook(true)).on_down(hook(false));
    let watch = manager.watch(spec.policy(policy(quick))).unwrap();
    until(&watch, State::Up).await;
    for _ in 0..30 {
        service.set(false);
        watch.kick();
        until(&watch, State::Down).await;
        service.set(true);
        watch.kick();
        until(&watch, State::Up).await;
    }
    service.set(false);
    watch.kick();
    until(&watch, State::Down).await;
    gate.notify_one();
    let mut words = Vec::new();
    while let Ok(Some(word)) = timeout(Duration::from_secs(60), told.recv()).await {
        words.push(word);
    }
    assert!(words.len() <= 18, "{} hooks ran", words.len());
    assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
    assert_eq!(words.last(), Some(&State::Down));
}

#[tokio::test(start_paused = true)]
async fn a_second_watch_of_a_name_replaces_and_stops_the_first() {
    let (first, second) = (Service::up(), Service::default());
    let (tell, mut told) = mpsc::channel(8);
    let manager = Manager::new();
    let spec = first.spec("db").on_down({
        let tell = tell.clone();
        move |_| {
            let tell = tell.clone();
            async move { tell.send("the first went down").await.unwrap() }
        }
    });
    let old = manager.watch(spec).unwrap();
    until(&old, State::Up).await;
    let new = manager.watch(second.spec("db")).unwrap();
    timeout(LONG, old.wait()).await.unwrap();
    let probes = first.probes();
    until(&new, State::Down).await;
    assert_eq!(first.probes(), probes);
    assert!(told.try_recv().is_err());
    let status = manager.status();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0], new.status());
    assert!(!manager.find("db").unwrap().is_ready());
}

#[tokio::test(start_paused = true)]
async fn all_are_stopped_in_parallel_and_waited_for() {
    let service = Service::up();
    let finished = Arc::new(AtomicU32::new(0));
    let manager = Manager::new();
    let mut watches = Vec::new();
    for number in 0..50 {
        let finished = Arc::clone(&finished);
        let spec = service.spec(&format!("service-{number}")).on_ready(move |_| {
            let finished = Arc::clone(&finished);
            async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                finished.fetch_add(1, Ordering::SeqCst);
            }
        });
        watches.push(manager.watch(spec).unwrap());
    }
    for watch in &watches {
        until(watch, State::Up).await;
    }
    let began = Instant::now();
    manager.stop_all().await;
    assert_eq!(finished.load(Ordering::SeqCst), 50);
    assert!(began.elapsed() <= Duration::from_secs(21), "{:?}", began.elapsed());
    assert_eq!(manager.status(), []);
    let probes = service.probes();
    tokio::time::sleep(LONG).await;
    assert_eq!(service.probes(), probes);
}

#[tokio::test(start_paused = true)]
async fn watches_end_with_their_manager() {
    let service = Service::up();
    let manager = Manager::new();
    let watch = manager.watch(service.spec("db")).unwrap();
    until(&watch, State::Up).await;
    drop(manager);
    timeout(LONG, watch.wait()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_replaced_again_and_again_leaves_one_task() {
    let service = Service::up();
    let manager = Manager::new();
    let mut last = None;
    for _ in 0..200 {
        last = Some(manager.watch(service.spec("db")).unwrap());
    }
    until(&last.unwrap(), State::Up).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive, 1);
}

/// Readers of a status see one moment: what belongs together never comes apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_never_torn() {
    let service = Service::up();
    let manager = Manager::new();
    let quick = Settings {
        fall: 1,
        initial_delay: Duration::from_millis(1),
        poll_interval: Duration::from_millis(20),
        ..Settings::default()
    };
    let watch = manager.watch(service.spec("db").policy(policy(quick))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (watch, stop) = (watch.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut reads = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                let status = watch.status();
                assert_eq!(status.failures > 0, status.last_error.is_some(), "{status:?}");
                assert!(status.state != State::Up || status.failures == 0, "{status:?}");
                assert!(status.last_check_unix_ms.is_none_or(|at| at >= status.since_unix_ms));
                reads += 1;
            }
            reads
        })
    };
    for _ in 0..5 {
        service.set(false);
        watch.kick();
        timeout(Duration::from_secs(20), until(&watch, State::Down)).await.unwrap();
        service.set(true);
        timeout(Duration::from_secs(20), until(&watch, State::Up)).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    assert!(reader.join().unwrap() > 0);
}
