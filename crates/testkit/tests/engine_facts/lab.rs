//! A place to check facts: containers of one test, in the fake engine or in the real one, behind
//! one plain client of the API.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dormouse_testkit::engine::{ContainerSpec, FakeEngine, RawAnswer, RawClient};
use dormouse_testkit::images::{Image, RealEngine};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test's corner of an engine.
pub(crate) struct Lab {
    pub(crate) client: RawClient,
    engine: Engine,
    prefix: String,
    /// Short name to id, in the order of creation.
    ids: Mutex<BTreeMap<String, String>>,
}

enum Engine {
    Fake(FakeEngine),
    Real(RealEngine),
}

impl Lab {
    pub(crate) async fn fake() -> Self {
        let engine = FakeEngine::docker().await;
        Self::new(RawClient::new(engine.socket()), Engine::Fake(engine))
    }

    /// Nothing where the machine has no engine.
    pub(crate) async fn real() -> Option<Self> {
        let engine = RealEngine::of_machine().await?;
        Some(Self::new(engine.client().clone(), Engine::Real(engine)))
    }

    fn new(client: RawClient, engine: Engine) -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let serial = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dormouse-facts-{}-{serial}-", std::process::id());
        Self { client, engine, prefix, ids: Mutex::default() }
    }

    /// Whether others use the same engine.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Real(_))
    }

    /// What the engine calls the container `short`.
    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    pub(crate) async fn image(&self) -> String {
        match &self.engine {
            Engine::Fake(_) => "fake:latest".to_owned(),
            Engine::Real(engine) => engine.ensure(&Image::busybox().unwrap()).await.unwrap(),
        }
    }

    /// Creates a container and answers its id.
    pub(crate) async fn create(&self, spec: ContainerSpec) -> String {
        let short = spec.name.clone();
        let spec = ContainerSpec { name: self.name(&short), ..spec };
        let id = match &self.engine {
            Engine::Fake(engine) => engine.by_hand().create(spec).unwrap(),
            Engine::Real(engine) => engine.create_busybox(&spec).await.unwrap(),
        };
        self.ids.lock().unwrap().insert(short, id.clone());
        id
    }

    pub(crate) async fn running(&self, spec: ContainerSpec) -> String {
        let short = spec.name.clone();
        let id = self.create(spec).await;
        assert_eq!(self.post(&short, "start").await, 204);
        self.settled(&short).await;
        id
    }

    /// Lets a shell reach its `trap`: a signal before that would end it in the wrong way.
    async fn settled(&self, short: &str) {
        if self.is_shared() {
            sleep(Duration::from_millis(60)).await;
        }
        assert!(self.ids.lock().unwrap().contains_key(short));
    }

    pub(crate) async fn answer(&self, short: &str, act: &str) -> RawAnswer {
        self.client.post(&format!("/containers/{}/{act}", self.name(short))).await.unwrap()
    }

    pub(crate) async fn post(&self, short: &str, act: &str) -> u16 {
        self.answer(short, act).await.status
    }

    pub(crate) fn spawn_post(&self, short: &str, act: &str) -> JoinHandle<u16> {
        let (client, path) = (self.client.clone(), self.name(short));
        let path = format!("/containers/{path}/{act}");
        tokio::spawn(async move { client.post(&path).await.unwrap().status })
    }

    pub(crate) async fn delete(&self, short: &str, query: &str) -> RawAnswer {
        self.client.delete(&format!("/containers/{}{query}", self.name(short))).await.unwrap()
    }

    pub(crate) async fn inspect(&self, short: &str) -> Value {
        let path = format!("/containers/{}/json", self.name(short));
        self.client.read(&path).await.unwrap().json()
    }

    pub(crate) async fn state(&self, short: &str) -> Value {
        self.inspect(short).await["State"].clone()
    }

    /// Waits for a state and answers it.
    pub(crate) async fn until(&self, short: &str, is: impl Fn(&Value) -> bool) -> Value {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let state = self.state(short).await;
            if is(&state) {
                return state;
            }
            assert!(Instant::now() < give_up_at, "{short} stays {state}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn eventually(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let give_up_at = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < give_up_at, "not true in time: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn said(&self, short: &str, action: &str) {
        let what = format!("{short} has said {action}");
        let said = async || self.actions(short).await.iter().any(|it| it == action);
        self.eventually(&what, said).await;
    }

    /// What the engine remembers of the containers whose short name was given, by id, so that a
    /// rename loses nothing.
    pub(crate) async fn events(&self, short: &str) -> Vec<Value> {
        let wanted = self.id_of(short).await;
        let filters = format!(r#"{{"container":["{wanted}"],"type":["container"]}}"#);
        self.replay(1, &filters).await
    }

    pub(crate) async fn actions(&self, short: &str) -> Vec<String> {
        actions(&self.events(short).await)
    }

    pub(crate) async fn actions_since(&self, short: &str, since_ns: u64) -> Vec<String> {
        let wanted = self.id_of(short).await;
        let filters = format!(r#"{{"container":["{wanted}"],"type":["container"]}}"#);
        actions(&self.replay(since_ns, &filters).await)
    }

    /// The remembered events from a moment on.
    pub(crate) async fn replay(&self, since_ns: u64, filters: &str) -> Vec<Value> {
        let (seconds, rest) = (since_ns / 1_000_000_000, since_ns % 1_000_000_000);
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/events?since={seconds}.{rest:09}&until={until}&filters={filters}");
        let answer = self.client.read(&path).await.unwrap();
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Short names and states of this lab's containers, in the order of the listing.
    pub(crate) async fn listed(&self, query: &str) -> Vec<(String, String)> {
        let answer = self.client.read(&format!("/containers/json?limit=0{query}")).await.unwrap();
        let entries = answer.json();
        let own = |entry: &Value| {
            let name = entry["Names"][0].as_str()?.trim_start_matches('/');
            let short = name.strip_prefix(&self.prefix)?;
            Some((short.to_owned(), entry["State"].as_str()?.to_owned()))
        };
        entries.as_array().unwrap().iter().filter_map(own).collect()
    }

    async fn id_of(&self, short: &str) -> String {
        let known = self.ids.lock().unwrap().get(short).cloned();
        match known {
            Some(id) => id,
            None => self.inspect(short).await["Id"].as_str().unwrap().to_owned(),
        }
    }
}

fn actions(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["Action"].as_str().unwrap().to_owned()).collect()
}
