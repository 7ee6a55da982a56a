//! The tiny HTTP server that a served container runs, and the forwarders of its published ports.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::life::Plan;

/// How long an address may still be held by the process that had it before.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
/// Connections served at once; further ones wait in the socket's own queue.
const CONNECTIONS_MAX: usize = 16_384;

/// Who answers: sent with every answer, so that a test sees where a request ended up.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) container: String,
    pub(super) id: String,
    pub(super) run: u64,
}

/// The sockets of one run, bound and not served yet.
pub(super) struct Sockets {
    app: Option<Door>,
    forwarders: Vec<(TcpListener, SocketAddr)>,
    host_ports: Vec<u16>,
}

/// Where the application will listen.
enum Door {
    Open(TcpListener),
    Later { at: SocketAddr, delay: Duration },
}

impl Sockets {
    /// Binds what the plan asks for; nothing at all where it serves nothing.
    pub(super) async fn bind(plan: &Plan) -> io::Result<Self> {
        let mut sockets = Self { app: None, forwarders: Vec::new(), host_ports: Vec::new() };
        let Some(at) = plan.serve else {
            return Ok(sockets);
        };
        sockets.app = Some(if plan.listen_delay.is_zero() {
            Door::Open(bind_patiently(at).await?)
        } else {
            Door::Later { at, delay: plan.listen_delay }
        });
        for publish in &plan.publish {
            let host: std::net::IpAddr =
                publish.host_ip.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
            let host = SocketAddr::new(host, publish.host_port.unwrap_or(0));
            let listener = bind_patiently(host).await?;
            sockets.host_ports.push(listener.local_addr()?.port());
            sockets.forwarders.push((listener, SocketAddr::new(at.ip(), publish.port)));
        }
        Ok(sockets)
    }

    pub(super) fn host_ports(&self) -> &[u16] {
        &self.host_ports
    }
}

impl Sockets {
    /// The servers of this run, or nothing where it serves nothing.
    pub(super) fn serve(
        self,
        identity: Identity,
        frozen: watch::Receiver<bool>,
    ) -> Option<impl Future<Output = ()> + Send> {
        let app = self.app?;
        let identity = Arc::new(identity);
        Some(async move {
            let mut forwarders = JoinSet::new();
            for (listener, to) in self.forwarders {
                forwarders.spawn(forward(listener, to));
            }
            let listener = match app {
                Door::Open(listener) => listener,
                Door::Later { at, delay } => {
                    sleep(delay).await;
                    match bind_patiently(at).await {
                        Ok(listener) => listener,
                        Err(_) => return std::future::pending().await,
                    }
                }
            };
            answer_all(listener, identity, frozen).await;
        })
    }
}

/// Answers every request with who it is; what is frozen accepts and says nothing.
async fn answer_all(
    listener: TcpListener,
    identity: Arc<Identity>,
    mut frozen: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        // The sender lives as long as this task.
        let _ = frozen.wait_for(|frozen| !frozen).await;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let (identity, frozen) = (Arc::clone(&identity), frozen.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (identity, mut frozen) = (Arc::clone(&identity), frozen.clone());
            async move {
                let _ = frozen.wait_for(|frozen| !frozen).await;
                Ok::<_, Infallible>(identity.answer(&request))
            }
        });
        connections.spawn(async move {
            // A client that leaves early is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// Accepts at once and connects afterwards, as the engine's own port forwarder does.
async fn forward(listener: TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((mut client, _)) = listener.accept().await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        connections.spawn(async move {
            if let Ok(mut app) = TcpStream::connect(to).await {
                // Either side may hang up whenever it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut app).await;
            }
        });
    }
}

impl Identity {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let body = format!("{} {} {}\n", self.container, request.method(), request.uri());
        Response::builder()
            .header("content-type", "text/plain")
            .header("x-container", &self.container)
            .header("x-container-id", &self.id)
            .header("x-run", self.run)
            .body(Full::from(body))
            .expect("a container's name and id are legal in a header")
    }
}

async fn bind_patiently(at: SocketAddr) -> io::Result<TcpListener> {
    let give_up_at = Instant::now() + BIND_PATIENCE;
    loop {
        match TcpListener::bind(at).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up_at =>
            {
                sleep(Duration::from_millis(1)).await;
            }
            outcome => return outcome,
        }
    }
}
