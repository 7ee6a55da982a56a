//! Facts about what the engine says when it is asked: versions, refusals, listings, addresses, logs.

use std::time::Duration;

use dormouse_testkit::engine::stock;
use tokio::time::sleep;

use crate::facts;
use crate::lab::Lab;

facts![
    a_ping_names_the_api_version,
    a_version_outside_the_range_is_refused,
    what_is_absent_is_a_404,
    a_taken_name_is_a_409_that_names_its_owner,
    a_renamed_container_keeps_its_id,
    a_bad_filter_is_a_500,
    a_bad_moment_is_a_500,
    a_listing_without_all_shows_what_runs,
    a_listing_is_filtered_by_label,
    a_published_port_is_told_while_it_runs,
    a_freed_address_goes_to_the_next_start,
    logs_come_in_frames,
    logs_without_a_stream_are_a_400,
    a_look_at_what_is_starting_waits,
];

async fn a_ping_names_the_api_version(lab: &Lab) {
    let answer = lab.client.read("/_ping").await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"OK"[..]));
    let version = lab.client.read("/version").await.unwrap().json();
    assert_eq!(answer.headers["api-version"], version["ApiVersion"].as_str().unwrap());
}

async fn a_version_outside_the_range_is_refused(lab: &Lab) {
    let new = lab.client.read("/v9.99/version").await.unwrap();
    assert_eq!(new.status, 400);
    assert!(new.message().starts_with("client version 9.99 is too new. Maximum supported API"));
    let old = lab.client.read("/v1.1/version").await.unwrap();
    assert_eq!(old.status, 400);
    let text = String::from_utf8_lossy(&old.body);
    assert!(text.contains("client version 1.1 is too old. Minimum supported API version is"));
}

async fn what_is_absent_is_a_404(lab: &Lab) {
    let name = lab.name("nosuch");
    for path in ["start", "stop", "kill", "pause", "unpause", "restart"] {
        let answer = lab.client.post(&format!("/containers/{name}/{path}")).await.unwrap();
        assert_eq!(answer.status, 404, "{path}");
        let absent = format!("No such container: {name}");
        assert!(answer.message().ends_with(&absent), "{path}: {}", answer.message());
    }
    assert_eq!(lab.client.read(&format!("/containers/{name}/json")).await.unwrap().status, 404);
    let nowhere = lab.client.read("/nowhere").await.unwrap();
    assert_eq!((nowhere.status, nowhere.message().as_str()), (404, "page not found"));
}

async fn a_taken_name_is_a_409_that_names_its_owner(lab: &Lab) {
    let id = lab.create(stock::obedient("taken")).await;
    let name = lab.name("taken");
    let image = lab.image().await;
    let body = serde_json::json!({"Image": image, "Cmd": ["true"]});
    let path = format!("/containers/create?name={name}");
    let answer = lab.client.post_json(&path, &body).await.unwrap();
    assert_eq!(answer.status, 409);
    assert!(answer.message().contains(&id), "{}", answer.message());
}

async fn a_renamed_container_keeps_its_id(lab: &Lab) {
    let id = lab.create(stock::obedient("a")).await;
    let new = lab.name("b");
    lab.post("a", &format!("rename?name={new}")).await;
    assert_eq!(lab.client.read(&format!("/containers/{id}/json")).await.unwrap().json()["Id"], id);
    let short = &id[..12];
    let by_prefix = lab.client.read(&format!("/containers/{short}/json")).await.unwrap();
    assert_eq!(by_prefix.json()["Name"], format!("/{new}"));
}

async fn a_bad_filter_is_a_500(lab: &Lab) {
    for path in ["/containers/json?filters=bad", "/events?filters=%7Bbad"] {
        assert_eq!(lab.client.read(path).await.unwrap().status, 500, "{path}");
    }
}

async fn a_bad_moment_is_a_500(lab: &Lab) {
    assert_eq!(lab.client.read("/events?since=bad").await.unwrap().status, 500);
    assert_eq!(lab.client.read("/events?until=10&since=20").await.unwrap().status, 400);
}

async fn a_listing_without_all_shows_what_runs(lab: &Lab) {
    lab.running(stock::obedient("a")).await;
    lab.running(stock::obedient("b")).await;
    lab.create(stock::obedient("c")).await;
    lab.post("b", "pause").await;
    assert_eq!(lab.listed("").await, [("b", "paused"), ("a", "running")].map(owned));
    let all = [("c", "created"), ("b", "paused"), ("a", "running")].map(owned);
    assert_eq!(lab.listed("&all=1").await, all);
    let filter = "&filters=%7B%22status%22%3A%5B%22created%22%5D%7D";
    assert_eq!(lab.listed(filter).await, [("c", "created")].map(owned));
}

async fn a_listing_is_filtered_by_label(lab: &Lab) {
    lab.create(stock::obedient("a").label("tier", "web")).await;
    lab.create(stock::obedient("b").label("tier", "db")).await;
    let filter = "&all=1&filters=%7B%22label%22%3A%5B%22tier%3Dweb%22%5D%7D";
    assert_eq!(lab.listed(filter).await, [("a", "created")].map(owned));
    let filter = "&all=1&filters=%7B%22label%22%3A%7B%22tier%22%3Atrue%7D%7D";
    assert_eq!(lab.listed(filter).await, [("b", "created"), ("a", "created")].map(owned));
}

async fn a_published_port_is_told_while_it_runs(lab: &Lab) {
    lab.create(stock::obedient("a").publishing(8080, "127.0.0.1").exposing(9090)).await;
    assert_eq!(lab.inspect("a").await["NetworkSettings"]["Ports"], serde_json::json!({}));
    lab.post("a", "start").await;
    let settings = lab.inspect("a").await["NetworkSettings"].clone();
    let published = &settings["Ports"]["8080/tcp"][0];
    assert_eq!(published["HostIp"], "127.0.0.1");
    assert!(published["HostPort"].as_str().unwrap().parse::<u16>().unwrap() > 0);
    assert_eq!(settings["Ports"]["9090/tcp"], serde_json::Value::Null);
    let address = settings["IPAddress"].as_str().unwrap();
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    assert_eq!(settings["Networks"]["bridge"]["IPAddress"], address);
    lab.post("a", "kill").await;
    let settings = lab.inspect("a").await["NetworkSettings"].clone();
    assert_eq!((&settings["Ports"], &settings["IPAddress"]), (&serde_json::json!({}), &"".into()));
}

async fn a_freed_address_goes_to_the_next_start(lab: &Lab) {
    if lab.is_shared() {
        // Other users of the machine's engine may take the address in between.
        return;
    }
    lab.running(stock::obedient("a")).await;
    lab.create(stock::obedient("b")).await;
    let first = lab.inspect("a").await["NetworkSettings"]["IPAddress"].clone();
    lab.post("a", "kill").await;
    lab.post("b", "start").await;
    assert_eq!(lab.inspect("b").await["NetworkSettings"]["IPAddress"], first);
}

async fn logs_come_in_frames(lab: &Lab) {
    lab.running(stock::talkative("a")).await;
    let name = lab.name("a");
    let path = format!("/containers/{name}/logs?stdout=1&stderr=1&tail=2");
    lab.eventually("it has spoken", async || {
        let body = lab.client.read(&path).await.unwrap().body;
        body[..] == b"\x01\0\0\0\0\0\0\x07line 4\n\x01\0\0\0\0\0\0\x07line 5\n"[..]
    })
    .await;
}

async fn logs_without_a_stream_are_a_400(lab: &Lab) {
    lab.create(stock::obedient("a")).await;
    let name = lab.name("a");
    let answer = lab.client.read(&format!("/containers/{name}/logs")).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.message(), "Bad parameters: you must choose at least one stream");
}

async fn a_look_at_what_is_starting_waits(lab: &Lab) {
    let mut spec = stock::obedient("a");
    spec.behaviour.start_delay = Duration::from_millis(150);
    lab.create(spec).await;
    let start = lab.spawn_post("a", "start");
    sleep(Duration::from_millis(30)).await;
    assert_eq!(lab.state("a").await["Status"], "running");
    assert_eq!(start.await.unwrap(), 204);
}

fn owned((name, state): (&str, &str)) -> (String, String) {
    (name.to_owned(), state.to_owned())
}
