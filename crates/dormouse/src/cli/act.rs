//! The verbs that act on a workload: wake, sleep, touch, pin, unpin; and reload.

use std::time::Duration;

use dormouse_wire::{Exit, Phase, PinOrder, ProgressEvent, Reloaded, Workload};
use http::{Method, StatusCode};

use super::args::OneWorkload;
use super::complaint::Complaint;
use super::print;
use crate::api::duration_text;
use crate::client::{ANSWER_MAX, Call, Client, EventStream, escape};

/// How long the last lines of a story may be on their way once the wake has ended.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// `dormouse wake`.
pub(super) async fn wake(
    client: &Client,
    one: &OneWorkload,
    wait: Option<Duration>,
) -> Result<Exit, Complaint> {
    let Some(wait) = wait else {
        let (status, workload) = act(client, one, Method::POST, "wake").await?;
        let said = match status {
            StatusCode::OK => "is ready",
            _ => "is being woken",
        };
        return tell(one, &workload, said);
    };
    let mut story = Story::open(client, one).await?;
    let mut call =
        Call::new(Method::POST, path(one, &format!("wake?wait={}", duration_text(wait))));
    call.deadline = wait + ANSWER_MAX;
    let answer = {
        let answer = client.call::<Workload>(call);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                answer = &mut answer => break answer,
                step = story.next() => story.tell(step)?,
            }
        }
    };
    // Without a step there was nothing to wake.
    if story.is_open() {
        let rest = async {
            while story.is_open() {
                let step = story.next().await;
                story.tell(step)?;
            }
            Ok::<(), Complaint>(())
        };
        // The lines are only lost to this terminal.
        let _ = tokio::time::timeout(LAST_LINES_MAX, rest).await;
    }
    let (_, workload) = answer?;
    let took = workload.last_wake.as_ref().filter(|_| story.told).and_then(|wake| wake.ms);
    let said = took.map_or_else(|| "is ready".to_owned(), |ms| format!("is ready after {ms} ms"));
    tell(one, &workload, &said)
}

/// `dormouse sleep`.
pub(super) async fn sleep(client: &Client, one: &OneWorkload) -> Result<Exit, Complaint> {
    let (status, workload) = act(client, one, Method::POST, "sleep").await?;
    told_to_sleep(one, status, &workload)
}

/// `dormouse sleep --force`.
pub(super) async fn force_sleep(client: &Client, one: &OneWorkload) -> Result<Exit, Complaint> {
    let (status, workload) = act(client, one, Method::POST, "sleep?force=true").await?;
    told_to_sleep(one, status, &workload)
}

/// `dormouse touch`.
pub(super) async fn touch(client: &Client, one: &OneWorkload) -> Result<Exit, Complaint> {
    let (_, workload) = act(client, one, Method::POST, "touch").await?;
    let said = match workload.phase.is_awake() {
        true => "counts as used now",
        false => "is not awake; nothing to do",
    };
    tell(one, &workload, said)
}

/// `dormouse pin`.
pub(super) async fn pin(
    client: &Client,
    one: &OneWorkload,
    period: Option<Duration>,
    reason: String,
) -> Result<Exit, Complaint> {
    let order = PinOrder { period: period.map(duration_text), reason };
    let mut call = Call::new(Method::PUT, path(one, "pin"));
    call.body = Some(serde_json::to_string(&order).expect("an order is JSON"));
    let (_, workload): (_, Workload) = client.call(call).await?;
    let until = workload.pins.first().and_then(|pin| pin.until.clone());
    let until = until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
    tell(one, &workload, &format!("is kept awake {until}"))
}

/// `dormouse unpin`.
pub(super) async fn unpin(client: &Client, one: &OneWorkload) -> Result<Exit, Complaint> {
    let (_, workload) = act(client, one, Method::DELETE, "pin").await?;
    tell(one, &workload, "has no pin")
}

/// `dormouse reload`.
pub(super) async fn reload(client: &Client, json: bool) -> Result<Exit, Complaint> {
    let mut call = Call::new(Method::POST, "/api/v1/reload");
    call.deadline = 2 * ANSWER_MAX;
    let (_, reloaded): (_, Reloaded) = client.call(call).await?;
    match json {
        true => print::json(&reloaded)?,
        false => print::line(&format!(
            "{}; registry {} is in force",
            reloaded.outcome.as_str(),
            reloaded.version
        ))?,
    }
    Ok(Exit::Ok)
}

async fn act(
    client: &Client,
    one: &OneWorkload,
    method: Method,
    what: &str,
) -> Result<(StatusCode, Workload), Complaint> {
    Ok(client.call(Call::new(method, path(one, what))).await?)
}

fn path(one: &OneWorkload, what: &str) -> String {
    format!("/api/v1/workloads/{}/{what}", escape(&one.name))
}

fn told_to_sleep(
    one: &OneWorkload,
    status: StatusCode,
    workload: &Workload,
) -> Result<Exit, Complaint> {
    let said = match status {
        StatusCode::OK => "is asleep already",
        _ => "goes to sleep",
    };
    tell(one, workload, said)
}

fn tell(one: &OneWorkload, workload: &Workload, said: &str) -> Result<Exit, Complaint> {
    match one.remote.json {
        true => print::json(workload)?,
        false => print::line(&format!("{} {said}", workload.id()))?,
    }
    Ok(Exit::Ok)
}

/// The story of one wake, followed while somebody waits for it.
struct Story {
    events: Option<EventStream>,
    /// Lines up to this one belong to an earlier wake.
    after_seq: u64,
    /// Whether the last line that was told lets another follow.
    open: bool,
    /// Whether any line was told.
    told: bool,
    json: bool,
}

impl Story {
    /// Follows from now on, or from the beginning of the wake that goes on.
    async fn open(client: &Client, one: &OneWorkload) -> Result<Self, Complaint> {
        let path = format!("/api/v1/workloads/{}", escape(&one.name));
        let (_, now): (_, Workload) = client.call(Call::get(&*path)).await?;
        let steps = now.last_wake.as_ref().map(|wake| wake.steps.as_slice()).unwrap_or_default();
        let after_seq = match now.phase {
            Phase::Waking => steps.first().map_or(0, |first| first.seq - 1),
            Phase::Unknown
            | Phase::Asleep
            | Phase::Ready
            | Phase::Draining
            | Phase::Settling
            | Phase::Failed
            | Phase::Misconfigured
            | Phase::Gone => steps.last().map_or(0, |last| last.seq),
        };
        let events = client.events(&format!("{path}/events"), None).await?;
        let json = one.remote.json;
        Ok(Self { events: Some(events), after_seq, open: false, told: false, json })
    }

    /// Whether more lines are to be expected.
    fn is_open(&self) -> bool {
        self.open && self.events.is_some()
    }

    /// The next line of this wake; never when the stream has ended.
    async fn next(&mut self) -> ProgressEvent {
        while let Some(events) = &mut self.events {
            match events.next().await {
                Some(event) if event.name == "progress" => {
                    if let Ok(step) = serde_json::from_str::<ProgressEvent>(&event.data)
                        && step.seq > self.after_seq
                    {
                        return step;
                    }
                }
                Some(_) => {}
                None => self.events = None,
            }
        }
        std::future::pending().await
    }

    /// Steps are data for people; a program gets the workload as data, and the steps aside.
    fn tell(&mut self, step: ProgressEvent) -> Result<(), Complaint> {
        self.open = !step.kind.ends();
        self.told = true;
        let line = format!("{}  {}", step.at, step.message);
        match self.json {
            true => print::aside(&line),
            false => print::line(&line)?,
        }
        Ok(())
    }
}
