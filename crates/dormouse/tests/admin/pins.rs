//! Pins over restarts.

use std::sync::Arc;
use std::time::Duration;

use dormouse_keeper::PinView;
use dormouse_store::{MemoryStore, Pin, Store, UnixMillis};
use dormouse_wire::Phase;
use http::Method;
use tokio::time::Instant;

use crate::house::{FILE, House, id, registry_of};

async fn until_unwritten(store: &MemoryStore) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !store.pins().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the pin is still written down");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_pin_survives_a_restart_and_one_that_was_taken_away_does_not() {
    let store = Arc::new(MemoryStore::default());
    let house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    for name in ["app", "db"] {
        let path = format!("/api/v1/workloads/{name}/pin");
        house.send(Method::PUT, &path, r#"{"for":"1h","reason":"kept"}"#).await.unwrap();
    }
    house.json(Method::DELETE, "/api/v1/workloads/db/pin").await;
    drop(house);
    let house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    let app = house.until("app", Phase::Ready).await;
    assert_eq!(app.pins[0].reason, "kept");
    let db = house.workload("db").await;
    assert_eq!((db.pins.len(), db.phase), (0, Phase::Asleep));
}

#[tokio::test]
async fn a_pin_that_ended_meanwhile_is_forgotten() {
    let store = Arc::new(MemoryStore::default());
    let pin = Pin { until: Some(UnixMillis(1)), reason: String::new(), made_at: UnixMillis(0) };
    store.save_pin(&id("app"), &pin).await.unwrap();
    let house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    assert!(house.workload("app").await.pins.is_empty());
    assert!(store.pins().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pin_that_ends_by_itself_is_crossed_out() {
    let store = Arc::new(MemoryStore::default());
    let house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    let order = r#"{"for":"100ms"}"#;
    house.send(Method::PUT, "/api/v1/workloads/app/pin", order).await.unwrap();
    assert_eq!(store.pins().await.unwrap().len(), 1);
    until_unwritten(&store).await;
    assert!(house.workload("app").await.pins.is_empty());
}

#[tokio::test]
async fn a_forced_sleep_ends_the_pin_for_good() {
    let store = Arc::new(MemoryStore::default());
    let house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    house.send(Method::PUT, "/api/v1/workloads/app/pin", "").await.unwrap();
    house.until("app", Phase::Ready).await;
    house.json(Method::POST, "/api/v1/workloads/app/sleep?force=true").await;
    house.until("app", Phase::Asleep).await;
    until_unwritten(&store).await;
    house.pins.restore().await.unwrap();
    assert!(house.workload("app").await.pins.is_empty());
}

#[tokio::test]
async fn the_pin_of_a_workload_that_comes_back_comes_back() {
    let store = Arc::new(MemoryStore::default());
    let mut house = House::of(FILE, Vec::new(), Arc::clone(&store) as Arc<_>).await;
    let pin = PinView { until_ms: None, reason: "kept".into() };
    assert!(house.pins.set(&id("app"), pin.clone()).await.unwrap());
    assert!(!house.pins.set(&id("nobody"), pin).await.unwrap());
    let without = FILE.split("[workload.app]").next().unwrap();
    house.apply(Arc::new(registry_of(without))).await;
    house.pins.restore().await.unwrap();
    assert_eq!(store.pins().await.unwrap().len(), 1);
    house.apply(Arc::new(registry_of(FILE))).await;
    house.pins.restore().await.unwrap();
    assert_eq!(house.workload("app").await.pins[0].reason, "kept");
}
