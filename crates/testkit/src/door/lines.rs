//! An event stream: read from the engine as fast as it comes, whoever reads it behind the door, and
//! passed on line by line as the rules say.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Inside;
use super::call::{Body, PassedOn};
use super::record::Said;
use super::rule::{Fault, Passing, Subject};

/// Lines kept for a subscriber that does not read; the engine waits behind them.
const WAITING_MAX: usize = 200_000;
/// How long a line waits for the one that overtakes it.
const OVERTAKEN_MAX: Duration = Duration::from_millis(100);

/// A line, and when it may leave.
type Due = (Instant, Bytes);

/// Reads the engine's lines, and decides about each.
struct Reader {
    inside: Arc<Inside>,
    out: mpsc::Sender<Due>,
    waiting: Arc<Waiting>,
    overtaken: Option<Bytes>,
}

/// What a subscriber has not read yet.
struct Leaving {
    lines: mpsc::Receiver<Due>,
    waiting: Arc<Waiting>,
    _reader: JoinSet<()>,
}

/// The lines that one subscriber has not read yet; they wait no more when it leaves.
struct Waiting {
    inside: Arc<Inside>,
    lines: AtomicUsize,
}

/// The stream as the subscriber gets it. Its reader ends with it.
pub(super) fn pass_on(inside: Arc<Inside>, body: PassedOn) -> Body {
    let (out, lines) = mpsc::channel(WAITING_MAX);
    let waiting = Waiting { inside: Arc::clone(&inside), lines: AtomicUsize::new(0) };
    let waiting = Arc::new(waiting);
    let reader = Reader { inside, out, waiting: Arc::clone(&waiting), overtaken: None };
    let mut task = JoinSet::new();
    task.spawn(reader.read(body));
    let leaving = Leaving { lines, waiting, _reader: task };
    let frames = stream::unfold(leaving, |mut leaving| async move {
        let (due, line) = leaving.lines.recv().await?;
        sleep_until(due).await;
        leaving.waiting.left();
        Some((Ok::<_, io::Error>(Frame::data(line)), leaving))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Reader {
    async fn read(mut self, mut body: PassedOn) {
        let mut buffer = BytesMut::new();
        loop {
            let frame = match self.overtaken.is_some() {
                true => match timeout(OVERTAKEN_MAX, body.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => {
                        self.catch_up().await;
                        continue;
                    }
                },
                false => body.frame().await,
            };
            let Some(Ok(frame)) = frame else { break };
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                if self.line(line).await.is_break() {
                    return;
                }
            }
        }
        self.catch_up().await;
        if !buffer.is_empty() {
            self.send(buffer.freeze(), Duration::ZERO).await;
        }
    }

    /// One line, which may be the last that this stream passes on.
    async fn line(&mut self, line: Bytes) -> ControlFlow<()> {
        let Some(said) = Said::read(&line) else {
            self.send(line, Duration::ZERO).await;
            return ControlFlow::Continue(());
        };
        let fault = self.inside.rules.hit(&Passing {
            subject: Subject::Event,
            word: &said.action,
            containers: [&said.id, &said.name],
            mark: mark(&said),
        });
        self.inside.events.said(said);
        if fault == Some(Fault::Overtaken) && self.overtaken.is_none() {
            self.overtaken = Some(line);
            return ControlFlow::Continue(());
        }
        let end = self.spoil(line, fault).await;
        self.catch_up().await;
        end
    }

    async fn spoil(&self, line: Bytes, fault: Option<Fault>) -> ControlFlow<()> {
        match fault {
            // One that overtakes another is not overtaken itself.
            None | Some(Fault::Overtaken) => self.send(line, Duration::ZERO).await,
            Some(Fault::Delay(delay) | Fault::AnswerLate(delay)) => self.send(line, delay).await,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangAfterDeed) => {
                self.send(line, Duration::ZERO).await;
                std::future::pending().await
            }
            Some(Fault::Drop) => {}
            Some(Fault::DropAfterDeed) => {
                self.send(line, Duration::ZERO).await;
                return ControlFlow::Break(());
            }
            Some(Fault::Twice) => {
                self.send(line.clone(), Duration::ZERO).await;
                self.send(line, Duration::ZERO).await;
            }
            Some(Fault::Truncate) => {
                let mut half = BytesMut::from(&line[..line.len() / 2]);
                half.extend_from_slice(b"\n");
                self.send(half.freeze(), Duration::ZERO).await;
            }
            Some(Fault::Answer { body, .. }) => self.send(whole_line(body), Duration::ZERO).await,
            Some(Fault::AnswerAfterDeed { body, .. }) => {
                self.send(line, Duration::ZERO).await;
                self.send(whole_line(body), Duration::ZERO).await;
            }
        }
        ControlFlow::Continue(())
    }

    /// Sends what has been overtaken.
    async fn catch_up(&mut self) {
        if let Some(line) = self.overtaken.take() {
            self.send(line, Duration::ZERO).await;
        }
    }

    async fn send(&self, line: Bytes, delay: Duration) {
        self.waiting.came();
        // One that has left needs no more lines.
        let _ = self.out.send((Instant::now() + delay, line)).await;
    }
}

impl Waiting {
    fn came(&self) {
        let waiting = self.lines.fetch_add(1, Ordering::AcqRel) + 1;
        self.inside.behind.fetch_add(1, Ordering::AcqRel);
        self.inside.behind_max.fetch_max(waiting, Ordering::AcqRel);
    }

    fn left(&self) {
        self.lines.fetch_sub(1, Ordering::AcqRel);
        self.inside.behind.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inside.behind.fetch_sub(self.lines.load(Ordering::Acquire), Ordering::AcqRel);
    }
}

fn whole_line(text: String) -> Bytes {
    Bytes::from(text + "\n")
}

/// The same event is the same wherever it is said again.
fn mark(said: &Said) -> u64 {
    let mut hasher = DefaultHasher::new();
    (said.time_ns, &said.action, &said.id).hash(&mut hasher);
    hasher.finish()
}
