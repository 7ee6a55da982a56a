//! The event streams.

use std::time::Duration;

use dormouse::client::{EventStream, ServerEvent};
use dormouse_keeper::PinView;
use dormouse_wire::Phase;
use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::house::{House, id, raw};

async fn next(events: &mut EventStream) -> ServerEvent {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    event.expect("an event in time").expect("a stream that goes on")
}

fn data(event: &ServerEvent) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

#[tokio::test]
async fn a_stream_tells_what_happened_and_then_what_happens() {
    let house = House::open().await;
    let mut events = house.client.events("/api/v1/events", None).await.unwrap();
    let mut phases = Vec::new();
    while phases.len() < 3 {
        let event = next(&mut events).await;
        if event.name == "phase" {
            phases.push(data(&event)["to"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(phases, ["asleep", "asleep", "asleep"]);
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let mut live = Vec::new();
    while live.len() < 2 {
        let event = next(&mut events).await;
        if event.name == "phase" {
            let event = data(&event);
            assert_eq!(event["workload"], "local/app");
            live.push(event["to"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(live, ["waking", "ready"]);
}

#[tokio::test]
async fn a_reader_comes_back_to_where_it_was() {
    let house = House::open().await;
    let path = "/api/v1/events?follow=false";
    let mut events = house.client.events(path, None).await.unwrap();
    let mut all = Vec::new();
    while let Some(event) = events.next().await {
        all.push(event);
    }
    assert!(all.len() >= 4, "{all:?}");
    let after = all[1].id.as_deref();
    let mut events = house.client.events(path, after).await.unwrap();
    let mut rest = Vec::new();
    while let Some(event) = events.next().await {
        rest.push(event);
    }
    assert_eq!(rest, all[2..]);
    for foreign in ["0-1", "nonsense", "1zz-99999"] {
        let mut events = house.client.events(path, Some(foreign)).await.unwrap();
        assert_eq!(events.next().await.as_ref(), all.first(), "{foreign}");
    }
}

#[tokio::test]
async fn the_stream_of_a_workload_tells_the_story_of_its_wakes_and_of_nobody_else() {
    let house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/blog/wake?wait=10s").await;
    house.until("db", Phase::Ready).await;
    let mut events =
        house.client.events("/api/v1/workloads/blog/events?follow=false", None).await.unwrap();
    let mut told = Vec::new();
    let mut ids = Vec::new();
    while let Some(event) = events.next().await {
        let said = data(&event);
        match event.name.as_str() {
            "progress" => {
                assert_eq!(said["workload"], "blog");
                told.push(said["type"].as_str().unwrap().to_owned());
            }
            "phase" => {
                assert_eq!(said["workload"], "local/blog");
                told.push(said["to"].as_str().unwrap().to_owned());
            }
            other => panic!("{other}"),
        }
        ids.push(event.id.unwrap());
    }
    let position = |word: &str| told.iter().position(|said| said == word).unwrap();
    assert!(position("waking") < position("starting"), "{told:?}");
    assert!(position("starting") < position("dependency_ready"), "{told:?}");
    assert!(position("dependency_ready") < position("started"), "{told:?}");
    assert_eq!(told.iter().filter(|said| *said == "ready").count(), 2, "{told:?}");
    let last = ids.last().map(String::as_str);
    let mut events = house.client.events("/api/v1/workloads/blog/events", last).await.unwrap();
    house.json(Method::POST, "/api/v1/workloads/blog/sleep").await;
    assert_eq!(data(&next(&mut events).await)["to"], "draining");
}

#[tokio::test]
async fn a_stream_cannot_be_mistaken_for_something_to_keep() {
    let house = House::open().await;
    let request = "GET /api/v1/events?follow=false HTTP/1.1\r\nHost: localhost\r\n\
                   Connection: close\r\n\r\n";
    let (status, head, _) = raw(house.address, request).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
}

#[tokio::test]
async fn a_reader_who_does_not_read_is_dropped_and_holds_nobody_up() {
    let house = House::open().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut idle = socket.connect(house.address).await.unwrap();
    idle.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 64];
    idle.read_exact(&mut first).await.unwrap();
    // More than every buffer on the way holds, and than a reader may fall behind.
    let pin = PinView { until_ms: None, reason: String::new() };
    for _ in 0..2_000 {
        house.keeper.pin(&id("app"), pin.clone()).await.unwrap();
        house.keeper.unpin(&id("app")).await.unwrap();
    }
    let mut events = house.client.events("/api/v1/events?follow=false", None).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        last = event.id;
    }
    let last = format!("id: {}\n", last.unwrap());
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), idle.read_to_end(&mut rest)).await;
    read.expect("the stream was ended").unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains(&last), "nothing was left out");
}
