//! A small web application with faults on demand, for tests that need a workload of their own.
//!
//! It speaks HTTP/1.1 and cleartext HTTP/2 on one port, and listens until it is asked to end. Every
//! knob is an env var, or the same name as an argument: `START_DELAY_MS=200` or
//! `--start-delay-ms=200`.
//!
//! | knob | meaning |
//! |---|---|
//! | `PORT` | where to listen, on all addresses; 8080. With 0 the system chooses, and the first line of the output tells |
//! | `UDP_PORT` | a second port, of UDP, from which every datagram comes back; none when absent |
//! | `MARK` | text that the answers carry |
//! | `START_DELAY_MS` | how long it waits before it listens |
//! | `NEVER_LISTEN=1` | it runs and never listens |
//! | `NEVER_ANSWER=1` | it accepts connections and never answers |
//! | `CRASH_CODE`, `CRASH_AFTER_MS` | it ends with that code, at once or after a while |
//! | `UNHEALTHY_MS` | `/health` answers 500 for this long |
//! | `GRPC_HEALTH` | `serving`, `not-serving` or `unimplemented` |
//! | `IGNORE_TERM=1` | SIGTERM changes nothing |
//! | `TERM_DELAY_MS` | it serves on for this long after SIGTERM |
//! | `COUNT_FILE` | a file in which it counts its starts |
//! | `LEDGER` | a file to which it adds a line when an upload comes (`came X-ID`), and one when it has read it (`whole X-ID DIGEST`) |

mod answer;
mod body;
mod echo;
mod grpc;
mod knobs;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use answer::App;
use knobs::Knobs;

/// As many connections as may wait to be accepted; the system clamps it.
const BACKLOG: u32 = 65_535;
/// The first bytes of every HTTP/2 connection.
const PREFACE_START: &[u8] = b"PRI";

fn main() -> ExitCode {
    let knobs = Knobs::read();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(knobs))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("testapp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lives until SIGTERM, SIGINT or the crash that was ordered.
async fn run(knobs: Knobs) -> io::Result<()> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let end = until_asked_to_end(terminate, interrupt, knobs.ignore_term, knobs.term_delay);
    let crash = knobs.crash_code;
    let crash_after = knobs.crash_after;
    tokio::select! {
        served = serve(knobs) => served,
        () = end => Ok(()),
        () = tokio::time::sleep(crash_after), if crash.is_some() => {
            println!("testapp crashes as ordered");
            std::process::exit(crash.unwrap_or(0))
        }
    }
}

async fn serve(knobs: Knobs) -> io::Result<()> {
    if knobs.never_listen || (knobs.crash_code.is_some() && knobs.crash_after.is_zero()) {
        println!("testapp {} listens nowhere, as told", knobs.mark);
        std::future::pending::<()>().await;
    }
    if !knobs.start_delay.is_zero() {
        tokio::time::sleep(knobs.start_delay).await;
    }
    let _echo = knobs.udp_port.map(echo::begin).transpose()?;
    let listener = listen(knobs.port)?;
    println!("testapp {} listens on {}", knobs.mark, listener.local_addr()?.port());
    let never_answer = knobs.never_answer;
    let app = Arc::new(App::new(knobs));
    let mut silent = Vec::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: those who are here must leave first.
                println!("testapp cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if never_answer {
            silent.push(stream);
        } else {
            tokio::spawn(converse(Arc::clone(&app), stream, peer));
        }
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    socket.listen(BACKLOG)
}

/// Serves one connection to its end, in the version that its first bytes announce.
async fn converse(app: Arc<App>, stream: TcpStream, peer: SocketAddr) {
    let mut start = [0; PREFACE_START.len()];
    let seen = stream.peek(&mut start).await.unwrap_or(0);
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { app.answer(request, peer).await }
    });
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(stream);
    // A client that leaves ends its connection with an error, which is no news to a test.
    let _ = if start[..seen] == *PREFACE_START {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(10_000)
            .serve_connection(io, service)
            .await
    } else {
        http1::Builder::new().serve_connection(io, service).with_upgrades().await
    };
}

async fn until_asked_to_end(
    mut terminate: Signal,
    mut interrupt: Signal,
    ignore_term: bool,
    term_delay: Duration,
) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => {
                println!("testapp was asked to end");
                if !ignore_term {
                    tokio::time::sleep(term_delay).await;
                    return;
                }
            }
        }
    }
}
