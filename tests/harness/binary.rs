//! The real binary as a process: its log is kept, its errors fail the test, and it never outlives
//! the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::testapp::DORMOUSE;
use super::{PATIENCE, eventually, eventually_some};

/// How long it may take to end, with what is open drained.
const END_MAX: Duration = Duration::from_secs(30);
/// The last lines of the log that a failed test shows.
const SHOWN_LINES: usize = 80;

/// A process of the binary under test. Dropping it kills it, and fails the test where an error was
/// logged that nobody expected.
pub(crate) struct Binary {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    child: Child,
    log: Log,
    expected_errors: Vec<String>,
}

/// Every line that a process wrote.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Binary {
    /// Starts `dormouse` with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with env vars of its own.
    pub(crate) fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let variables: Vec<(String, String)> = variables.collect();
        let log = Log::default();
        let child = launch(&arguments, &variables, &log);
        Self { arguments, variables, child, log, expected_errors: Vec::new() }
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

    /// Starts it again as it was started before, after killing it where it still runs.
    pub(crate) fn launch_again(&mut self) {
        self.kill();
        self.child = launch(&self.arguments, &self.variables, &self.log);
    }

    /// Asks it to end with a signal, and waits until it has.
    pub(crate) async fn end_by(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let child = Mutex::new(&mut self.child);
        let look = async || child.lock().unwrap().try_wait().unwrap();
        eventually_some(END_MAX, "dormouse has ended", look).await
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Every line that it wrote so far, also in earlier starts.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    /// The last lines that it wrote.
    pub(crate) fn end_of_log(&self) -> String {
        let lines = self.log();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    /// Waits until a line contains `text`.
    pub(crate) async fn until_logged(&self, text: &str) {
        let logged = async || self.log().iter().any(|line| line.contains(text));
        eventually(PATIENCE, &format!("the log says {text:?}"), logged).await;
    }

    /// Errors whose line contains `text` are part of the story.
    pub(crate) fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    fn unexpected_errors(&self) -> Vec<String> {
        let expected =
            |line: &String| self.expected_errors.iter().any(|text| line.contains(text.as_str()));
        self.log().into_iter().filter(|line| is_error(line) && !expected(line)).collect()
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("the end of dormouse's log:\n{}", self.end_of_log());
            return;
        }
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "dormouse logged errors:\n{}", errors.join("\n"));
    }
}

impl Log {
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

fn launch(arguments: &[String], variables: &[(String, String)], log: &Log) -> Child {
    let mut command = Command::new(DORMOUSE);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    log.follow(child.stdout.take().unwrap());
    log.follow(child.stderr.take().unwrap());
    child
}

/// Whether a line of the log is an error, by the word where the level stands.
fn is_error(line: &str) -> bool {
    line.split_whitespace().take(3).any(|word| word == "ERROR") || line.contains("panicked at")
}
