//! What thousands of silent UDP flows take. Memory is the whole process's, so this test is alone in
//! its own.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "../data_plane/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "this needs only a part of what the other tests stand on"
)]
mod support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use dormouse_proxy::{Proxy, ProxySettings, UdpListener, UdpRoute, UdpSite};
use tokio_util::sync::CancellationToken;

use crate::support::{FakeGatekeeper, Gate, until};

/// One socket is ours, the other the client's.
const FLOWS: usize = 4_000;
/// Clients of one address.
const OF_ADDRESS: usize = 500;
const EACH_KIB_MAX: f64 = 4.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_that_are_silent_keep_no_buffers() {
    let gate = Arc::<Gate>::default();
    let route = UdpRoute::new(UdpSite {
        key: Arc::clone(&gate),
        workload: "test/app".into(),
        port: 80,
        silence: Duration::from_secs(600),
        bytes_max: 8 << 20,
    });
    let proxy = Proxy::new(Arc::new(FakeGatekeeper), ProxySettings::default());
    let listener = UdpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let app = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    gate.open(app.local_addr().unwrap());
    let serving = proxy.clone();
    let shutdown = CancellationToken::new();
    let end = shutdown.clone();
    let served = tokio::spawn(async move { serving.serve_udp(listener, route, end).await });

    let mut clients = Vec::with_capacity(FLOWS);
    let mut before_kib = 0;
    let mut buffer = [0; 2000];
    for n in 0..FLOWS {
        if n == OF_ADDRESS {
            before_kib = resident_kib();
        }
        let ours = format!("127.0.0.{}:0", 2 + n / OF_ADDRESS);
        let client = UdpSocket::bind(ours).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send_to(&[7; 1000], address).unwrap();
        let (length, peer) = app.recv_from(&mut buffer).await.unwrap();
        app.send_to(&buffer[..length], peer).await.unwrap();
        assert_eq!(tokio::task::block_in_place(|| client.recv(&mut buffer)).unwrap(), 1000);
        clients.push(client);
    }
    let flows = FLOWS - OF_ADDRESS;
    let each_kib = (resident_kib() - before_kib) as f64 / flows as f64;
    println!("{flows} silent flows, {each_kib:.1} KiB each");
    assert!(each_kib < EACH_KIB_MAX, "{each_kib} KiB for each silent flow");
    assert_eq!(gate.leases(), FLOWS as i64);
    shutdown.cancel();
    served.await.unwrap().unwrap();
    until("every flow is over", || gate.leases() == 0).await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
