//! Raw TCP: what was said first arrives first, an end of one way is no end of the other, and every
//! refusal is a reset.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dormouse_core::failure::{Denial, Failure, FailureKind};
use dormouse_proxy::{Held, Proxy, ProxySettings, SiteCounters, TcpEnds, TcpRoute, TcpSite};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{FakeGatekeeper, Gate, soon, until};

/// The port of the fake gatekeeper's upstreams.
const PORT: u16 = 80;

struct World {
    address: SocketAddr,
    gate: Arc<Gate>,
    counters: Arc<SiteCounters>,
    proxy: Proxy<FakeGatekeeper>,
    route: TcpRoute<Arc<Gate>>,
    ends: TcpEnds,
    served: JoinHandle<std::io::Result<()>>,
    /// The workload's own socket.
    app: TcpListener,
}

impl World {
    async fn new() -> Self {
        Self::with(ProxySettings::default(), |_| {}).await
    }

    async fn with(settings: ProxySettings, adapt: impl FnOnce(&mut TcpSite<Arc<Gate>>)) -> Self {
        let gate = Arc::<Gate>::default();
        let counters = Arc::<SiteCounters>::default();
        let mut site = site(&gate, &counters);
        adapt(&mut site);
        let proxy = Proxy::new(Arc::new(FakeGatekeeper), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (route, ends) = (TcpRoute::new(site), TcpEnds::default());
        let served = tokio::spawn({
            let (proxy, route, ends) = (proxy.clone(), route.clone(), ends.clone());
            async move { proxy.serve_tcp(listener, route, ends).await }
        });
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address, gate, counters, proxy, route, ends, served, app }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn open(&self) {
        self.gate.open(self.app.local_addr().unwrap());
    }

    /// The next connection that the workload gets.
    async fn accept(&self) -> TcpStream {
        soon(self.app.accept()).await.unwrap().0
    }

    /// A client and the workload's end of its connection.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client().await;
        (client, self.accept().await)
    }
}

fn site(gate: &Arc<Gate>, counters: &Arc<SiteCounters>) -> TcpSite<Arc<Gate>> {
    TcpSite {
        key: Arc::clone(gate),
        workload: "test/app".into(),
        port: PORT,
        held: Held::default(),
        connection_idle: None,
        counters: Arc::clone(counters),
    }
}

fn denial() -> Denial {
    let failure = Failure::new(FailureKind::NeverReady, "it would not");
    Denial { failure, retry_after: Duration::from_secs(7) }
}

/// Says how a connection ended: an orderly end or a reset.
async fn ending_of(stream: &mut TcpStream) -> Result<usize, std::io::ErrorKind> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.map_err(|error| error.kind())
}

async fn exactly(stream: &mut TcpStream, amount: usize) -> Vec<u8> {
    let mut bytes = vec![0; amount];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

fn pattern(amount: usize) -> Vec<u8> {
    (0..amount).map(|at| (at % 251) as u8 ^ (at / 65_536) as u8).collect()
}

#[tokio::test]
async fn what_was_said_while_it_slept_comes_first_and_in_order() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.write_all(b"first ").await.unwrap();
    until("it waits", || world.gate.waits() == 1).await;
    client.write_all(b"second ").await.unwrap();
    // More than is read ahead: the rest waits in the socket.
    let long = pattern(100_000);
    let writing = tokio::spawn(async move {
        client.write_all(&long).await.unwrap();
        client
    });
    world.open();
    let mut app = world.accept().await;
    assert_eq!(exactly(&mut app, 13).await, b"first second ");
    assert_eq!(exactly(&mut app, 100_000).await, pattern(100_000));
    let mut client = writing.await.unwrap();
    app.write_all(b"answer").await.unwrap();
    assert_eq!(exactly(&mut client, 6).await, b"answer");
    assert_eq!((world.gate.leases(), world.gate.waits()), (1, 0));
    drop((client, app));
    until("the lease is given back", || world.gate.leases() == 0).await;
    assert_eq!(world.counters.tcp_bytes.received.load(Ordering::Relaxed), 100_013);
    assert_eq!(world.counters.tcp_bytes.sent.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn an_end_of_one_way_leaves_the_other_one_open_and_the_lease_held() {
    let world = World::new().await;
    world.open();
    let (mut client, mut app) = world.pair().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    soon(app.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    assert_eq!(world.gate.leases(), 1);
    app.write_all(b"long answer").await.unwrap();
    assert_eq!(exactly(&mut client, 11).await, b"long answer");
    assert_eq!(world.gate.leases(), 1);
    drop(app);
    assert_eq!(ending_of(&mut client).await, Ok(0));
    until("the lease is given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn a_client_that_has_asked_and_ended_its_way_is_answered_after_the_wake() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    until("it waits", || world.gate.waits() == 1).await;
    world.open();
    let mut app = world.accept().await;
    let mut question = Vec::new();
    soon(app.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    app.write_all(b"answer").await.unwrap();
    drop(app);
    assert_eq!(ending_of(&mut client).await, Ok(6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bytes_pass_unchanged_both_ways_at_once() {
    const MANY: usize = 24 << 20;
    let world = World::new().await;
    world.open();
    let (client, app) = world.pair().await;
    let through = async |stream: TcpStream| {
        let (mut reads, mut writes) = stream.into_split();
        let writing = tokio::spawn(async move {
            writes.write_all(&pattern(MANY)).await.unwrap();
            // A pause in the midst of it, so that pipes go back and are lent anew.
            tokio::task::yield_now().await;
            writes.write_all(b"end").await.unwrap();
        });
        let mut read = Vec::new();
        reads.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        let expected = [pattern(MANY), b"end".to_vec()].concat();
        assert!(read == expected, "{} bytes came, or others", read.len());
    };
    let both = async { tokio::join!(through(client), through(app)) };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    until("the lease is given back", || world.gate.leases() == 0).await;
    let counted = &world.counters.tcp_bytes;
    assert_eq!(counted.received.load(Ordering::Relaxed), MANY as u64 + 3);
    assert_eq!(counted.sent.load(Ordering::Relaxed), MANY as u64 + 3);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer_and_not_its_neighbour() {
    let world = World::new().await;
    world.open();
    let (client, app) = world.pair().await;
    let endless = tokio::spawn(async move {
        let (mut app, block) = (app, vec![0; 1 << 20]);
        let mut written = 0_u64;
        // Until the sockets' and the pipe's room is used up.
        while let Ok(outcome) =
            tokio::time::timeout(Duration::from_secs(1), app.write(&block)).await
        {
            written += outcome.unwrap() as u64;
        }
        (app, written)
    });
    let (app, written) = endless.await.unwrap();
    assert!(written < 64 << 20, "{written} bytes are kept somewhere");
    let (mut other, mut other_app) = world.pair().await;
    other.write_all(b"still here").await.unwrap();
    assert_eq!(exactly(&mut other_app, 10).await, b"still here");
    drop((client, app));
}

#[tokio::test]
async fn a_reset_of_one_end_resets_the_other() {
    let world = World::new().await;
    world.open();
    let (mut client, mut app) = world.pair().await;
    // A connection that is reset before anything passes counts as one that could not be made.
    client.write_all(b"a").await.unwrap();
    exactly(&mut app, 1).await;
    app.set_zero_linger().unwrap();
    drop(app);
    assert_eq!(ending_of(&mut client).await, Err(std::io::ErrorKind::ConnectionReset));
    let (mut client, mut app) = world.pair().await;
    client.write_all(b"a").await.unwrap();
    exactly(&mut app, 1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(ending_of(&mut app).await, Err(std::io::ErrorKind::ConnectionReset));
    until("the leases are given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn every_refusal_is_a_reset() {
    let reset = Err(std::io::ErrorKind::ConnectionReset);
    // Denied while it waits, and denied at once.
    let world = World::new().await;
    let mut client = world.client().await;
    client.write_all(b"hello").await.unwrap();
    until("it waits", || world.gate.waits() == 1).await;
    world.gate.deny(denial());
    assert_eq!(ending_of(&mut client).await, reset);
    assert_eq!(ending_of(&mut world.client().await).await, reset);
    // The upstream cannot be reached, however often it is tried.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.gate.open(nobody.local_addr().unwrap());
    drop(nobody);
    assert_eq!(ending_of(&mut world.client().await).await, reset);
    // It has no such port.
    let world = World::with(ProxySettings::default(), |site| site.port = 1).await;
    world.open();
    assert_eq!(ending_of(&mut world.client().await).await, reset);
    until("the leases are given back", || world.gate.leases() == 0).await;
}

#[tokio::test]
async fn a_full_waiting_room_resets_whoever_comes_and_lets_the_next_one_in() {
    let world = World::with(ProxySettings::default(), |site| site.held.per_client = 2).await;
    let mut first = world.client().await;
    first.write_all(b"I was here").await.unwrap();
    let _second = world.client().await;
    until("both wait", || world.gate.waits() == 2).await;
    let ending = ending_of(&mut world.client().await).await;
    assert_eq!(ending, Err(std::io::ErrorKind::ConnectionReset));
    let counters = world.proxy.counters();
    assert_eq!(counters.held_rejected.per_client.load(Ordering::Relaxed), 1);
    // One leaves although its first bytes were sent already.
    first.set_zero_linger().unwrap();
    drop(first);
    until("its place is free", || world.gate.waits() == 1).await;
    assert_eq!(counters.held_left.load(Ordering::Relaxed), 1);
    let _third = world.client().await;
    until("the next one waits", || world.gate.waits() == 2).await;
}

#[tokio::test]
async fn whoever_leaves_without_a_word_or_with_too_many_gives_its_place_back() {
    let world = World::new().await;
    drop(world.client().await);
    until("it has left", || world.proxy.counters().held_left.load(Ordering::Relaxed) == 1).await;
    assert_eq!(world.gate.waits(), 0);
    // More than is read ahead.
    let mut client = world.client().await;
    client.write_all(&pattern(60_000)).await.unwrap();
    until("it waits", || world.gate.waits() == 1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    until("it has left", || world.gate.waits() == 0).await;
    assert_eq!(world.gate.leases(), 0);
}

#[tokio::test]
async fn an_upstream_that_refuses_at_first_is_asked_again() {
    let world = World::new().await;
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = late.local_addr().unwrap();
    drop(late);
    world.gate.open(at);
    let mut client = world.client().await;
    client.write_all(b"patient").await.unwrap();
    until("it was refused", || {
        world.proxy.counters().upstream_connects.load(Ordering::Relaxed) > 0
    })
    .await;
    let late = TcpListener::bind(at).await.unwrap();
    let (mut app, _) = soon(late.accept()).await.unwrap();
    assert_eq!(exactly(&mut app, 7).await, b"patient");
}

#[tokio::test]
async fn the_connection_that_proved_readiness_serves_the_first_who_waited() {
    let world = World::new().await;
    let address = world.app.local_addr().unwrap();
    let warm = TcpStream::connect(address).await.unwrap();
    let mut proven = world.accept().await;
    let mut client = world.client().await;
    until("it waits", || world.gate.waits() == 1).await;
    // Who speaks first may have spoken already.
    proven.write_all(b"220 hello\r\n").await.unwrap();
    world.gate.open_with(address, Some(warm));
    assert_eq!(exactly(&mut client, 11).await, b"220 hello\r\n");
    client.write_all(b"hi").await.unwrap();
    assert_eq!(exactly(&mut proven, 2).await, b"hi");
    assert_eq!(world.proxy.counters().upstream_connects.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_silent_connection_stops_counting_and_counts_again_when_it_speaks() {
    let idle = Some(Duration::from_millis(100));
    let world = World::with(ProxySettings::default(), |site| site.connection_idle = idle).await;
    world.open();
    let (mut client, mut app) = world.pair().await;
    until("it counts", || world.gate.leases() == 1).await;
    until("it stops counting", || world.gate.leases() == 0).await;
    // It went to sleep meanwhile: what is said wakes it.
    world.gate.shut();
    client.write_all(b"a").await.unwrap();
    until("somebody waits", || world.gate.waits() == 1).await;
    world.open();
    until("it counts again", || world.gate.leases() == 1).await;
    assert_eq!(exactly(&mut app, 1).await, b"a");
    app.write_all(b"b").await.unwrap();
    assert_eq!(exactly(&mut client, 1).await, b"b");
    until("it stops counting again", || world.gate.leases() == 0).await;
    drop((client, app));
}

#[tokio::test]
async fn a_listener_leads_elsewhere_without_closing_and_closes_without_hurting_what_is_open() {
    let world = World::new().await;
    world.open();
    let (mut client, mut app) = world.pair().await;
    let other = Arc::<Gate>::default();
    let other_app = TcpListener::bind("127.0.0.1:0").await.unwrap();
    other.open(other_app.local_addr().unwrap());
    world.route.lead_to(site(&other, &world.counters));
    let mut moved = world.client().await;
    let (mut moved_app, _) = soon(other_app.accept()).await.unwrap();
    moved.write_all(b"x").await.unwrap();
    assert_eq!(exactly(&mut moved_app, 1).await, b"x");
    assert_eq!((world.gate.leases(), other.leases()), (1, 1));

    world.ends.closed.cancel();
    until("nobody listens", || std::net::TcpStream::connect(world.address).is_err()).await;
    client.write_all(b"y").await.unwrap();
    assert_eq!(exactly(&mut app, 1).await, b"y");
    assert!(!world.served.is_finished());
    drop((client, app, moved, moved_app));
    soon(world.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_open_may_end_within_the_drain_and_is_reset_after_it() {
    let settings = ProxySettings { drain: Duration::from_millis(300), ..Default::default() };
    let world = World::with(settings, |_| {}).await;
    world.open();
    let (mut client, mut app) = world.pair().await;
    world.ends.shutdown.cancel();
    client.write_all(b"still").await.unwrap();
    assert_eq!(exactly(&mut app, 5).await, b"still");
    assert_eq!(ending_of(&mut client).await, Err(std::io::ErrorKind::ConnectionReset));
    soon(world.served).await.unwrap().unwrap();
    assert_eq!(world.gate.leases(), 0);
}
