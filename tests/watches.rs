//! Services are watched: as the file says, with hooks that are told, and from a shell.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod harness;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dormouse_testkit::engine::{ContainerSpec, FakeEngine, Fault, RawClient, Rule};
use dormouse_testkit::private_engine::{LiveRestore, PrivateEngine};
use dormouse_wire::{EnvironmentState, HealthStatus, Phase, Watch, WatchChange, WatchState};
use harness::client::{fetch, get};
use harness::house::{House, free_address};
use harness::testapp::DORMOUSE;
use harness::{PATIENCE, cli, eventually, eventually_some};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A pace at which a test need not wait.
const BRISK: &str = "initial_delay = \"20ms\"\nmax_delay = \"100ms\"\npoll_interval = \"100ms\"\n";

/// More than death or return may take to be seen on a busy machine. Without the signals of callers
/// and of the feed it would take until the next check or poll, which come later than this.
const SEEN_MAX: Duration = Duration::from_secs(5);

/// A web server that a test starts and ends.
struct Service {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Service {
    async fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = service_fn(|_: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("API running.")))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { address, serving }
    }

    async fn end(self) -> SocketAddr {
        self.serving.abort();
        let _ = self.serving.await;
        self.address
    }
}

/// Somebody who wants to know: where, and what was heard.
async fn listener() -> (SocketAddr, Arc<Mutex<Vec<WatchChange>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard: Arc<Mutex<Vec<WatchChange>>> = Arc::default();
    let sink = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sink = Arc::clone(&sink);
            let answer = service_fn(move |request: Request<Incoming>| {
                let sink = Arc::clone(&sink);
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    sink.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    (address, heard)
}

async fn until(house: &House, name: &str, state: WatchState) -> Watch {
    eventually_some(PATIENCE, &format!("{name} is {}", state.as_str()), async || {
        let watches = house.admin.watches().await;
        watches.into_iter().find(|watch| watch.name == name && watch.state == state)
    })
    .await
}

async fn metric(house: &House, series: &str) -> Option<String> {
    let address = house.admin.address();
    let page = fetch(address, get(&address.to_string(), "/metrics")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    page.lines().find_map(|line| Some(line.strip_prefix(series)?.trim().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_followed_and_whoever_wants_is_told() {
    let (hook, heard) = listener().await;
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    let address = free_address();
    let script = "echo $DORMOUSE_WATCH $DORMOUSE_FROM $DORMOUSE_STATE >> $0";
    let house = House::start(&format!(
        "[watch.ha]\nprobe = \"http://{address}/api\"\nbody = \"running\"\nmax_retries = 1000\n\
         {BRISK}on_down = \"http://{hook}/notify\"\n\
         on_ready = {{ command = [\"sh\", \"-c\", \"{script}\", \"{}\"] }}\n",
        note.display()
    ))
    .await;
    let pending = until(&house, "ha", WatchState::Pending).await;
    assert!(!pending.ready);
    assert_eq!(pending.probe, format!("http://{address}/api"));
    assert_eq!(house.admin.health().await.status, HealthStatus::Degraded);
    assert_eq!(metric(&house, "dormouse_watch_up{watch=\"ha\"}").await.as_deref(), Some("0"));

    let service = Service::start(address).await;
    let up = until(&house, "ha", WatchState::Up).await;
    assert!(up.ready && up.last_check.is_some() && up.next_check.is_some());
    assert_eq!((up.failures, up.last_error), (0, None));
    let health = house.admin.health().await;
    assert_eq!(health.status, HealthStatus::Ok);
    assert!(health.services["ha"].ready);
    assert_eq!(metric(&house, "dormouse_watch_up{watch=\"ha\"}").await.as_deref(), Some("1"));

    service.end().await;
    let down = until(&house, "ha", WatchState::Down).await;
    assert!(down.failures >= 2, "{down:?}");
    assert!(down.last_error.unwrap().contains("refused"));
    // Whoever restarts dormouse by this check must not do so because something else is down.
    let health = house.admin.health().await;
    assert_eq!(health.status, HealthStatus::Degraded);
    assert!(health.services["ha"].last_error.is_some());
    eventually(PATIENCE, "the fall is told", async || !heard.lock().unwrap().is_empty()).await;
    let told = heard.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].watch.as_str(), told[0].from), ("ha", WatchState::Up));
    assert_eq!(told[0].state, WatchState::Down);
    assert!(told[0].error.as_deref().unwrap().contains("refused"));

    let _service = Service::start(address).await;
    let noted = "ha pending up\nha down up\n";
    let both = async || std::fs::read_to_string(&note).is_ok_and(|text| text == noted);
    eventually(PATIENCE, "both rises are noted", both).await;
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_restarts_what_has_changed_and_keeps_the_rest() {
    let (hook, heard) = listener().await;
    let service = Service::start(free_address()).await;
    let address = service.address;
    let watch = |name: &str, path: &str| {
        format!(
            "[watch.{name}]\nprobe = \"http://{address}{path}\"\n{BRISK}\
             on_down = \"http://{hook}/\"\n"
        )
    };
    let (kept, gone) = (watch("kept", "/"), watch("gone", "/"));
    let mut house = House::start(&[&kept[..], &gone, &watch("moved", "/")].join("\n")).await;
    for name in ["kept", "gone", "moved"] {
        until(&house, name, WatchState::Up).await;
    }
    let since = until(&house, "kept", WatchState::Up).await.since;
    house.rewrite(&[&kept[..], &watch("moved", "/elsewhere"), &watch("fresh", "/")].join("\n"));
    until(&house, "fresh", WatchState::Up).await;
    let moved = until(&house, "moved", WatchState::Up).await;
    assert!(moved.probe.ends_with("/elsewhere"), "{}", moved.probe);
    assert_eq!(until(&house, "kept", WatchState::Up).await.since, since);
    let names: Vec<String> = house.admin.watches().await.into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["fresh", "kept", "moved"]);
    // A broken file changes nothing.
    house.rewrite("[watch.kept]\nprobe = \"nonsense\"\n");
    let refused = async || house.log().iter().any(|line| line.contains("the file has errors"));
    eventually(PATIENCE, "the broken file is refused", refused).await;
    assert_eq!(until(&house, "kept", WatchState::Up).await.since, since);
    assert!(house.end().await.success());
    // Neither being replaced, nor being forgotten, nor the end takes a service down.
    assert_eq!(*heard.lock().unwrap(), []);
}

#[tokio::test]
async fn a_shell_learns_by_one_probe_whether_services_are_reached() {
    let service = Service::start(free_address()).await;
    let (up, down) = (format!("http://{}", service.address), format!("tcp://{}", free_address()));
    let outcome = cli::dormouse(&["watch", "--once", &up]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("up"));
    let outcome = cli::dormouse(&["watch", "--once", "--json", &up, &down, &up]).await;
    assert_eq!(outcome.code, Some(1));
    let watches: Vec<Watch> = serde_json::from_str(&outcome.stdout).unwrap();
    let states: Vec<WatchState> = watches.iter().map(|watch| watch.state).collect();
    assert_eq!(states, [WatchState::Up, WatchState::Down]);
    assert!(watches[1].last_error.as_deref().unwrap().contains("refused"));
    let outcome = cli::dormouse(&["watch", "--once", "--body", "stopped", &up]).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stdout.contains("has no \"stopped\""), "{}", outcome.stdout);
    let outcome = cli::dormouse(&["watch", "--once", "--status", "204", &up]).await;
    assert_eq!(outcome.code, Some(1));
    for nonsense in
        [&["watch", "db:5432"][..], &["watch", "--once"], &["watch", "--rise", "0", &up]]
    {
        let outcome = cli::dormouse(nonsense).await;
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_shell_follows_services_until_somebody_presses_ctrl_c() {
    let service = Service::start(free_address()).await;
    let target = format!("tcp://{}", service.address);
    let mut command = Command::new(DORMOUSE);
    command.args(["watch", "--json", "--every", "50ms", &target]).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> WatchChange {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let first = next().await;
    assert_eq!((first.watch, first.from), (target, WatchState::Pending));
    assert_eq!(first.state, WatchState::Up);
    let address = service.end().await;
    let fall = next().await;
    assert_eq!((fall.from, fall.state), (WatchState::Up, WatchState::Down));
    assert!(fall.error.unwrap().contains("refused"));
    let _service = Service::start(address).await;
    assert_eq!(next().await.state, WatchState::Up);
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_target_the_watches_of_a_running_dormouse_are_listed() {
    let service = Service::start(free_address()).await;
    let house =
        House::start(&format!("[watch.web]\nprobe = \"tcp://{}\"\n", service.address)).await;
    until(&house, "web", WatchState::Up).await;
    let url = house.admin.url();
    let outcome = cli::dormouse(&["watch", "--url", &url]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let line = outcome.stdout.lines().nth(1).unwrap();
    assert!(line.starts_with("web   up"), "{line}");
    let outcome = cli::dormouse(&["watch", "--json", "--url", &url]).await;
    let watches: Vec<Watch> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(watches.len(), 1);
    let outcome = cli::dormouse(&["watch", "--url", &format!("http://{}", free_address())]).await;
    assert_eq!(outcome.code, Some(6));
}

async fn environment(house: &House, wanted: EnvironmentState) -> Duration {
    let began = Instant::now();
    eventually(SEEN_MAX, &format!("the environment is {}", wanted.as_str()), async || {
        house.admin.environments().await.iter().all(|environment| environment.state == wanted)
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_is_a_reason_to_doubt_the_whole_environment() {
    let engine = FakeEngine::docker().await;
    engine.by_hand().create(ContainerSpec::named("app")).unwrap();
    let house = House::start(&format!(
        "[environment.fake]\ndocker = \"{}\"\n[workload.app]\ntarget = \"fake/app\"\n",
        engine.endpoint()
    ))
    .await;
    house.admin.until("app", Phase::Asleep).await;
    environment(&house, EnvironmentState::Up).await;
    // Every connection but that of the events, which stays silent, ends without an answer: the
    // next check of the feed is seconds away.
    engine.faults().add(Rule::any(Fault::Drop));
    let asked = Instant::now();
    house.admin.call("POST", "/api/v1/workloads/app/wake", "").await;
    environment(&house, EnvironmentState::Down).await;
    println!("the failed call had the environment found down after {:?}", asked.elapsed());
    assert!(house.admin.health().await.services["fake"].last_error.is_some());
    engine.faults().clear();
    let back = environment(&house, EnvironmentState::Up).await;
    println!("it was found up again after {back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engines_death_and_return_are_seen_at_once() {
    let Some(mut engine) = PrivateEngine::of_machine(LiveRestore::Off) else { return };
    let house = House::start(&format!(
        "[environment.private]\ndocker = \"unix://{}\"\n",
        engine.socket().display()
    ))
    .await;
    environment(&house, EnvironmentState::Up).await;
    engine.kill();
    let seen = environment(&house, EnvironmentState::Down).await;
    println!("the engine's death was seen after {seen:?}");
    assert_eq!(
        metric(&house, "dormouse_environment_up{environment=\"private\"}").await.unwrap(),
        "0"
    );
    engine.restart().unwrap();
    answers(&engine.socket()).await;
    let seen = environment(&house, EnvironmentState::Up).await;
    println!("its return was seen {seen:?} after its first answer");
}

/// Waits until an engine answers a ping.
async fn answers(socket: &Path) {
    let client = RawClient::new(socket);
    let answers = async || client.read("/_ping").await.is_ok_and(|answer| answer.status == 200);
    eventually(PATIENCE, "the engine answers", answers).await;
}
