//! The worker as its parent sees it: lines in, lines out, a log, and an end.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take to be told.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running worker; killed when it is dropped.
pub(super) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    log: Arc<Mutex<String>>,
}

impl Worker {
    /// One that has said that it is ready.
    pub(super) async fn start() -> Self {
        let mut worker = Self::with(&[]);
        let ready = worker.next().await;
        assert_eq!(ready, json!({"type": "ready"}));
        worker
    }

    /// One with further env vars, whose output nobody has read yet.
    pub(super) fn with(env: &[(&str, &str)]) -> Self {
        let mut worker = Self::deaf(env);
        let stdout = worker.child.stdout.take().unwrap();
        worker.lines = read(stdout);
        worker
    }

    /// One whose log nobody reads, and that has said that it is ready.
    pub(super) async fn mute() -> Self {
        let mut worker = Self::launch(&[]);
        let stdout = worker.child.stdout.take().unwrap();
        worker.lines = read(stdout);
        assert_eq!(worker.next().await, json!({"type": "ready"}));
        worker
    }

    /// One whose output nobody reads.
    pub(super) fn deaf(env: &[(&str, &str)]) -> Self {
        let mut worker = Self::launch(env);
        let mut stderr = worker.child.stderr.take().unwrap();
        let sink = Arc::clone(&worker.log);
        tokio::spawn(async move {
            let mut piece = [0; 4096];
            while let Ok(bytes @ 1..) = stderr.read(&mut piece).await {
                let text = String::from_utf8_lossy(&piece[..bytes]).into_owned();
                sink.lock().unwrap().push_str(&text);
            }
        });
        worker
    }

    fn launch(env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.arg("collect").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("SKIP_DF_COLLECTION").env_remove("RUST_LOG");
        command.envs(env.iter().copied());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        Self { child, stdin, lines: mpsc::channel(1).1, seen: Vec::new(), log: Arc::default() }
    }

    /// Tells it a line.
    pub(super) async fn tell(&mut self, line: Value) {
        self.tell_raw(format!("{line}\n").as_bytes()).await;
    }

    /// Tells it bytes.
    pub(super) async fn tell_raw(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("it still listens");
        timeout(PATIENCE, stdin.write_all(bytes)).await.expect("it reads").unwrap();
    }

    /// Configures an environment behind a socket.
    pub(super) async fn configure_socket(&mut self, env: i64, socket: &std::path::Path) {
        let config = json!({"type": "socket", "socketPath": socket});
        self.configure(env, config).await;
    }

    /// Configures an environment.
    pub(super) async fn configure(&mut self, env: i64, config: Value) {
        self.tell(json!({
            "type": "configure",
            "envId": env,
            "name": format!("environment {env}"),
            "config": config,
            "connectionType": "direct",
        }))
        .await;
    }

    /// Nothing more comes on its standard input.
    pub(super) fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The next line, as it was written.
    pub(super) async fn next_line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.recv()).await;
        let line = line.unwrap_or_else(|_| panic!("silence; seen: {:#?}", self.seen));
        let line = line.unwrap_or_else(|| panic!("the end; log: {}", self.log()));
        self.seen.push(line.clone());
        line
    }

    /// The next line.
    pub(super) async fn next(&mut self) -> Value {
        let line = self.next_line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The next line of this type and environment; others are passed over.
    pub(super) async fn next_of(&mut self, kind: &str, env: i64) -> Value {
        loop {
            let line = self.next().await;
            if line["type"] == kind && line["envId"] == env {
                return line;
            }
        }
    }

    /// The next status of an environment, which must be online.
    pub(super) async fn online(&mut self, env: i64) {
        let status = self.next_of("env_status", env).await;
        assert_eq!(status["online"], true, "{status}; log: {}", self.log());
    }

    /// The same for an environment whose number may be zero, which is left out.
    pub(super) async fn online_or_zero(&mut self, env: i64) {
        loop {
            let line = self.next().await;
            if line["type"] == "env_status" && line["envId"].as_i64().unwrap_or_default() == env {
                assert_eq!(line["online"], true, "{line}; log: {}", self.log());
                return;
            }
        }
    }

    /// Why an environment is offline, which must be its next status.
    pub(super) async fn offline(&mut self, env: i64) -> String {
        let status = self.next_of("env_status", env).await;
        assert_eq!(status["online"], false, "{status}");
        status["error"].as_str().unwrap().to_owned()
    }

    /// Every line that is told within a while.
    pub(super) async fn told_within(&mut self, time: Duration) -> Vec<Value> {
        let end = Instant::now() + time;
        let mut told = Vec::new();
        while let Ok(Some(line)) = tokio::time::timeout_at(end, self.lines.recv()).await {
            self.seen.push(line.clone());
            told.push(serde_json::from_str(&line).unwrap());
        }
        told
    }

    /// Every line that was read so far.
    pub(super) fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Its log so far.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its log has a text.
    pub(super) async fn logged(&self, text: &str) {
        eventually(text, || self.log().contains(text)).await;
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Its open descriptors.
    pub(super) fn descriptors(&self) -> usize {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.pid()));
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Its threads.
    pub(super) fn threads(&self) -> usize {
        let folder = PathBuf::from(format!("/proc/{}/task", self.pid()));
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Its own memory in use, in bytes: pages of its program come and go.
    pub(super) fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, and how long that takes.
    pub(super) async fn end(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it goes on; log: {}", self.log()));
        (status.unwrap(), begun.elapsed())
    }

    /// Begins to read the output of a deaf one.
    pub(super) fn listen(&mut self) {
        let stdout = self.child.stdout.take().unwrap();
        self.lines = read(stdout);
    }

    /// Closes the output of a deaf one.
    pub(super) fn close_output(&mut self) {
        drop(self.child.stdout.take());
    }
}

/// Waits until a condition holds.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not true in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn read(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(100_000);
    tokio::spawn(async move {
        let mut source = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = source.next_line().await {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    lines
}
