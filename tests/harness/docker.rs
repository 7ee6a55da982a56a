//! The machine's engine, as one test sees it: containers of its own, every call that dormouse made,
//! and everything that the engine says happened to them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dormouse_testkit::door::{Door, Hold};
use dormouse_testkit::engine::{Call, ContainerSpec, RawClient, RawLines};
use dormouse_testkit::images::RealEngine;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{PATIENCE, eventually_some, testapp};

/// The label by which a test knows its own containers.
const OWNER: &str = "test.dormouse.owner";
/// Where the test application listens.
const PORT: u16 = 8080;

/// One test's corner of the machine's engine. Its containers are removed when it is dropped.
pub(crate) struct Docker {
    /// For everything that has no method here.
    pub(crate) engine: RealEngine,
    door: Door,
    prefix: String,
    image: String,
    history: Arc<Mutex<Vec<Happening>>>,
    _listener: JoinSet<()>,
}

/// A container of the test application.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// What the test calls it; its workload and its hostname, `NAME.test`, are named so.
    pub(crate) short: String,
    /// What the engine calls it.
    pub(crate) name: String,
    /// What the engine knows it by.
    pub(crate) id: String,
}

/// Something that the engine said about a container.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    /// The engine's word: `create`, `start`, `die`, `destroy`, …
    pub(crate) action: String,
    /// When, by the machine's clock.
    pub(crate) at: SystemTime,
    /// The container's name.
    pub(crate) name: String,
}

impl Docker {
    /// Nothing where the machine has no engine and needs none.
    pub(crate) async fn of_machine() -> Option<Self> {
        Some(Self::on(RealEngine::of_machine().await?).await)
    }

    /// A corner of any engine.
    pub(crate) async fn on(engine: RealEngine) -> Self {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let serial = TESTS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dormouse-story-{}-{serial}-", std::process::id());
        let image = engine.ensure(testapp::image()).await.unwrap();
        let door = Door::before(engine.socket()).unwrap();
        let history = Arc::default();
        let mut listener = JoinSet::new();
        let events = listen(engine.client(), &prefix).await.unwrap();
        listener.spawn(keep(events, Arc::clone(&history)));
        Self { engine, door, prefix, image, history, _listener: listener }
    }

    /// Where dormouse should look for the engine: every call there is recorded.
    pub(crate) fn socket(&self) -> &Path {
        self.door.socket()
    }

    /// The engine as the environment `local`, whose labels mean nothing.
    pub(crate) fn environment(&self) -> String {
        let socket = self.socket().display();
        format!("[environment.local]\ndocker = \"unix://{socket}\"\nlabels = false\n")
    }

    /// The engine as the environment `local`, whose labels define workloads.
    pub(crate) fn environment_with_labels(&self) -> String {
        let socket = self.socket().display();
        format!("[environment.local]\ndocker = \"unix://{socket}\"\nlabels = true\n")
    }

    /// Creates a container of the test application. A knob is an env var of it, such as
    /// `START_DELAY_MS=200`.
    pub(crate) async fn app(&self, short: &str, knobs: &[&str]) -> App {
        self.create(short, self.spec(short, knobs)).await
    }

    /// What [`Self::app`] creates, to be changed before it is created.
    pub(crate) fn spec(&self, short: &str, knobs: &[&str]) -> ContainerSpec {
        let mut spec = ContainerSpec::named(&format!("{}{short}", self.prefix)).exposing(PORT);
        spec.image.clone_from(&self.image);
        spec.command = vec!["/app".to_owned(), format!("MARK={short}")];
        spec.command.extend(knobs.iter().map(|knob| (*knob).to_owned()));
        spec.label(OWNER, &self.prefix)
    }

    /// Creates a container as it is described.
    pub(crate) async fn create(&self, short: &str, spec: ContainerSpec) -> App {
        let id = self.engine.create(&spec).await.unwrap();
        App { short: short.to_owned(), name: spec.name, id }
    }

    /// Every call that dormouse made at the engine, oldest first, since they were last forgotten.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.door.calls()
    }

    /// Holds back every call of one operation that dormouse makes, for as long as the answer lives.
    pub(crate) fn hold(&self, op: &str) -> Hold {
        self.door.hold(op)
    }

    /// Counts from here on.
    pub(crate) fn forget_calls(&self) {
        self.door.forget();
    }

    /// How often dormouse has asked the engine for one operation on a container: `start`, `stop`,
    /// `pause`, `unpause`, `kill`.
    pub(crate) fn calls_of(&self, app: &App, op: &str) -> usize {
        self.calls().iter().filter(|call| app.is_meant_by(call) && call.op == op).count()
    }

    /// When dormouse last asked for an operation on a container.
    pub(crate) fn last_call_of(&self, app: &App, op: &str) -> Option<SystemTime> {
        let calls = self.calls();
        let last = calls.iter().rfind(|call| app.is_meant_by(call) && call.op == op)?;
        Some(SystemTime::now() - last.at.elapsed())
    }

    /// What the engine has said of a container so far, also of earlier ones of the same name.
    pub(crate) fn happened(&self, app: &App) -> Vec<Happening> {
        let history = self.history.lock().unwrap();
        history.iter().filter(|it| it.name == app.name).cloned().collect()
    }

    /// How often the engine has said `action` of a container.
    pub(crate) fn times(&self, app: &App, action: &str) -> usize {
        self.happened(app).iter().filter(|it| it.action == action).count()
    }

    /// Waits until the engine has said `action` of a container for the `nth` time, from 1, and
    /// answers when it was.
    pub(crate) async fn said(&self, app: &App, action: &str, nth: usize) -> SystemTime {
        self.said_within(PATIENCE, app, action, nth).await
    }

    /// The same with another deadline.
    pub(crate) async fn said_within(
        &self,
        deadline: Duration,
        app: &App,
        action: &str,
        nth: usize,
    ) -> SystemTime {
        let what = format!("{} has said {action}, {nth} times", app.name);
        let look = async || {
            let happened = self.happened(app);
            let mut moments = happened.iter().filter(|it| it.action == action).map(|it| it.at);
            moments.nth(nth - 1)
        };
        eventually_some(deadline, &what, look).await
    }

    /// The engine's word for the state of a container, such as `exited`.
    pub(crate) async fn state(&self, app: &App) -> String {
        let inspect = self.engine.inspect(&app.name).await.unwrap();
        inspect["State"]["Status"].as_str().unwrap_or_default().to_owned()
    }
}

impl App {
    /// Its hostname.
    pub(crate) fn host(&self) -> String {
        format!("{}.test", self.short)
    }

    fn is_meant_by(&self, call: &Call) -> bool {
        call.container.as_ref().is_some_and(|it| *it == self.name || *it == self.id)
    }

    /// Its section of a configuration; `keys` are further lines.
    pub(crate) fn workload(&self, keys: &str) -> String {
        let Self { short, name, .. } = self;
        format!(
            "[workload.{short}]\ntarget = \"local/{name}\"\nhosts = [\"{short}.test\"]\n\
             port = {PORT}\n{keys}\n"
        )
    }
}

/// Subscribes to what happens to the containers of one test: nothing is missed from here on, and
/// the engine's short memory does not matter.
async fn listen(client: &RawClient, owner: &str) -> io::Result<RawLines> {
    let filters = format!(r#"{{"type":["container"],"label":["{OWNER}={owner}"]}}"#);
    let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
    client.lines(&format!("/events?filters={filters}")).await
}

async fn keep(mut events: RawLines, history: Arc<Mutex<Vec<Happening>>>) {
    while let Ok(Some(line)) = events.next().await {
        let event: Value = serde_json::from_slice(&line).unwrap();
        history.lock().unwrap().push(Happening::of(&event));
    }
}

impl Happening {
    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let at = Duration::from_nanos(event["timeNano"].as_u64().unwrap_or_default());
        Self {
            action: text(&event["Action"]),
            at: SystemTime::UNIX_EPOCH + at,
            name: text(&event["Actor"]["Attributes"]["name"]),
        }
    }
}
