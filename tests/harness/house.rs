//! The real binary: started with a configuration in a folder of its own, watched, and ended.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

use super::admin::Admin;
use super::testapp::DORMOUSE;
use super::{PATIENCE, eventually, eventually_some};

/// How long it may take to end, with what is open drained.
const END_MAX: Duration = Duration::from_secs(30);
/// The last lines of the log that a failed test shows.
const SHOWN_LINES: usize = 80;

/// A running dormouse. Dropping it kills it, and fails the test where an error was logged that
/// nobody expected.
pub(crate) struct House {
    /// Its admin side.
    pub(crate) admin: Admin,
    /// Where its visitors come in.
    pub(crate) http: SocketAddr,
    admin_address: SocketAddr,
    folder: TempDir,
    child: Child,
    log: Log,
    expected_errors: Vec<String>,
}

/// Every line that a process wrote.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl House {
    /// Starts `dormouse serve` with a configuration: everything but its `[gateway]`. Waits until it
    /// answers.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) async fn start(configuration: &str) -> Self {
        raise_open_files();
        let folder = tempfile::Builder::new().prefix("dormouse-story-").tempdir().unwrap();
        let (http, admin_address) = (free_address(), free_address());
        write_configuration(folder.path(), (http, admin_address), configuration);
        let log = Log::default();
        let child = launch(folder.path(), &log);
        let admin = Admin::at(admin_address);
        let expected_errors = Vec::new();
        let mut house = Self { admin, http, admin_address, folder, child, log, expected_errors };
        house.until_up().await;
        house
    }

    /// Writes another configuration over the present one, as an editor does: a new file takes the
    /// old one's name.
    pub(crate) fn rewrite(&self, configuration: &str) {
        write_configuration(self.folder.path(), (self.http, self.admin_address), configuration);
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("dormouse.toml")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        // One that has ended cannot be killed, and is as dead.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Starts it again with the same folder and the same addresses.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.child = launch(self.folder.path(), &self.log);
        self.until_up().await;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let child = Mutex::new(&mut self.child);
        let look = async || child.lock().unwrap().try_wait().unwrap();
        eventually_some(END_MAX, "dormouse has ended", look).await
    }

    /// Every line of its log so far, also of earlier starts.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) async fn until_logged(&self, text: &str) {
        let logged = async || self.log().iter().any(|line| line.contains(text));
        eventually(PATIENCE, &format!("the log says {text:?}"), logged).await;
    }

    /// Errors whose line contains `text` are part of the story.
    pub(crate) fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    async fn until_up(&mut self) {
        let child = Mutex::new(&mut self.child);
        let admin = self.admin;
        let up = async || {
            let ended = child.lock().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "dormouse ended: {ended:?}\n{}", self.log.tail());
            admin.is_up().await
        };
        eventually(PATIENCE, "dormouse answers on its admin side", up).await;
    }

    /// Errors in the log that no story expects.
    fn unexpected_errors(&self) -> Vec<String> {
        let lines = self.log.lines().into_iter();
        let expected =
            |line: &String| self.expected_errors.iter().any(|text| line.contains(text.as_str()));
        lines.filter(|line| is_error(line) && !expected(line)).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("the end of dormouse's log:\n{}", self.log.tail());
            return;
        }
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "dormouse logged errors:\n{}", errors.join("\n"));
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Follows a stream to its end.
    fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.0.lock().unwrap().push(line);
            }
        });
    }
}

/// Lets this process, and those that it starts, open as many files as the system allows.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// An address of this machine on which nothing listens at this moment.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn write_configuration(folder: &Path, (http, admin): (SocketAddr, SocketAddr), rest: &str) {
    let mut text = String::new();
    let state = folder.join("state");
    writeln!(text, "[gateway]\nhttp = \"{http}\"\nadmin = \"{admin}\"").unwrap();
    writeln!(text, "state = \"{}\"\ndrain = \"2s\"\n\n{rest}", state.display()).unwrap();
    let draft = folder.join("dormouse.toml.draft");
    std::fs::write(&draft, text).unwrap();
    std::fs::rename(draft, folder.join("dormouse.toml")).unwrap();
}

fn launch(folder: &Path, log: &Log) -> Child {
    let mut command = Command::new(DORMOUSE);
    command.arg("serve").arg("-c").arg(folder.join("dormouse.toml"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    log.follow(child.stdout.take().unwrap());
    log.follow(child.stderr.take().unwrap());
    child
}

/// Whether a line of the log is an error, by the word where the level stands.
fn is_error(line: &str) -> bool {
    line.split_whitespace().take(3).any(|word| word == "ERROR") || line.contains("panicked at")
}
