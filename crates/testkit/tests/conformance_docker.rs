//! The Docker provider against the machine's own engine. Skipped, with a notice, where there is
//! none, unless `DORMOUSE_TEST_DOCKER=required`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dormouse_providers::docker::{DockerConfig, DockerEndpoint, DockerProvider};
use dormouse_providers::{Provider, StartOrder, Target};
use dormouse_testkit::conformance::{Bench, Disturbance, HandDeed, Kind, Setting};
use dormouse_testkit::engine::{ContainerSpec, stock};
use dormouse_testkit::images::RealEngine;
use tokio::time::{Instant, sleep};

/// How long a shell may take to set its traps.
const TRAPS_MAX: Duration = Duration::from_secs(20);
/// More than an obedient container takes to end.
const GRACE: Duration = Duration::from_secs(10);

/// The machine's engine with the provider that speaks to it.
struct DockerBench {
    engine: RealEngine,
    provider: Arc<DockerProvider>,
    prefix: String,
    /// When this bench was opened: what was started before is not ours.
    opened: SystemTime,
    serial: AtomicU32,
    specs: Mutex<BTreeMap<Target, ContainerSpec>>,
}

impl DockerBench {
    async fn of_machine() -> Option<Self> {
        static BENCHES: AtomicU32 = AtomicU32::new(0);
        let engine = RealEngine::of_machine().await?;
        let endpoint = format!("unix://{}", engine.socket().display());
        let endpoint = DockerEndpoint::parse(&endpoint).unwrap();
        let config = DockerConfig { endpoint, token: None, network: None };
        let bench = BENCHES.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            engine,
            provider: DockerProvider::new(config).unwrap(),
            prefix: format!("dormouse-bench-{}-{bench}-", std::process::id()),
            opened: SystemTime::now(),
            serial: AtomicU32::new(0),
            specs: Mutex::default(),
        })
    }

    async fn create(&self, target: &Target) {
        let spec = self.specs.lock().unwrap()[target].clone();
        self.engine.create_busybox(&spec).await.unwrap();
    }

    /// Starts it, and waits until its shell has set its traps: it says so.
    async fn start(&self, target: &Target) {
        self.engine.start(target.as_str()).await.unwrap();
        let give_up_at = Instant::now() + TRAPS_MAX;
        while !self.is_set(target).await {
            assert!(Instant::now() < give_up_at, "{target} does not set its traps");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the program has come to its loop, which is seen by its having a child.
    async fn is_set(&self, target: &Target) -> bool {
        let path = format!("/containers/{target}/top");
        let processes = self.engine.client().read(&path).await.unwrap().json();
        processes["Processes"].as_array().is_some_and(|all| all.len() > 1)
    }
}

impl Bench for DockerBench {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider) as Arc<dyn Provider>
    }

    async fn set_up(&self, kind: Kind, setting: Setting) -> Option<Target> {
        let name = format!("{}{}", self.prefix, self.serial.fetch_add(1, Ordering::Relaxed));
        let target = Target::new(&name);
        let spec = match kind {
            Kind::Obedient => stock::obedient(&name),
            Kind::Deaf => stock::deaf(&name),
            Kind::Talkative => stock::talkative(&name),
        };
        self.specs.lock().unwrap().insert(target.clone(), spec.exposing(8080));
        if setting == Setting::Absent {
            return Some(target);
        }
        self.create(&target).await;
        if setting != Setting::Created {
            self.start(&target).await;
        }
        match setting {
            Setting::Stopped => self.engine.kill(&name, "KILL").await.unwrap(),
            Setting::Paused => self.engine.pause(&name).await.unwrap(),
            Setting::Absent | Setting::Created | Setting::Running => {}
        }
        Some(target)
    }

    fn start_order(&self, _: &Target) -> StartOrder {
        StartOrder::default()
    }

    async fn by_hand(&self, target: &Target, deed: HandDeed) -> Option<()> {
        let (name, engine) = (target.as_str(), &self.engine);
        match deed {
            HandDeed::Start => engine.start(name).await.unwrap(),
            HandDeed::Stop => engine.stop(name, GRACE).await.unwrap(),
            HandDeed::Kill => engine.kill(name, "KILL").await.unwrap(),
            HandDeed::HangUp => engine.kill(name, "HUP").await.unwrap(),
            HandDeed::Pause => engine.pause(name).await.unwrap(),
            HandDeed::Unpause => engine.unpause(name).await.unwrap(),
            HandDeed::Restart => engine.restart(name).await.unwrap(),
            HandDeed::Rename(new) => engine.rename(name, new.as_str()).await.unwrap(),
            HandDeed::Remove => engine.remove(name).await.unwrap(),
            HandDeed::Recreate => {
                // It may have been removed before.
                let _ = engine.remove(name).await;
                self.create(target).await;
                self.start(target).await;
            }
        }
        Some(())
    }

    async fn real_starts(&self, target: &Target) -> Option<usize> {
        Some(self.engine.starts_since(self.opened, target.as_str()).await.unwrap())
    }

    async fn disturb(&self, _: Disturbance) -> Option<()> {
        None
    }
}

dormouse_testkit::conformance_tests!(DockerBench::of_machine);
