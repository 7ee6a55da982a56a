//! A place to try the Docker provider: one engine, fake or real, a hand that acts behind the
//! provider's back, and names that no other test uses.

#![expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::policy::Rest;
use dormouse_providers::docker::{DockerConfig, DockerEndpoint, DockerProvider};
use dormouse_providers::{
    Address, FeedItem, Found, Provider, ProviderError, RestOrder, Sighting, StartOrder, Target,
};
use dormouse_testkit::engine::{ContainerSpec, EngineConfig, FakeEngine, HandResult};
use dormouse_testkit::images::RealEngine;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One engine and one provider on it.
pub struct Place {
    pub engine: Engine,
    pub provider: Arc<DockerProvider>,
    prefix: String,
}

/// The engine, whichever it is.
pub enum Engine {
    Fake(FakeEngine),
    Real(RealEngine),
}

/// A subscription that is read item by item.
pub struct Feed(mpsc::Receiver<FeedItem>);

impl Place {
    pub async fn fake() -> Self {
        Self::on(Engine::Fake(FakeEngine::docker().await))
    }

    pub async fn podman() -> Self {
        Self::on(Engine::Fake(FakeEngine::podman().await))
    }

    pub async fn newest() -> Self {
        Self::on(Engine::Fake(FakeEngine::with(EngineConfig::docker_29()).await))
    }

    /// `None` where the machine has no engine and none is required.
    pub async fn real() -> Option<Self> {
        Some(Self::on(Engine::Real(RealEngine::of_machine().await?)))
    }

    fn on(engine: Engine) -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let serial = PLACES.fetch_add(1, Ordering::Relaxed);
        let socket = match &engine {
            Engine::Fake(engine) => engine.socket().to_path_buf(),
            Engine::Real(engine) => engine.socket().to_path_buf(),
        };
        let provider = provider_at(DockerEndpoint::Unix(socket));
        let prefix = format!("dormouse-docker-{}-{serial}-", std::process::id());
        Self { engine, provider, prefix }
    }

    pub fn as_fake(&self) -> &FakeEngine {
        match &self.engine {
            Engine::Fake(engine) => engine,
            Engine::Real(_) => panic!("only a fake engine can be told to misbehave"),
        }
    }

    pub fn target(&self, short: &str) -> Target {
        Target::new(&format!("{}{short}", self.prefix))
    }

    /// Creates the container; its name is made one of this place.
    pub async fn create(&self, spec: ContainerSpec) -> Target {
        let target = self.target(&spec.name);
        let spec = ContainerSpec { name: target.to_string(), ..spec };
        match &self.engine {
            Engine::Fake(engine) => drop(engine.by_hand().create(spec).unwrap()),
            Engine::Real(engine) => drop(engine.create_busybox(&spec).await.unwrap()),
        }
        target
    }

    /// Creates the container and has the provider start it.
    pub async fn running(&self, spec: ContainerSpec) -> Target {
        let target = self.create(spec).await;
        self.start(&target).await.unwrap();
        target
    }

    pub async fn start(&self, target: &Target) -> Result<Sighting, ProviderError> {
        self.provider.start(target, &StartOrder::default(), soon()).await
    }

    pub async fn rest(
        &self,
        target: &Target,
        rest: Rest,
        grace: Duration,
    ) -> Result<Sighting, ProviderError> {
        let order = RestOrder { rest, signal: None, grace };
        self.provider.rest(target, &order, soon()).await
    }

    pub async fn condition(&self, target: &Target) -> Condition {
        self.provider.observe(target, soon()).await.unwrap().condition
    }

    pub async fn addresses(&self, target: &Target) -> Vec<Address> {
        self.provider.observe(target, soon()).await.unwrap().addresses
    }

    pub fn follow(&self, targets: &[&Target]) {
        self.provider.follow(targets.iter().map(|target| (*target).clone()).collect());
    }

    pub fn feed(&self) -> Feed {
        Feed(self.provider.feed())
    }

    pub async fn start_by_hand(&self, target: &Target) {
        let name = target.as_str();
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().start(name).await),
            Engine::Real(engine) => engine.start(name).await.unwrap(),
        }
    }

    pub async fn stop_by_hand(&self, target: &Target) {
        let (name, grace) = (target.as_str(), Duration::from_secs(1));
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().stop(name, grace).await),
            Engine::Real(engine) => engine.stop(name, grace).await.unwrap(),
        }
    }

    pub async fn pause_by_hand(&self, target: &Target) {
        let name = target.as_str();
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().pause(name).await),
            Engine::Real(engine) => engine.pause(name).await.unwrap(),
        }
    }

    pub async fn unpause_by_hand(&self, target: &Target) {
        let name = target.as_str();
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().unpause(name).await),
            Engine::Real(engine) => engine.unpause(name).await.unwrap(),
        }
    }

    pub async fn kill_by_hand(&self, target: &Target, signal: &str) {
        let name = target.as_str();
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().kill(name, signal).await),
            Engine::Real(engine) => engine.kill(name, signal).await.unwrap(),
        }
    }

    pub async fn rename_by_hand(&self, target: &Target, new: &Target) {
        let (name, new) = (target.as_str(), new.as_str());
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().rename(name, new)),
            Engine::Real(engine) => engine.rename(name, new).await.unwrap(),
        }
    }

    pub async fn remove_by_hand(&self, target: &Target) {
        let name = target.as_str();
        match &self.engine {
            Engine::Fake(engine) => said(engine.by_hand().remove(name).await),
            Engine::Real(engine) => engine.remove(name).await.unwrap(),
        }
    }
}

/// Having nothing to do is fine; a refusal is not.
fn said(result: HandResult) {
    result.map(drop).unwrap();
}

impl Feed {
    pub async fn next(&mut self) -> FeedItem {
        let item = timeout(PATIENCE, self.0.recv()).await;
        item.expect("the feed says something in time").expect("a feed never ends")
    }

    /// Reads a whole listing, which must come next but for changes and losses.
    pub async fn resync(&mut self) -> Vec<Found> {
        while self.next().await != FeedItem::Resync {}
        let mut listed = Vec::new();
        loop {
            match self.next().await {
                FeedItem::Listed(found) => listed.push(found),
                FeedItem::ResyncDone => return listed,
                other => panic!("{other:?} is no part of a listing"),
            }
        }
    }

    /// The next news of that target, in a change or in a listing.
    pub async fn news(&mut self, target: &Target) -> Found {
        self.news_of_any(&[target]).await
    }

    /// The next news of any of them.
    pub async fn news_of_any(&mut self, targets: &[&Target]) -> Found {
        loop {
            match self.next().await {
                FeedItem::Changed(found) | FeedItem::Listed(found)
                    if targets.contains(&&found.target) =>
                {
                    return found;
                }
                FeedItem::Resync
                | FeedItem::Listed(_)
                | FeedItem::ResyncDone
                | FeedItem::Changed(_)
                | FeedItem::Lost { .. } => {}
            }
        }
    }

    /// Waits until the target is seen in such a condition.
    pub async fn until(&mut self, target: &Target, is: impl Fn(Condition) -> bool) -> Found {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let found = self.news(target).await;
            if is(found.sighting.condition) {
                return found;
            }
            assert!(Instant::now() < give_up_at, "{target} stays {:?}", found.sighting.condition);
        }
    }

    pub async fn until_lost(&mut self) -> String {
        loop {
            if let FeedItem::Lost { reason } = self.next().await {
                return reason;
            }
        }
    }

    /// Everything that has arrived by now.
    pub fn arrived(&mut self) -> Vec<FeedItem> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

pub fn provider_at(endpoint: DockerEndpoint) -> Arc<DockerProvider> {
    DockerProvider::new(DockerConfig { endpoint, token: None, network: None }).unwrap()
}

/// A deadline that only a hang misses.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until something is so.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let give_up_at = Instant::now() + PATIENCE;
    while !is().await {
        assert!(Instant::now() < give_up_at, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn is_running(condition: Condition) -> bool {
    matches!(condition, Condition::Running { .. })
}

pub fn is_paused(condition: Condition) -> bool {
    matches!(condition, Condition::Paused { .. })
}

pub fn is_stopped(condition: Condition) -> bool {
    matches!(condition, Condition::Stopped { .. })
}

pub fn is_absent(condition: Condition) -> bool {
    condition == Condition::Absent
}

pub fn targets(listing: &[Found]) -> BTreeSet<&str> {
    listing.iter().map(|found| found.target.as_str()).collect()
}
