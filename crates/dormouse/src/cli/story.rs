//! The verbs that tell what happened: events and logs.

use std::time::Duration;

use dormouse_wire::{Event, Exit, Logs, ProgressEvent};

use super::args::OneWorkload;
use super::complaint::Complaint;
use super::print;
use crate::client::{Call, Client, ClientError, EventStream, ServerEvent, escape};

/// The pause before a stream that has ended is followed again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Which events are wanted, and how.
pub(super) struct Wanted<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) json: bool,
}

/// `dormouse events`.
pub(super) async fn so_far(client: &Client, wanted: Wanted<'_>) -> Result<Exit, Complaint> {
    let path = format!("{}?follow=false", wanted.path());
    let mut events = client.events(&path, None).await?;
    let mut last = None;
    wanted.tell_all(&mut events, &mut last).await?;
    Ok(Exit::Ok)
}

/// `dormouse events -f`: goes on after a stream has ended, from where it ended.
pub(super) async fn follow(client: &Client, wanted: Wanted<'_>) -> Result<Exit, Complaint> {
    let mut last: Option<String> = None;
    let mut events = client.events(&wanted.path(), None).await?;
    loop {
        wanted.tell_all(&mut events, &mut last).await?;
        events = loop {
            tokio::time::sleep(AGAIN_AFTER).await;
            match client.events(&wanted.path(), last.as_deref()).await {
                Ok(events) => break events,
                Err(error @ (ClientError::Problem(_) | ClientError::Odd(..))) => {
                    return Err(error.into());
                }
                Err(error) => print::aside(&format!("{error}; trying again")),
            }
        };
    }
}

/// `dormouse logs`.
pub(super) async fn logs(
    client: &Client,
    one: &OneWorkload,
    lines: usize,
) -> Result<Exit, Complaint> {
    let path = format!("/api/v1/workloads/{}/logs?lines={lines}", escape(&one.name));
    let (_, logs): (_, Logs) = client.call(Call::get(path)).await?;
    match one.remote.json {
        true => print::json(&logs)?,
        false => {
            // What a workload writes is data, colours included.
            let text: String = logs.lines.iter().map(|line| format!("{line}\n")).collect();
            print::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

impl Wanted<'_> {
    fn path(&self) -> String {
        match self.name {
            Some(name) => format!("/api/v1/workloads/{}/events", escape(name)),
            None => "/api/v1/events".to_owned(),
        }
    }

    async fn tell_all(
        &self,
        events: &mut EventStream,
        last: &mut Option<String>,
    ) -> Result<(), Complaint> {
        while let Some(event) = events.next().await {
            if event.id.is_some() {
                last.clone_from(&event.id);
            }
            self.tell(&event)?;
        }
        Ok(())
    }

    fn tell(&self, event: &ServerEvent) -> Result<(), Complaint> {
        match event.name.as_str() {
            "ping" => Ok(()),
            _ if self.json => print::text(&format!("{}\n", event.data)),
            "progress" => match serde_json::from_str::<ProgressEvent>(&event.data) {
                Ok(step) => print::line(&progress_line(&step)),
                Err(_) => Ok(()),
            },
            _ => match serde_json::from_str::<Event>(&event.data) {
                Ok(event) => print::line(&event_line(&event)),
                // Of a kind that a newer dormouse knows.
                Err(_) => Ok(()),
            },
        }
    }
}

fn progress_line(step: &ProgressEvent) -> String {
    format!("{}  {}  {}", step.at, step.workload, step.message)
}

fn event_line(event: &Event) -> String {
    let subject = event.workload.as_deref().or(event.environment.as_deref()).unwrap_or("dormouse");
    let what = match (&event.from, &event.to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        _ => event.kind.as_str().to_owned(),
    };
    format!("{}  {subject}  {what}  {}", event.at, event.message)
}
