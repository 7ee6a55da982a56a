//! One suite for every store: what each of them promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::{RunId, Unused, WorkloadId};

use crate::{MemoryStore, Pin, SqliteStore, Store, UnixMillis};

/// A test for each promise and each store.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(Arc::new(MemoryStore::new())).await;
            })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $promise() {
                let folder = tempfile::tempdir().unwrap();
                let store = SqliteStore::open(&folder.path().join("dormouse.db")).await.unwrap();
                super::$promise(Arc::new(store)).await;
            })*
        }
    };
}

promises! {
    a_new_store_is_empty
    a_pin_comes_back_as_it_was
    a_later_pin_replaces_the_earlier
    a_removed_pin_is_gone_and_may_be_removed_again
    what_goes_unused_replaces_what_was_said_before
    what_went_unused_is_taken_once
    a_forgotten_workload_leaves_nothing_and_others_stay
    odd_names_and_reasons_come_back_as_they_were
    the_ends_of_time_fit
    writers_do_not_lose_each_others_words
}

fn id(name: &str) -> WorkloadId {
    WorkloadId::parse(&format!("local/{name}")).unwrap()
}

fn millis(millis: u64) -> Unused {
    Unused { run: RunId(u64::MAX - 1), period: Duration::from_millis(millis) }
}

fn pin(reason: &str) -> Pin {
    Pin { until: Some(UnixMillis(2_000)), reason: reason.into(), made_at: UnixMillis(1_000) }
}

async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    assert_eq!(store.pins().await.unwrap(), BTreeMap::new());
    assert_eq!(store.take_unused().await.unwrap(), BTreeMap::new());
}

async fn a_pin_comes_back_as_it_was(store: Arc<dyn Store>) {
    let endless = Pin { until: None, ..pin("for ever") };
    store.save_pin(&id("a"), &pin("demo")).await.unwrap();
    store.save_pin(&id("b"), &endless).await.unwrap();
    let expected = BTreeMap::from([(id("a"), pin("demo")), (id("b"), endless)]);
    assert_eq!(store.pins().await.unwrap(), expected);
}

async fn a_later_pin_replaces_the_earlier(store: Arc<dyn Store>) {
    store.save_pin(&id("a"), &pin("first")).await.unwrap();
    let second = Pin { until: None, reason: "second".into(), made_at: UnixMillis(3) };
    store.save_pin(&id("a"), &second).await.unwrap();
    assert_eq!(store.pins().await.unwrap(), [(id("a"), second)].into());
}

async fn a_removed_pin_is_gone_and_may_be_removed_again(store: Arc<dyn Store>) {
    store.save_pin(&id("a"), &pin("demo")).await.unwrap();
    store.save_pin(&id("b"), &pin("stays")).await.unwrap();
    store.remove_pin(&id("a")).await.unwrap();
    store.remove_pin(&id("a")).await.unwrap();
    assert_eq!(store.pins().await.unwrap(), [(id("b"), pin("stays"))].into());
}

async fn what_goes_unused_replaces_what_was_said_before(store: Arc<dyn Store>) {
    let both = BTreeMap::from([(id("a"), millis(9)), (id("b"), millis(5))]);
    store.remember_unused(&both).await.unwrap();
    let one = BTreeMap::from([(id("a"), millis(7))]);
    store.remember_unused(&one).await.unwrap();
    assert_eq!(store.take_unused().await.unwrap(), one);
}

async fn what_went_unused_is_taken_once(store: Arc<dyn Store>) {
    store.save_pin(&id("a"), &pin("stays")).await.unwrap();
    store.remember_unused(&[(id("a"), millis(1))].into()).await.unwrap();
    assert_eq!(store.take_unused().await.unwrap(), [(id("a"), millis(1))].into());
    assert_eq!(store.take_unused().await.unwrap(), BTreeMap::new());
    assert_eq!(store.pins().await.unwrap().len(), 1);
}

async fn a_forgotten_workload_leaves_nothing_and_others_stay(store: Arc<dyn Store>) {
    for name in ["a", "b"] {
        store.save_pin(&id(name), &pin(name)).await.unwrap();
    }
    store.remember_unused(&[(id("a"), millis(1)), (id("b"), millis(1))].into()).await.unwrap();
    store.forget(&id("a")).await.unwrap();
    store.forget(&id("never-known")).await.unwrap();
    assert_eq!(store.pins().await.unwrap(), [(id("b"), pin("b"))].into());
    assert_eq!(store.take_unused().await.unwrap(), [(id("b"), millis(1))].into());
}

async fn odd_names_and_reasons_come_back_as_they_were(store: Arc<dyn Store>) {
    let odd = "'; DROP TABLE pin; -- \" \\ \r\n \u{1F42D} \u{0}/x";
    store.save_pin(&id(odd), &pin(odd)).await.unwrap();
    store.remember_unused(&[(id(odd), millis(1))].into()).await.unwrap();
    assert_eq!(store.pins().await.unwrap(), [(id(odd), pin(odd))].into());
    assert_eq!(store.take_unused().await.unwrap(), [(id(odd), millis(1))].into());
}

async fn the_ends_of_time_fit(store: Arc<dyn Store>) {
    let last = UnixMillis(i64::MAX as u64);
    let ends = Pin { until: Some(last), reason: String::new(), made_at: UnixMillis(0) };
    store.save_pin(&id("a"), &ends).await.unwrap();
    let longest = millis(i64::MAX as u64);
    store.remember_unused(&[(id("a"), longest)].into()).await.unwrap();
    assert_eq!(store.pins().await.unwrap(), [(id("a"), ends)].into());
    assert_eq!(store.take_unused().await.unwrap(), [(id("a"), longest)].into());
}

async fn writers_do_not_lose_each_others_words(store: Arc<dyn Store>) {
    let writers = (0..20).map(|n| {
        let store = Arc::clone(&store);
        async move {
            let name = id(&n.to_string());
            store.save_pin(&name, &pin("p")).await.unwrap();
            store.remember_unused(&[(name, millis(n))].into()).await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(store.pins().await.unwrap().len(), 20);
    assert_eq!(store.take_unused().await.unwrap().len(), 1);
}
