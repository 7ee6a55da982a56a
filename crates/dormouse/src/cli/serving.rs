//! The verbs that stay: serve, demo, and the hidden apps of the demo.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use dormouse_wire::Exit;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::complaint::Complaint;
use crate::collect::LogDoor;
use crate::config::check::{Form, render};
use crate::config::{Loaded, locate};
use crate::demo::DemoError;
use crate::demo::app::{self, App};
use crate::serve::ServeError;

/// What is logged when neither `DORMOUSE_LOG` nor `RUST_LOG` says.
const LOG: &str = "info";

/// What to say where no thread or no event loop can be begun.
const NO_THREADS: &str = "the system gives no more threads or descriptors";

/// How long the end of a log may take when nobody reads it.
const LOG_END_MAX: Duration = Duration::from_millis(100);

/// `dormouse serve`.
pub(super) fn serve(file: Option<PathBuf>) -> Result<Exit, Complaint> {
    start_log();
    let runtime = big_runtime()?;
    let served = runtime.block_on(crate::serve::run(file.or_else(locate)));
    served.map(|()| Exit::Ok).map_err(|error| not_served(&error))
}

/// `dormouse demo`.
pub(super) fn demo() -> Result<Exit, Complaint> {
    start_log();
    let shown = big_runtime()?.block_on(crate::demo::run());
    shown.map(|()| Exit::Ok).map_err(|error| match &error {
        DemoError::Serve(error) => not_served(error),
        error => Complaint::of(Exit::Failed, error),
    })
}

/// `dormouse collect`.
pub(super) fn collect() -> Result<Exit, Complaint> {
    let log = LogDoor::open(io::stderr()).map_err(no_runtime)?;
    let door = log.clone();
    start_log_on(move || door.clone());
    let collected = crate::collect::run();
    log.finish(LOG_END_MAX);
    collected.map(|()| Exit::Ok).map_err(|error| Complaint::of(Exit::Failed, &error))
}

/// One of the demo's workloads: its name, and its port in the env var `PORT`.
pub(super) fn demo_app(name: Option<&OsString>) -> Result<Exit, Complaint> {
    let app = name.and_then(|name| App::named(name.to_str()?));
    let app = app.ok_or_else(|| Complaint::new(Exit::Usage, "the demo has no such app"))?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| Complaint::new(Exit::Usage, "PORT is not a port"))?;
    let served = small_runtime()?.block_on(app::run(app, port));
    served.map(|()| Exit::Ok).map_err(|error| Complaint::of(Exit::Failed, &error))
}

/// One thread, for what only asks.
pub(super) fn small_runtime() -> Result<Runtime, Complaint> {
    Builder::new_current_thread().enable_all().build().map_err(no_runtime)
}

fn big_runtime() -> Result<Runtime, Complaint> {
    Builder::new_multi_thread().enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: io::Error) -> Complaint {
    Complaint::of(Exit::Failed, &error).with_hint(NO_THREADS)
}

fn not_served(error: &ServeError) -> Complaint {
    match error {
        ServeError::Config(loaded) => {
            show_findings(loaded);
            let hint = "`dormouse check` shows the same without serving";
            Complaint::of(Exit::ConfigInvalid, error).with_hint(hint)
        }
        ServeError::Admin { source, .. } => {
            Complaint::of(Exit::ConfigInvalid, error).with_hint(source.hint())
        }
        ServeError::Store { source, .. } => {
            Complaint::of(Exit::Failed, error).with_hint(source.hint())
        }
        ServeError::Threads(_) => Complaint::of(Exit::Failed, error).with_hint(NO_THREADS),
        ServeError::Apply(_)
        | ServeError::Listen { .. }
        | ServeError::Folder { .. }
        | ServeError::Signals(_) => Complaint::of(Exit::Failed, error),
    }
}

fn show_findings(loaded: &Loaded) {
    let form = Form::for_people(io::stderr().is_terminal());
    let text = render(&loaded.findings, &loaded.sources, form);
    // Nobody to tell is no reason to fail twice.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn start_log() {
    start_log_on(io::stderr);
}

fn start_log_on<W>(writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let said = std::env::var("DORMOUSE_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::try_new(said.as_deref().unwrap_or(LOG));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(LOG));
    let colour = Form::for_people(io::stderr().is_terminal()) == Form::Colour;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A log that somebody else has begun is as good.
    let _ = log.with_ansi(colour).try_init();
}
