//! What the Docker provider does to containers, on the machine's own engine and on fake ones of
//! three kinds alike.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod place;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dormouse_core::Condition;
use dormouse_core::observation::Health;
use dormouse_core::policy::Rest;
use dormouse_providers::{
    Address, FeedItem, Provider, ProviderError, RestOrder, Target, Transport, Via,
};
use dormouse_testkit::engine::{ContainerSpec, RestartPolicy, stock};
use tokio::time::Instant;

use place::{Engine, Place, is_absent, is_paused, is_running, is_stopped, soon, targets, until};

const GRACE: Duration = Duration::from_secs(2);

/// Makes one test of each story for each kind of engine.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        stories!(fake: $($story),*);
        stories!(podman: $($story),*);
        stories!(newest: $($story),*);
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(place) = super::Place::real().await {
                    super::$story(&place).await;
                }
            })*
        }
    };
    ($kind:ident: $($story:ident),*) => {
        mod $kind {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(&super::Place::$kind().await).await;
            })*
        }
    };
}

stories![
    it_starts_from_every_rest,
    every_rest_is_reached_and_is_idempotent,
    a_stop_ends_what_is_paused,
    a_stop_that_is_ignored_ends_in_a_kill,
    a_stop_sends_the_signal_that_was_asked_for,
    a_start_during_a_stop_that_nobody_waits_for_survives_it,
    a_stop_keeps_a_restart_policy_from_bringing_it_back,
    what_is_absent_is_told,
    the_beginning_of_an_id_is_no_name,
    a_start_that_the_engine_refuses_says_why,
    what_ends_as_soon_as_it_was_started_is_told,
    each_start_is_another_run,
    health_is_told,
    the_last_lines_of_the_log_come_in_order,
    a_listing_has_every_label_and_looks_closer_at_its_own,
    the_feed_tells_what_is_done_by_hand,
    the_feed_tells_more_of_those_who_are_followed,
    a_hangup_is_not_a_stop,
    a_container_recreated_under_the_same_name_comes_back,
    a_thousand_looks_open_few_connections,
    a_deadline_is_kept,
];

async fn it_starts_from_every_rest(place: &Place) {
    let target = place.create(stock::obedient("app").exposing(8080)).await;
    assert_eq!(place.condition(&target).await, Condition::Stopped { exit_code: None });
    for rest in [None, Some(Rest::Stop), Some(Rest::Pause), Some(Rest::Kill)] {
        if let Some(rest) = rest {
            place.rest(&target, rest, GRACE).await.unwrap();
        }
        let before = Instant::now();
        let sighting = place.start(&target).await.unwrap();
        assert!(is_running(sighting.condition), "{rest:?}: {:?}", sighting.condition);
        assert!(sighting.as_of > before);
        assert_eq!(sighting.default_port, Some(8080));
        assert!(!sighting.candidates(8080).is_empty(), "{:?}", sighting.addresses);
    }
    let running = place.start(&target).await.unwrap();
    let again = place.start(&target).await.unwrap();
    assert_eq!(running.condition, again.condition);
}

async fn every_rest_is_reached_and_is_idempotent(place: &Place) {
    let target = place.create(stock::obedient("app")).await;
    for rest in [Rest::Stop, Rest::Pause, Rest::Kill] {
        place.start(&target).await.unwrap();
        for _ in 0..2 {
            let sighting = place.rest(&target, rest, GRACE).await.unwrap();
            match rest {
                Rest::Pause => assert!(is_paused(sighting.condition)),
                Rest::Stop | Rest::Kill => assert!(is_stopped(sighting.condition)),
            }
            assert!(sighting.addresses.is_empty());
        }
    }
    let stopped = place.rest(&target, Rest::Pause, GRACE).await.unwrap();
    assert!(is_stopped(stopped.condition), "what is stopped rests already");
}

async fn a_stop_ends_what_is_paused(place: &Place) {
    for rest in [Rest::Stop, Rest::Kill] {
        let target = place.running(stock::obedient(rest.as_str())).await;
        place.rest(&target, Rest::Pause, GRACE).await.unwrap();
        let sighting = place.rest(&target, rest, GRACE).await.unwrap();
        assert!(is_stopped(sighting.condition), "{rest:?}");
    }
}

async fn a_stop_that_is_ignored_ends_in_a_kill(place: &Place) {
    let target = place.running(stock::deaf("deaf")).await;
    let begun = Instant::now();
    let sighting = place.rest(&target, Rest::Stop, Duration::from_secs(1)).await.unwrap();
    assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(137) });
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

async fn a_stop_sends_the_signal_that_was_asked_for(place: &Place) {
    // A fake process knows no signals but the usual ones, and ends by any of them.
    let mut spec = stock::deaf("polite");
    let script = "trap '' TERM; trap 'exit 7' USR1; while :; do sleep 0.05; done";
    spec.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let target = place.running(spec).await;
    let is_real = matches!(place.engine, Engine::Real(_));
    if is_real {
        settle(place, &target).await;
    }
    let order = RestOrder { rest: Rest::Stop, signal: Some("SIGUSR1".into()), grace: GRACE };
    let sighting = place.provider.rest(&target, &order, soon()).await.unwrap();
    assert!(is_stopped(sighting.condition));
    if is_real {
        assert_eq!(sighting.condition, Condition::Stopped { exit_code: Some(7) });
    }
}

/// Waits until a shell has set its traps: it says so by having a child.
async fn settle(place: &Place, target: &Target) {
    let Engine::Real(engine) = &place.engine else {
        return;
    };
    until("the shell has begun to loop", async || {
        let path = format!("/containers/{target}/top");
        let top = engine.client().read(&path).await.unwrap().json();
        top["Processes"].as_array().is_some_and(|processes| processes.len() > 1)
    })
    .await;
}

async fn a_start_during_a_stop_that_nobody_waits_for_survives_it(place: &Place) {
    let target = place.running(stock::deaf("deaf")).await;
    let order = RestOrder { rest: Rest::Stop, signal: None, grace: GRACE };
    let deadline = Instant::now() + Duration::from_millis(300);
    let left = place.provider.rest(&target, &order, deadline).await;
    assert_eq!(left.unwrap_err(), ProviderError::Timeout("rest"));
    let started = place.start(&target).await.unwrap();
    assert!(is_running(started.condition));
    tokio::time::sleep(GRACE + Duration::from_millis(500)).await;
    assert_eq!(place.condition(&target).await, started.condition, "the stop came after the start");
}

async fn a_stop_keeps_a_restart_policy_from_bringing_it_back(place: &Place) {
    for (name, policy) in
        [("always", RestartPolicy::Always), ("unless", RestartPolicy::UnlessStopped)]
    {
        let target = place.running(stock::obedient(name).restarting(policy)).await;
        for rest in [Rest::Stop, Rest::Kill] {
            place.start(&target).await.unwrap();
            place.rest(&target, rest, GRACE).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(is_stopped(place.condition(&target).await), "{policy:?} {rest:?}");
        }
    }
}

async fn what_is_absent_is_told(place: &Place) {
    let target = place.target("nobody");
    assert_eq!(place.condition(&target).await, Condition::Absent);
    let absent = ProviderError::Absent(target.clone());
    assert_eq!(place.start(&target).await.unwrap_err(), absent);
    assert_eq!(place.rest(&target, Rest::Stop, GRACE).await.unwrap_err(), absent);
    assert_eq!(place.provider.log_tail(&target, 5, soon()).await.unwrap_err(), absent);
    for odd in ["", "..", "a/b", "json", "x?all=1#", "ü\r\n"] {
        assert_eq!(place.condition(&Target::new(odd)).await, Condition::Absent, "{odd:?}");
    }
}

async fn the_beginning_of_an_id_is_no_name(place: &Place) {
    let target = place.create(stock::obedient("app")).await;
    let id = match &place.engine {
        Engine::Real(engine) => engine.inspect(target.as_str()).await.unwrap()["Id"].clone(),
        Engine::Fake(engine) => {
            let path = format!("/containers/{target}/json");
            let client = dormouse_testkit::engine::RawClient::new(engine.socket());
            client.read(&path).await.unwrap().json()["Id"].clone()
        }
    };
    let id = id.as_str().unwrap();
    for beginning in [&id[..12], id] {
        let target = Target::new(beginning);
        assert_eq!(place.condition(&target).await, Condition::Absent);
        assert_eq!(place.start(&target).await.unwrap_err(), ProviderError::Absent(target));
    }
}

async fn a_start_that_the_engine_refuses_says_why(place: &Place) {
    let target = place.create(stock::broken("broken")).await;
    let Err(ProviderError::Refused(reason)) = place.start(&target).await else {
        panic!("it cannot start")
    };
    assert!(reason.contains("no such file or directory"), "{reason}");
}

async fn what_ends_as_soon_as_it_was_started_is_told(place: &Place) {
    let mut spec = stock::brief("brief", 3);
    spec.command = ["sh", "-c", "exit 3"].map(str::to_owned).to_vec();
    spec.behaviour.crash = Some((Duration::ZERO, 3));
    let target = place.create(spec).await;
    // It may be seen alive, but never twice.
    for _ in 0..3 {
        match place.start(&target).await {
            Ok(sighting) => assert!(is_running(sighting.condition)),
            Err(error) => assert_eq!(error, ProviderError::Ended { exit_code: Some(3) }),
        }
        until("it has ended", async || is_stopped(place.condition(&target).await)).await;
    }
    if let Engine::Fake(engine) = &place.engine {
        assert_eq!(engine.starts(target.as_str()), 3);
    }
}

async fn each_start_is_another_run(place: &Place) {
    let target = place.running(stock::obedient("app")).await;
    let first = place.condition(&target).await.run();
    place.rest(&target, Rest::Pause, GRACE).await.unwrap();
    assert_eq!(place.condition(&target).await.run(), first, "a pause keeps the run");
    place.start(&target).await.unwrap();
    assert_eq!(place.condition(&target).await.run(), first);
    place.rest(&target, Rest::Stop, GRACE).await.unwrap();
    assert_eq!(place.condition(&target).await.run(), None);
    place.start(&target).await.unwrap();
    let second = place.condition(&target).await.run();
    assert!(second.is_some() && second != first);
}

async fn health_is_told(place: &Place) {
    let mut feed = place.feed();
    let good = place.create(stock::checked("good", true)).await;
    let bad = place.create(stock::checked("bad", false)).await;
    place.follow(&[&good, &bad]);
    place.start(&good).await.unwrap();
    place.start(&bad).await.unwrap();
    for (target, verdict) in [(&good, Health::Healthy), (&bad, Health::Unhealthy)] {
        until("health is decided", async || {
            let condition = place.condition(target).await;
            matches!(condition, Condition::Running { health, .. } if health == verdict)
        })
        .await;
    }
    let is = |condition| matches!(condition, Condition::Running { health: Health::Healthy, .. });
    feed.until(&good, is).await;
}

async fn the_last_lines_of_the_log_come_in_order(place: &Place) {
    let target = place.running(stock::talkative("talker")).await;
    until("it has written its lines", async || {
        let lines = place.provider.log_tail(&target, 10, soon()).await.unwrap();
        lines == ["line 1", "line 2", "line 3", "line 4", "line 5"]
    })
    .await;
    let lines = place.provider.log_tail(&target, 2, soon()).await.unwrap();
    assert_eq!(lines, ["line 4", "line 5"]);
}

async fn a_listing_has_every_label_and_looks_closer_at_its_own(place: &Place) {
    let own = stock::obedient("own").label("dormouse.enable", "true").exposing(80);
    let own = place.running(own).await;
    let other = place.running(stock::obedient("other").label("colour", "blue").exposing(81)).await;
    let listing = place.provider.list(soon()).await.unwrap();
    let found = |target: &Target| {
        listing.iter().find(|found| found.target == *target).expect("it is listed")
    };
    let own = found(&own);
    assert_eq!(own.labels.get("dormouse.enable").map(String::as_str), Some("true"));
    assert!(!own.sighting.addresses.is_empty());
    assert_eq!(own.sighting.default_port, Some(80));
    let other_found = found(&other);
    assert_eq!(other_found.labels.get("colour").map(String::as_str), Some("blue"));
    assert!(is_running(other_found.sighting.condition));
    assert!(other_found.sighting.addresses.is_empty());

    place.follow(&[&other]);
    let listing = place.provider.list(soon()).await.unwrap();
    let followed = listing.iter().find(|found| found.target == other).unwrap();
    assert!(!followed.sighting.addresses.is_empty(), "it is followed now");
}

async fn the_feed_tells_what_is_done_by_hand(place: &Place) {
    let first = place.create(stock::obedient("first").label("dormouse.enable", "true")).await;
    let mut feed = place.feed();
    let listing = feed.resync().await;
    assert!(targets(&listing).contains(first.as_str()));

    place.start_by_hand(&first).await;
    feed.until(&first, is_running).await;
    place.pause_by_hand(&first).await;
    feed.until(&first, is_paused).await;
    place.start(&first).await.unwrap();
    feed.until(&first, is_running).await;
    place.stop_by_hand(&first).await;
    feed.until(&first, is_stopped).await;

    let second = place.target("second");
    place.rename_by_hand(&first, &second).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let found = feed.news_of_any(&[&first, &second]).await;
        let condition = found.sighting.condition;
        let is_told =
            if found.target == first { is_absent(condition) } else { is_stopped(condition) };
        if is_told && seen.insert(found.target) {
            let label = found.labels.get("dormouse.enable");
            assert_eq!(label.map(String::as_str), Some("true"));
        }
    }
    place.remove_by_hand(&second).await;
    feed.until(&second, is_absent).await;

    let mut late = place.feed();
    let listing = late.resync().await;
    assert!(!targets(&listing).contains(second.as_str()));
}

async fn the_feed_tells_more_of_those_who_are_followed(place: &Place) {
    let target = place.running(stock::obedient("app").exposing(80)).await;
    let mut feed = place.feed();
    assert!(targets(&feed.resync().await).contains(target.as_str()));

    place.follow(&[&target]);
    let found = feed.news(&target).await;
    assert!(!found.sighting.addresses.is_empty());
    place.stop_by_hand(&target).await;
    feed.until(&target, is_stopped).await;
    place.start_by_hand(&target).await;
    let found = feed.until(&target, is_running).await;
    assert!(!found.sighting.addresses.is_empty());
    let stats = place.provider.stats();
    assert!(stats.looks > 0 && stats.events > 0, "{stats:?}");

    let nobody = place.target("nobody");
    place.follow(&[&target, &nobody]);
    feed.until(&nobody, is_absent).await;
}

async fn a_hangup_is_not_a_stop(place: &Place) {
    let spec = stock::obedient("app").label("dormouse.enable", "true");
    let mut spec = spec;
    let script = "trap 'exit 0' TERM; trap : HUP; while :; do sleep 0.05; done";
    spec.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let target = place.running(spec).await;
    settle(place, &target).await;
    let mut feed = place.feed();
    feed.resync().await;
    let run = place.condition(&target).await.run();
    if matches!(place.engine, Engine::Real(_)) {
        place.kill_by_hand(&target, "HUP").await;
    }
    // What is said of the next act is said after whatever was said of the signal.
    place.pause_by_hand(&target).await;
    loop {
        let condition = feed.news(&target).await.sighting.condition;
        assert_eq!(condition.run(), run, "{condition:?}");
        if is_paused(condition) {
            break;
        }
    }
}

async fn a_container_recreated_under_the_same_name_comes_back(place: &Place) {
    let spec = || stock::obedient("app").label("dormouse.enable", "true");
    let target = place.running(spec()).await;
    let mut feed = place.feed();
    feed.resync().await;
    let first = place.condition(&target).await.run();
    place.remove_by_hand(&target).await;
    feed.until(&target, is_absent).await;
    place.create(spec()).await;
    feed.until(&target, is_stopped).await;
    let started = place.start(&target).await.unwrap();
    assert_ne!(started.condition.run(), first);
    let seen = feed.until(&target, is_running).await;
    assert_eq!(seen.sighting.condition.run(), started.condition.run());
}

async fn a_thousand_looks_open_few_connections(place: &Place) {
    let target = place.running(stock::obedient("app").exposing(80)).await;
    let before = place.provider.stats();
    for _ in 0..1_000 {
        assert!(is_running(place.condition(&target).await));
    }
    let after = place.provider.stats();
    assert_eq!(after.calls - before.calls, 1_000);
    assert!(after.connections_opened - before.connections_opened <= 1, "{after:?}");
}

async fn a_deadline_is_kept(place: &Place) {
    let target = place.running(stock::deaf("deaf")).await;
    let begun = Instant::now();
    let order = RestOrder { rest: Rest::Stop, signal: None, grace: Duration::from_secs(5) };
    let deadline = begun + Duration::from_millis(200);
    let outcome = place.provider.rest(&target, &order, deadline).await;
    assert_eq!(outcome.unwrap_err(), ProviderError::Timeout("rest"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    place.rest(&target, Rest::Kill, GRACE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_in_the_engines_words() {
    let Some(place) = Place::real().await else {
        return;
    };
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut spec = stock::obedient("app").publishing(80, "127.0.0.1");
    spec.published[0].host_port = Some(port);
    let target = place.create(spec).await;
    let Err(ProviderError::Refused(reason)) = place.start(&target).await else {
        panic!("the port is taken")
    };
    assert!(reason.contains("address already in use"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_of_a_real_container_leads_to_it() {
    let Some(place) = Place::real().await else {
        return;
    };
    let mut spec = ContainerSpec::named("web").publishing(8080, "0.0.0.0");
    spec.command = ["httpd", "-f", "-p", "8080"].map(str::to_owned).to_vec();
    let target = place.running(spec).await;
    let addresses = place.addresses(&target).await;
    let own = addresses.iter().filter(|address| matches!(address, Address::Own { .. })).count();
    assert_eq!((own, addresses.len()), (1, 2), "{addresses:?}");
    for address in addresses {
        let at = match address {
            Address::Own { ip, via } => {
                assert_eq!(via, Via::Direct);
                SocketAddr::new(ip, 8080)
            }
            Address::Published { port, transport, at } => {
                assert_eq!((port, transport), (8080, Transport::Tcp));
                assert_eq!(at.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
                at
            }
        };
        until("somebody answers there", async || tokio::net::TcpStream::connect(at).await.is_ok())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_networking_is_this_machine() {
    let Some(place) = Place::real().await else {
        return;
    };
    let mut spec = stock::obedient("host").exposing(9);
    spec.network_mode = "host".to_owned();
    let target = place.running(spec).await;
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let expected = [Address::Own { ip, via: Via::Direct }];
    assert_eq!(place.addresses(&target).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_in_anothers_network_is_reached_there() {
    let Some(place) = Place::real().await else {
        return;
    };
    let lender = place.running(stock::obedient("lender")).await;
    let mut spec = stock::obedient("guest");
    spec.network_mode = format!("container:{lender}");
    let guest = place.running(spec).await;
    let addresses = place.addresses(&guest).await;
    assert!(!addresses.is_empty());
    assert_eq!(addresses, place.addresses(&lender).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_every_feed() {
    let place = Place::fake().await;
    let mut feed = place.provider.feed();
    while feed.recv().await != Some(FeedItem::ResyncDone) {}
    place.provider.shutdown().await;
    let end = tokio::time::timeout(place::PATIENCE, feed.recv()).await.unwrap();
    assert_eq!(end, None);
}
