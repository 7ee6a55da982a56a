//! Facts about the Docker Engine that cannot be tried on one that others use: checked against a
//! private engine and the fake alike, so that the fake cannot drift.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dormouse_testkit::engine::{ContainerSpec, FakeEngine, RawClient, stock};
use dormouse_testkit::images::RealEngine;
use dormouse_testkit::private_engine::{LiveRestore, PrivateEngine};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 8080;
/// A refusal comes at once; a host that is not there is given up by its neighbours after 3 s.
const HANGS_FOR: Duration = Duration::from_millis(800);
/// What an event costs beside a reader that does not read.
const HELD_UP: Duration = Duration::from_millis(100);
/// So many events fill the reader's queue in the engine and the socket before it.
const EVENTS_MAX: usize = 8_000;

/// Makes one test of each fact for the fake engine and one for a private one.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod fake {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(&super::Lab::fake().await).await;
            })*
        }
        mod private {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                if let Some(lab) = super::Lab::private().await {
                    super::$fact(&lab).await;
                }
            })*
        }
    };
}

facts![
    nobody_is_at_the_address_of_what_has_stopped,
    the_next_container_is_where_somebody_still_waits,
    a_reader_that_does_not_read_holds_every_event_up,
];

async fn nobody_is_at_the_address_of_what_has_stopped(lab: &Lab) {
    lab.create("web").await;
    let address = lab.started("web").await;
    drop(connected(address).await);
    assert_eq!(lab.post("web", "stop?t=0").await, 204);
    let hangs = timeout(HANGS_FOR, TcpStream::connect(address)).await;
    assert!(hangs.is_err(), "it was answered: {hangs:?}");
}

async fn the_next_container_is_where_somebody_still_waits(lab: &Lab) {
    lab.create("web").await;
    lab.create("heir").await;
    let address = lab.started("web").await;
    drop(connected(address).await);
    assert_eq!(lab.post("web", "stop?t=0").await, 204);
    let mut waits = tokio::spawn(TcpStream::connect(address));
    assert!(timeout(HANGS_FOR, &mut waits).await.is_err(), "it was answered");
    assert_eq!(lab.started("heir").await, address, "the address is the next to be given");
    match timeout(PATIENCE, waits).await.expect("it is answered at last").unwrap() {
        Ok(arrived) => assert_eq!(arrived.peer_addr().unwrap(), address),
        // The heir is there, and does not listen yet.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}"),
    }
}

async fn a_reader_that_does_not_read_holds_every_event_up(lab: &Lab) {
    lab.create("web").await;
    lab.started("web").await;
    assert!(lab.event_takes().await < HELD_UP, "it takes its time without a reader, too");
    let mut reader = UnixStream::connect(lab.client.socket()).await.unwrap();
    reader.write_all(b"GET /events HTTP/1.1\r\nHost: engine\r\n\r\n").await.unwrap();
    let mut events = 0;
    // A busy machine holds one up now and then, but not one after the other.
    while lab.say().await < HELD_UP || lab.event_takes().await < HELD_UP {
        events += 1;
        assert!(events < EVENTS_MAX, "{events} events later nothing is held up");
    }
    assert!(events > 1024, "only {events} were kept for it");
    drop(reader);
    let give_up_at = Instant::now() + PATIENCE;
    while lab.event_takes().await >= HELD_UP {
        assert!(Instant::now() < give_up_at, "it is held up by a reader that has left");
    }
}

/// One engine that nobody else uses.
struct Lab {
    client: RawClient,
    engine: Engine,
}

enum Engine {
    Fake(FakeEngine),
    Private { engine: RealEngine, _private: PrivateEngine },
}

impl Lab {
    async fn fake() -> Self {
        let engine = FakeEngine::docker().await;
        Self { client: RawClient::new(engine.socket()), engine: Engine::Fake(engine) }
    }

    /// Nothing where the machine cannot have one.
    async fn private() -> Option<Self> {
        let private = PrivateEngine::of_machine(LiveRestore::Off)?;
        let engine = RealEngine::at(&private.socket()).await.expect("it answers");
        let client = engine.client().clone();
        Some(Self { client, engine: Engine::Private { engine, _private: private } })
    }

    /// Creates a container that listens.
    async fn create(&self, name: &str) {
        let mut spec = ContainerSpec { serve: Some(PORT), ..stock::obedient(name) };
        match &self.engine {
            Engine::Fake(engine) => engine.by_hand().create(spec).map(drop).unwrap(),
            Engine::Private { engine, .. } => {
                spec.command = ["httpd", "-f", "-p", "8080"].map(Into::into).into();
                engine.create_busybox(&spec).await.map(drop).unwrap();
            }
        }
    }

    async fn post(&self, name: &str, act: &str) -> u16 {
        self.client.post(&format!("/containers/{name}/{act}")).await.unwrap().status
    }

    /// Starts a container, and answers where it listens.
    async fn started(&self, name: &str) -> SocketAddr {
        assert_eq!(self.post(name, "start").await, 204);
        let inspect = self.client.read(&format!("/containers/{name}/json")).await.unwrap().json();
        let ip = inspect["NetworkSettings"]["IPAddress"].as_str().unwrap();
        SocketAddr::new(ip.parse().unwrap(), PORT)
    }

    /// Lets the container have one event, and answers how long that took.
    async fn say(&self) -> Duration {
        let begun = Instant::now();
        assert_eq!(self.post("web", "kill?signal=WINCH").await, 204);
        begun.elapsed()
    }

    /// What an event takes, of several the shortest: a busy machine only adds.
    async fn event_takes(&self) -> Duration {
        let mut shortest = self.say().await;
        for _ in 0..4 {
            shortest = shortest.min(self.say().await);
        }
        shortest
    }
}

async fn connected(address: SocketAddr) -> TcpStream {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Ok(Ok(stream)) = timeout(HANGS_FOR, TcpStream::connect(address)).await {
            return stream;
        }
        assert!(Instant::now() < give_up_at, "nobody listens at {address}");
        sleep(Duration::from_millis(10)).await;
    }
}
