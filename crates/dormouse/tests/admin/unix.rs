//! The admin side on a unix socket: for its owner alone, without a token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use dormouse::api::AdminListener;
use dormouse::client::{Address, Call, Client};
use dormouse::config::{AdminToken, Listen, Scope, Secret};
use dormouse_store::MemoryStore;
use dormouse_wire::Workload;
use tokio::net::UnixListener;

use crate::house::{FILE, House};

fn client(path: &Path) -> Client {
    Client::new(Address::Unix(path.to_owned()), None).unwrap()
}

#[tokio::test]
async fn a_unix_socket_needs_no_token_and_is_its_owners_alone() {
    let token = AdminToken { token: Secret::new("t"), scope: Scope::Admin };
    let house = House::of(FILE, vec![token], Arc::new(MemoryStore::default())).await;
    let mode = std::fs::metadata(&house.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let call = Call::get("/api/v1/workloads");
    let (_, workloads): (_, Vec<Workload>) = client(&house.socket).call(call).await.unwrap();
    assert_eq!(workloads.len(), 3);
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced_and_one_that_lives_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below").join("dormouse.sock");
    let listen = Listen::Unix(path.clone());
    let first = AdminListener::bind(&listen).await.unwrap();
    assert!(AdminListener::bind(&listen).await.is_err());
    drop(first);
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = AdminListener::bind(&listen).await.unwrap();
    drop(second);
    std::fs::write(&path, "not a socket").unwrap();
    assert!(AdminListener::bind(&listen).await.is_err());
    assert!(path.exists());
}
