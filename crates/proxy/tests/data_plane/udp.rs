//! UDP flows: the first datagrams, changed upstreams, bounds and ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dormouse_core::failure::{Denial, Failure, FailureKind};
use dormouse_core::limits::UDP_WAITING_DATAGRAMS_MAX;
use dormouse_proxy::{Proxy, ProxySettings, UdpDropped, UdpListener, UdpRoute, UdpSite};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{FakeGatekeeper, Gate, soon, until};

/// A data plane with one UDP listener, which leads to one gate.
struct Plane {
    address: SocketAddr,
    gate: Arc<Gate>,
    route: UdpRoute<Arc<Gate>>,
    proxy: Proxy<FakeGatekeeper>,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

fn site(gate: &Arc<Gate>, silence: Duration) -> UdpSite<Arc<Gate>> {
    let (key, workload) = (Arc::clone(gate), "test/app".into());
    UdpSite { key, workload, port: 80, silence, bytes_max: 1 << 20 }
}

impl Plane {
    async fn new() -> Self {
        Self::with("127.0.0.1:0", Duration::from_secs(60)).await
    }

    async fn with(at: &str, silence: Duration) -> Self {
        let gate = Arc::<Gate>::default();
        let route = UdpRoute::new(site(&gate, silence));
        let proxy = Proxy::new(Arc::new(FakeGatekeeper), ProxySettings::default());
        let listener = UdpListener::bind(at.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn({
            let (proxy, route, shutdown) = (proxy.clone(), route.clone(), shutdown.clone());
            async move { proxy.serve_udp(listener, route, shutdown).await }
        });
        Self { address, gate, route, proxy, shutdown, served }
    }

    fn dropped(&self, why: UdpDropped) -> u64 {
        let counters = self.proxy.counters();
        counters.udp_dropped.read().into_iter().find(|(it, _)| *it == why).unwrap().1
    }

    fn dropped_in_all(&self) -> u64 {
        self.proxy.counters().udp_dropped.read().iter().map(|(_, count)| count).sum()
    }

    /// A client that speaks to the listener alone.
    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }
}

async fn app() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let (length, from) = soon(socket.recv_from(&mut buffer)).await.unwrap();
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), from)
}

async fn send_numbers(client: &UdpSocket, numbers: std::ops::Range<usize>) {
    for n in numbers {
        client.send(n.to_string().as_bytes()).await.unwrap();
    }
}

async fn expect_numbers(app: &UdpSocket, numbers: std::ops::Range<usize>) -> SocketAddr {
    let mut peer = None;
    for n in numbers {
        let (text, from) = receive(app).await;
        assert_eq!(text, n.to_string());
        assert_eq!(*peer.get_or_insert(from), from, "one flow is one peer");
    }
    peer.unwrap()
}

#[tokio::test]
async fn the_first_datagrams_wait_for_the_gate_and_arrive_in_order() {
    let plane = Plane::new().await;
    let (app, client) = (app().await, plane.client().await);
    send_numbers(&client, 0..50).await;
    until("the flow waits", || plane.gate.waits() == 1).await;
    assert_eq!(plane.gate.leases(), 0);
    send_numbers(&client, 50..100).await;
    plane.gate.open(app.local_addr().unwrap());
    let peer = expect_numbers(&app, 0..100).await;
    assert_eq!((plane.gate.waits(), plane.gate.leases()), (0, 1));

    app.send_to(b"welcome", peer).await.unwrap();
    assert_eq!(receive(&client).await, ("welcome".into(), plane.address));
    send_numbers(&client, 100..120).await;
    assert_eq!(expect_numbers(&app, 100..120).await, peer);
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn every_client_has_a_flow_and_answers_of_its_own() {
    const CLIENTS: usize = 50;
    let plane = Plane::new().await;
    let app = app().await;
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let client = plane.client().await;
        client.send(n.to_string().as_bytes()).await.unwrap();
        clients.push(client);
    }
    until("all wait", || plane.gate.waits() == CLIENTS as i64).await;
    plane.gate.open(app.local_addr().unwrap());
    for _ in 0..CLIENTS {
        let (text, from) = receive(&app).await;
        app.send_to(format!("{text}!").as_bytes(), from).await.unwrap();
    }
    for (n, client) in clients.iter().enumerate() {
        assert_eq!(receive(client).await.0, format!("{n}!"));
    }
    assert_eq!(plane.gate.leases(), CLIENTS as i64);
}

#[tokio::test]
async fn a_workload_that_listens_late_gets_every_datagram_once_and_in_order() {
    let plane = Plane::new().await;
    let reserved = app().await;
    let upstream = reserved.local_addr().unwrap();
    drop(reserved);
    plane.gate.open(upstream);
    let clients = [plane.client().await, plane.client().await];
    for client in &clients {
        send_numbers(client, 0..20).await;
    }
    until("both flows are admitted", || plane.gate.leases() == 2).await;
    // Long enough for some refusals; the test holds however many there are.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let app = UdpSocket::bind(upstream).await.unwrap();
    let mut of_peer: std::collections::BTreeMap<SocketAddr, Vec<String>> = Default::default();
    for _ in 0..40 {
        let (text, from) = receive(&app).await;
        of_peer.entry(from).or_default().push(text);
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(of_peer.into_values().collect::<Vec<_>>(), [expected.clone(), expected]);
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn a_changed_address_closes_no_listener_and_the_flow_goes_on() {
    let plane = Plane::new().await;
    let client = plane.client().await;
    for round in 0..5 {
        let app = app().await;
        plane.gate.open(app.local_addr().unwrap());
        let peer = expect_sent(&client, &app, round * 10..round * 10 + 10).await;
        app.send_to(b"from here", peer).await.unwrap();
        assert_eq!(receive(&client).await.0, "from here");
        plane.gate.shut();
        if round % 2 == 0 {
            // The first datagrams of the next round wait.
            send_numbers(&client, round * 10 + 10..round * 10 + 11).await;
            until("the flow asks again", || plane.gate.waits() == 1).await;
            assert_eq!(plane.gate.leases(), 0, "who waits has no lease");
            let next = self::app().await;
            plane.gate.open(next.local_addr().unwrap());
            expect_numbers(&next, round * 10 + 10..round * 10 + 11).await;
        }
    }
    assert!(!plane.served.is_finished());
    assert_eq!(plane.gate.leases(), 1);
    assert_eq!(plane.dropped_in_all(), 0);
}

async fn expect_sent(
    client: &UdpSocket,
    app: &UdpSocket,
    numbers: std::ops::Range<usize>,
) -> SocketAddr {
    send_numbers(client, numbers.clone()).await;
    expect_numbers(app, numbers).await
}

#[tokio::test]
async fn a_gate_that_shuts_for_a_moment_keeps_the_flows_peer() {
    let plane = Plane::new().await;
    let (app, client) = (app().await, plane.client().await);
    plane.gate.open(app.local_addr().unwrap());
    let peer = expect_sent(&client, &app, 0..3).await;
    let upstream = plane.gate.shut_for_now();
    send_numbers(&client, 3..6).await;
    until("the flow asks again", || plane.gate.waits() == 1).await;
    plane.gate.reopen(upstream);
    assert_eq!(expect_numbers(&app, 3..6).await, peer);
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn an_app_that_went_away_is_asked_for_again() {
    let plane = Plane::new().await;
    let (first, client) = (app().await, plane.client().await);
    let upstream = first.local_addr().unwrap();
    plane.gate.open(upstream);
    expect_sent(&client, &first, 0..3).await;
    drop(first);
    // This one is refused, or tells so of itself: it may be lost as any datagram may.
    client.send(b"x").await.unwrap();
    until("the refusal is noticed", || {
        client.try_send(b"x").ok();
        plane.gate.asked() > 1
    })
    .await;
    let second = UdpSocket::bind(upstream).await.unwrap();
    send_numbers(&client, 7..9).await;
    loop {
        let (text, _) = receive(&second).await;
        if text == "7" {
            break;
        }
        assert_eq!(text, "x");
    }
    expect_numbers(&second, 8..9).await;
    assert_eq!(plane.gate.leases(), 1);
}

#[tokio::test]
async fn a_failed_wake_drops_what_waited_and_forgets_the_flow() {
    let plane = Plane::new().await;
    let client = plane.client().await;
    send_numbers(&client, 0..5).await;
    until("the flow waits", || plane.gate.waits() == 1).await;
    let failure = Failure::new(FailureKind::NeverReady, "no");
    plane.gate.deny(Denial { failure, retry_after: Duration::from_secs(1) });
    until("they are counted", || plane.dropped(UdpDropped::Denied) == 5).await;
    assert_eq!((plane.gate.waits(), plane.gate.leases()), (0, 0));

    let app = app().await;
    plane.gate.open(app.local_addr().unwrap());
    expect_sent(&client, &app, 7..9).await;
}

#[tokio::test]
async fn what_waits_is_bounded_and_the_oldest_is_kept() {
    let plane = Plane::new().await;
    let (app, client) = (app().await, plane.client().await);
    let sent = UDP_WAITING_DATAGRAMS_MAX + 7;
    send_numbers(&client, 0..sent).await;
    until("seven did not fit", || plane.dropped(UdpDropped::QueueFull) == 7).await;
    plane.gate.open(app.local_addr().unwrap());
    expect_numbers(&app, 0..UDP_WAITING_DATAGRAMS_MAX).await;
    expect_sent(&client, &app, sent..sent + 3).await;
    assert_eq!(plane.dropped_in_all(), 7);
}

#[tokio::test]
async fn silence_ends_a_flow_and_a_word_of_either_side_puts_it_off() {
    const SILENCE: Duration = Duration::from_millis(600);
    let plane = Plane::with("127.0.0.1:0", SILENCE).await;
    let (app, client) = (app().await, plane.client().await);
    plane.gate.open(app.local_addr().unwrap());
    let mut peer = expect_sent(&client, &app, 0..1).await;
    let asked = plane.gate.asked();
    for word in 1..12 {
        tokio::time::sleep(SILENCE / 6).await;
        if word % 2 == 0 {
            app.send_to(b"still here", peer).await.unwrap();
            receive(&client).await;
        } else {
            peer = expect_sent(&client, &app, word..word + 1).await;
        }
    }
    assert_eq!(plane.gate.asked(), asked, "it was one flow for twice its silence");
    until("silence has ended it", || plane.gate.leases() == 0).await;
    expect_sent(&client, &app, 20..22).await;
    assert_eq!(plane.gate.leases(), 1);
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn a_listener_that_leads_elsewhere_takes_its_clients_along() {
    let plane = Plane::new().await;
    let (one, other, client) = (app().await, app().await, plane.client().await);
    plane.gate.open(one.local_addr().unwrap());
    expect_sent(&client, &one, 0..3).await;
    let gate = Arc::<Gate>::default();
    plane.route.lead_to(site(&gate, Duration::from_secs(60)));
    send_numbers(&client, 3..4).await;
    until("the other is wanted", || gate.waits() == 1).await;
    until("the one is let go", || plane.gate.leases() == 0).await;
    gate.open(other.local_addr().unwrap());
    expect_numbers(&other, 3..4).await;
    expect_sent(&client, &other, 4..6).await;
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn the_end_of_a_listener_ends_all_of_its_flows() {
    let plane = Plane::new().await;
    let client = plane.client().await;
    send_numbers(&client, 0..3).await;
    until("the flow waits", || plane.gate.waits() == 1).await;
    plane.shutdown.cancel();
    let Plane { served, gate, proxy, address, .. } = plane;
    soon(served).await.unwrap().unwrap();
    assert_eq!((gate.waits(), gate.leases()), (0, 0));
    let ended = proxy.counters().udp_dropped.read();
    assert!(ended.contains(&(UdpDropped::Ended, 3)), "{ended:?}");
    UdpListener::bind(address).expect("the address is free again");
}

#[tokio::test]
async fn the_largest_and_the_smallest_datagrams_pass_both_ways() {
    let plane = Plane::new().await;
    let (app, client) = (app().await, plane.client().await);
    plane.gate.open(app.local_addr().unwrap());
    for length in [65_507, 0, 1472, 1473, 1] {
        let text = "x".repeat(length);
        client.send(text.as_bytes()).await.unwrap();
        let (received, peer) = receive(&app).await;
        assert_eq!(received.len(), length);
        app.send_to(text.as_bytes(), peer).await.unwrap();
        assert_eq!(receive(&client).await.0.len(), length);
    }
    assert_eq!(plane.dropped_in_all(), 0);
}

#[tokio::test]
async fn a_port_that_the_workload_does_not_have_is_counted() {
    let plane = Plane::new().await;
    let client = plane.client().await;
    plane.route.lead_to(UdpSite { port: 81, ..site(&plane.gate, Duration::from_secs(60)) });
    plane.gate.open("127.0.0.1:9".parse().unwrap());
    send_numbers(&client, 0..1).await;
    until("it is counted", || plane.dropped(UdpDropped::Unreachable) == 1).await;
    until("the flow is forgotten", || plane.gate.leases() == 0).await;
}

#[tokio::test]
async fn what_the_system_drops_before_it_is_received_is_counted_too() {
    const SENT: u64 = 50_000;
    let plane = Plane::new().await;
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Nobody receives meanwhile: this runtime has one thread.
    for _ in 0..SENT {
        client.send_to(b"x", plane.address).unwrap();
    }
    let failure = Failure::new(FailureKind::NeverReady, "no");
    plane.gate.deny(Denial { failure, retry_after: Duration::from_secs(1) });
    until("the room is empty again, and the next one tells", || {
        client.send_to(b"x", plane.address).unwrap();
        plane.dropped(UdpDropped::Overrun) > 0
    })
    .await;
    assert!(plane.dropped(UdpDropped::Overrun) < SENT);
}

/// A machine has many addresses, and a client takes answers only from the one it wrote to.
#[tokio::test]
async fn answers_come_from_the_address_that_the_client_wrote_to() {
    let mut listeners = vec![("0.0.0.0:0", vec!["127.0.0.1", "127.0.0.2", "127.9.8.7"])];
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        listeners.push(("[::]:0", vec!["127.0.0.1", "127.0.0.2", "::1"]));
    }
    for (at, written_to) in listeners {
        let plane = Plane::with(at, Duration::from_secs(60)).await;
        let app = app().await;
        plane.gate.open(app.local_addr().unwrap());
        for to in written_to {
            let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), plane.address.port());
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let client = UdpSocket::bind(any).await.unwrap();
            client.send_to(b"hello", to).await.unwrap();
            let (_, peer) = receive(&app).await;
            app.send_to(b"hello yourself", peer).await.unwrap();
            assert_eq!(receive(&client).await, ("hello yourself".into(), to), "at {at}");
        }
        assert_eq!(plane.dropped_in_all(), 0);
    }
}
