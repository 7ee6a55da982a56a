//! The workloads of the demo: small HTTP servers, one process each.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The most connections that one app serves at once.
const CONNECTIONS_MAX: usize = 256;

/// Which of the demo's workloads to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// A page with a slow start.
    Web,
    /// A JSON answer; needs the database.
    Api,
    /// What the API needs.
    Db,
}

impl App {
    /// The app of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "web" => Some(Self::Web),
            "api" => Some(Self::Api),
            "db" => Some(Self::Db),
            _ => None,
        }
    }

    /// How long it pretends to be busy before it listens.
    fn start_delay(self) -> Duration {
        match self {
            Self::Web => Duration::from_secs(2),
            Self::Api => Duration::from_millis(300),
            Self::Db => Duration::from_millis(700),
        }
    }
}

/// Serves on `port` of the loopback address until the process is ended.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn run(app: App, port: u16) -> io::Result<()> {
    let began = Instant::now();
    tokio::time::sleep(app.start_delay()).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted?;
                let service = service_fn(move |request| async move {
                    Ok::<_, Infallible>(answer(app, began, &request))
                });
                connections.spawn(
                    http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

fn answer(app: App, began: Instant, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let up = began.elapsed().as_secs();
    let (kind, body) = match app {
        App::Web => ("text/html; charset=utf-8", page(up)),
        App::Api => ("application/json", api(up, request.uri().path())),
        App::Db => ("text/plain", "ok\n".to_owned()),
    };
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store")
        .body(Full::new(Bytes::from(body)))
        .expect("the parts are valid")
}

fn page(up_s: u64) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Awake</title>\
         <body style=\"font:1.2rem system-ui;margin:15vh auto;max-width:34rem;padding:0 1rem\">\
         <h1>Good morning</h1><p>This page was asleep. Your visit woke it, and it has been awake \
         for {up_s} s.</p><p>Leave it alone for 15 s and it sleeps again.</p>\n"
    )
}

fn api(up_s: u64, path: &str) -> String {
    let answer = serde_json::json!({ "message": "awake", "path": path, "awake_s": up_s });
    format!("{answer}\n")
}
