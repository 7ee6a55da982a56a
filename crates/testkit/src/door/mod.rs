//! A unix socket in front of an engine, real or fake: it remembers every call and every event, so
//! that tests count at the engine's door, not at what the code under test believes; and it spoils
//! them by rule.
//!
//! ```text
//! client ── door ── engine      rule:   which calls and lines misbehave, and how
//!            │                  call:   passes one call on, and its answer back
//!            │                  lines:  passes an event stream on, line by line
//!            └────────────────▶ record: what passed
//! ```

mod call;
mod lines;
mod record;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use record::Said;
pub use rule::{Fault, Rule, Switch};

use self::record::{Calls, Events};
use self::rule::Rules;
use crate::engine::Call;

/// The pause after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(1);

/// A socket before an engine. It passes nothing on any more when it is dropped.
pub struct Door {
    socket: PathBuf,
    inside: Arc<Inside>,
    _folder: TempDir,
    _acceptor: JoinSet<()>,
}

/// One kind of call is held back for as long as this lives.
#[must_use]
pub struct Hold {
    op: String,
    inside: Arc<Inside>,
}

/// What every connection works with.
struct Inside {
    engine: PathBuf,
    calls: Calls,
    events: Events,
    rules: Rules,
    held: watch::Sender<BTreeSet<String>>,
    /// How many calls were answered.
    answers: watch::Sender<u64>,
    /// The event lines that wait for their subscribers now.
    behind: AtomicUsize,
    /// The most event lines that ever waited for one subscriber to read them.
    behind_max: AtomicUsize,
    /// Ends every connection that is open.
    cut: Mutex<CancellationToken>,
}

impl Door {
    /// Listens in front of the engine on `engine`.
    ///
    /// # Errors
    /// When no socket can be made in the folder for temporary files.
    pub fn before(engine: impl AsRef<Path>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("door-").tempdir()?;
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket)?;
        let inside = Arc::new(Inside::before(engine.as_ref()));
        let mut acceptor = JoinSet::new();
        acceptor.spawn(accept_all(listener, Arc::clone(&inside)));
        Ok(Self { socket, inside, _folder: folder, _acceptor: acceptor })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every call since the last [`Self::forget`], oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.inside.calls.remembered()
    }

    /// Every event of a container that the engine said on a stream through this door, oldest first;
    /// what is replayed is said again.
    pub fn events(&self) -> Vec<Said> {
        self.inside.events.all()
    }

    /// The most event lines that ever waited for one subscriber to read them. It counts what a real
    /// engine would keep in a buffer of 1,024 and then wait for, event by event.
    pub fn behind_max(&self) -> usize {
        self.inside.behind_max.load(Ordering::Acquire)
    }

    /// How many event lines wait for their subscribers to read them now.
    pub fn behind(&self) -> usize {
        self.inside.behind.load(Ordering::Acquire)
    }

    /// Adds a rule; of several that match, the oldest that is on and not used up applies.
    pub fn add(&self, rule: Rule) -> Switch {
        self.inside.rules.add(rule)
    }

    /// From now on everything is passed on as it is.
    pub fn clear(&self) {
        self.inside.rules.clear();
    }

    /// Ends every connection that is open, in the middle of whatever it does.
    pub fn cut(&self) {
        let mut cut = self.inside.cut.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cut).cancel();
    }

    /// Holds back every call of one operation, such as `start`. They are remembered as they arrive.
    pub fn hold(&self, op: &str) -> Hold {
        self.inside.held.send_modify(|held| {
            held.insert(op.to_owned());
        });
        Hold { op: op.to_owned(), inside: Arc::clone(&self.inside) }
    }

    /// Counts from here on: what was called before is forgotten.
    pub fn forget(&self) {
        self.inside.calls.forget();
    }
}

impl Inside {
    fn before(engine: &Path) -> Self {
        Self {
            engine: engine.to_owned(),
            calls: Calls::default(),
            events: Events::default(),
            rules: Rules::default(),
            held: watch::Sender::default(),
            answers: watch::Sender::default(),
            behind: AtomicUsize::new(0),
            behind_max: AtomicUsize::new(0),
            cut: Mutex::default(),
        }
    }

    fn cut(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inside.held.send_modify(|held| {
            held.remove(&self.op);
        });
    }
}

async fn accept_all(listener: UnixListener, inside: Arc<Inside>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let inside = Arc::clone(&inside);
        connections.spawn(async move {
            let cut = inside.cut();
            cut.run_until_cancelled(serve(stream, inside)).await;
        });
    }
}

async fn serve(stream: UnixStream, inside: Arc<Inside>) {
    let pass = service_fn(move |request| call::pass(Arc::clone(&inside), request));
    // Either side may leave at any time, and faults end connections; the other side sees it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
}
