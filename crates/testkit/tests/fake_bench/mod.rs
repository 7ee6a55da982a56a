//! A fake engine with the provider that speaks to it, as a place for the conformance suite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_providers::docker::{DockerConfig, DockerEndpoint, DockerProvider};
use dormouse_providers::{Provider, StartOrder, Target};
use dormouse_testkit::conformance::{Bench, Disturbance, HandDeed, Kind, Setting};
use dormouse_testkit::engine::{
    ContainerSpec, EngineConfig, EventFaults, FakeEngine, Survivors, stock,
};

/// More than an obedient container takes to end.
const GRACE: Duration = Duration::from_secs(10);

/// A fake engine with the provider that speaks to it.
pub(crate) struct FakeBench {
    engine: FakeEngine,
    provider: Arc<dyn Provider>,
    serial: AtomicU32,
    specs: Mutex<BTreeMap<Target, ContainerSpec>>,
}

impl FakeBench {
    pub(crate) async fn with(config: EngineConfig) -> Self {
        let engine = FakeEngine::with(config).await;
        let endpoint = DockerEndpoint::parse(&engine.endpoint()).unwrap();
        let config = DockerConfig { endpoint, token: None, network: None };
        let provider = DockerProvider::new(config).unwrap();
        Self { engine, provider, serial: AtomicU32::new(0), specs: Mutex::default() }
    }

    async fn recreate(&self, name: &str) {
        let spec = self.specs.lock().unwrap()[&Target::new(name)].clone();
        // It may have been removed before.
        let _ = self.engine.by_hand().remove(name).await;
        self.engine.by_hand().create(spec).unwrap();
        self.engine.by_hand().start(name).await.unwrap();
    }
}

impl Bench for FakeBench {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.provider)
    }

    async fn set_up(&self, kind: Kind, setting: Setting) -> Option<Target> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{serial}");
        let target = Target::new(&name);
        let mut spec = match kind {
            Kind::Obedient => stock::obedient(&name),
            Kind::Deaf => stock::deaf(&name),
            Kind::Talkative => stock::talkative(&name),
        };
        spec.behaviour.start_delay = Duration::from_millis(20);
        spec = spec.exposing(8080);
        self.specs.lock().unwrap().insert(target.clone(), spec.clone());
        let hand = self.engine.by_hand();
        if setting == Setting::Absent {
            return Some(target);
        }
        hand.create(spec).unwrap();
        if setting != Setting::Created {
            hand.start(&name).await.unwrap();
        }
        match setting {
            Setting::Stopped => drop(hand.kill(&name, "KILL").await.unwrap()),
            Setting::Paused => drop(hand.pause(&name).await.unwrap()),
            Setting::Absent | Setting::Created | Setting::Running => {}
        }
        Some(target)
    }

    fn start_order(&self, _: &Target) -> StartOrder {
        StartOrder::default()
    }

    async fn by_hand(&self, target: &Target, deed: HandDeed) -> Option<()> {
        let (name, hand) = (target.as_str(), self.engine.by_hand());
        let outcome = match deed {
            HandDeed::Start => hand.start(name).await,
            HandDeed::Stop => hand.stop(name, GRACE).await,
            HandDeed::Kill => hand.kill(name, "KILL").await,
            HandDeed::HangUp => hand.kill(name, "HUP").await,
            HandDeed::Pause => hand.pause(name).await,
            HandDeed::Unpause => hand.unpause(name).await,
            HandDeed::Restart => hand.restart(name).await,
            HandDeed::Rename(new) => hand.rename(name, new.as_str()),
            HandDeed::Remove => hand.remove(name).await,
            HandDeed::Recreate => {
                self.recreate(name).await;
                Ok(true)
            }
        };
        outcome.unwrap();
        Some(())
    }

    async fn real_starts(&self, target: &Target) -> Option<usize> {
        Some(self.engine.starts(target.as_str()))
    }

    async fn disturb(&self, disturbance: Disturbance) -> Option<()> {
        match disturbance {
            Disturbance::CutEvents => self.engine.faults().cut_events(),
            Disturbance::KillRuntime => self.engine.kill().await,
            Disturbance::RestartRuntime => self.engine.restart(Survivors::Live).await,
            Disturbance::RestartRuntimeWithoutSurvivors => {
                self.engine.restart(Survivors::Die).await;
            }
            Disturbance::LoseEvents => {
                self.engine
                    .faults()
                    .set_events(EventFaults { lost: 1.0, ..EventFaults::default() });
            }
            Disturbance::GarbleEvents => self.engine.faults().set_events(EventFaults {
                seed: 7,
                doubled: 0.5,
                reordered: 0.3,
                delay: Duration::from_millis(30),
                garbage: 0.4,
                long: 0.1,
                ..EventFaults::default()
            }),
            Disturbance::Calm => self.engine.faults().set_events(EventFaults::default()),
        }
        Some(())
    }
}
