//! What the API answers, by endpoint.

use std::sync::Arc;
use std::time::Duration;

use dormouse::conductor::ReloadOutcome;
use dormouse_core::findings::Finding;
use dormouse_keeper::{Admission, Kind};
use dormouse_wire::Phase;
use http::{Method, StatusCode};
use serde_json::json;

use crate::house::{House, id, problem, raw};

#[tokio::test]
async fn a_workload_has_the_shape_of_the_contract() {
    let house = House::open().await;
    let (status, list) = house.json(Method::GET, "/api/v1/workloads").await;
    assert_eq!(status, StatusCode::OK);
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["app", "blog", "db"]);
    let blog = &list[1];
    assert_eq!(blog["environment"], "local");
    assert_eq!(blog["target"], "blog");
    assert_eq!(blog["phase"], "asleep");
    assert_eq!(blog["why"], "nobody wants it");
    assert!(blog["since"].as_str().unwrap().ends_with('Z'));
    let none = json!({"request": 0, "connection": 0, "flow": 0, "dependent": 0, "pin": 0});
    assert_eq!(blog["leases"], none);
    assert_eq!(blog["pins"], json!([]));
    assert_eq!(blog["needs"], json!(["local/db"]));
    assert_eq!(
        blog["routes"],
        json!([
            {"host": "blog.example.com", "path": "/", "scheme": "http"},
            {"host": "example.com", "path": "/blog", "scheme": "http"},
        ])
    );
    for absent in ["idle_at", "last_wake", "last_error", "upstream"] {
        assert!(blog.get(absent).is_none(), "{absent}");
    }
}

#[tokio::test]
async fn a_wake_that_is_waited_for_ends_ready_and_tells_its_story() {
    let house = House::open().await;
    let (status, blog) = house.json(Method::POST, "/api/v1/workloads/blog/wake?wait=10s").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(blog["phase"], "ready");
    assert_eq!(blog["upstream"], "127.0.0.1:80");
    assert_eq!(blog["last_wake"]["cause"], "asked");
    assert!(blog["last_wake"]["ms"].is_u64());
    let steps = blog["last_wake"]["steps"].as_array().unwrap();
    let types: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
    assert_eq!(types.first(), Some(&"starting"));
    assert_eq!(types.last(), Some(&"ready"));
    let need = steps.iter().find(|step| step["type"] == "dependency_ready").unwrap();
    assert_eq!(need["dependency"], "local/db");
    assert_eq!(need["workload"], "blog");
    let db = house.workload("db").await;
    assert_eq!((db.phase, db.leases.dependent), (Phase::Ready, 1));
    let (_, shown) = house.json(Method::GET, "/api/v1/workloads/blog").await;
    assert_eq!(shown["explain"]["needs"][0]["phase"], "ready");
    assert_eq!(shown["explain"]["needs"][0]["met"], true);
    assert_eq!(shown["explain"]["policy"]["wake_timeout"], "3s");
    assert!(shown["explain"]["condition"].is_string());
    let (_, db) = house.json(Method::GET, "/api/v1/workloads/db").await;
    assert_eq!(db["explain"]["dependents"], json!(["local/blog"]));
}

#[tokio::test]
async fn a_wake_that_nobody_waits_for_is_accepted_and_goes_on() {
    let house = House::open().await;
    house.runtime.slow_down("app", Duration::from_millis(100));
    let (status, app) = house.json(Method::POST, "/api/v1/workloads/app/wake").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(app["name"], "app");
    house.until("app", Phase::Ready).await;
    let (status, _) = house.json(Method::POST, "/api/v1/workloads/app/wake").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_wait_that_is_too_short_says_that_the_wake_goes_on() {
    let house = House::open().await;
    house.runtime.slow_down("app", Duration::from_millis(300));
    let path = "/api/v1/workloads/app/wake?wait=20ms";
    let problem = house.problem(Method::POST, path).await;
    assert_eq!((problem.status, problem.slug.as_str()), (504, "still-waking"));
    assert_eq!(problem.workload.as_deref(), Some("local/app"));
    house.until("app", Phase::Ready).await;
}

#[tokio::test]
async fn a_wake_that_takes_longer_than_wake_timeout_has_failed() {
    let house = House::open().await;
    house.runtime.slow_down("blog", Duration::from_secs(60));
    let path = "/api/v1/workloads/blog/wake?wait=30s";
    let problem = house.problem(Method::POST, path).await;
    assert_eq!(problem.status, 504);
    assert_ne!(problem.slug, "still-waking");
}

#[tokio::test]
async fn a_start_that_is_refused_is_a_problem_with_its_reason_now_and_for_a_while() {
    let house = House::open().await;
    house.runtime.refuse("app", "no such image");
    let path = "/api/v1/workloads/app/wake?wait=30s";
    let first = house.problem(Method::POST, path).await;
    assert_eq!((first.status, first.slug.as_str()), (502, "start-refused"));
    assert!(first.detail.contains("no such image"), "{}", first.detail);
    assert!(first.hint.is_some());
    let request = "POST /api/v1/workloads/app/wake HTTP/1.1\r\nHost: localhost\r\n\
                   Connection: close\r\n\r\n";
    let (status, head, body) = raw(house.address, request).await;
    assert_eq!(status, 502);
    assert!(head.contains("retry-after: "), "{head}");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(body.contains("\"retry_after\":"), "{body}");
    let (_, shown) = house.json(Method::GET, "/api/v1/workloads/app").await;
    assert_eq!(shown["phase"], "failed");
    assert!(shown["last_error"].as_str().unwrap().contains("no such image"));
    assert_eq!(shown["explain"]["last_failure"]["slug"], "start-refused");
}

#[tokio::test]
async fn what_is_in_use_does_not_sleep_unless_it_is_forced() {
    let house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let gate = house.keeper.gate(&id("app")).await.unwrap().unwrap();
    let Admission::Pass(pass) = gate.ask(Kind::Connection) else { panic!("the gate is shut") };
    let refused = house.problem(Method::POST, "/api/v1/workloads/app/sleep").await;
    assert_eq!((refused.status, refused.slug.as_str()), (409, "in-use"));
    assert_eq!(refused.leases.unwrap().connection, 1);
    assert_eq!(house.workload("app").await.leases.connection, 1);
    let forced = house.json(Method::POST, "/api/v1/workloads/app/sleep?force=true");
    let ends = async {
        house.until("app", Phase::Draining).await;
        drop(pass);
    };
    let ((status, _), ()) = tokio::join!(forced, ends);
    assert_eq!(status, StatusCode::ACCEPTED);
    house.until("app", Phase::Asleep).await;
    let (status, _) = house.json(Method::POST, "/api/v1/workloads/app/sleep").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_touch_begins_the_idle_period_anew_and_wakes_nobody() {
    let house = House::open().await;
    let (status, app) = house.json(Method::POST, "/api/v1/workloads/app/touch").await;
    assert_eq!((status, app["phase"].as_str()), (StatusCode::OK, Some("asleep")));
    let (_, app) = house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let before = app["idle_at"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (_, app) = house.json(Method::POST, "/api/v1/workloads/app/touch").await;
    assert!(app["idle_at"].as_str().unwrap() > before.as_str());
}

#[tokio::test]
async fn a_pin_wakes_and_holds_and_an_unpin_lets_go() {
    let house = House::open().await;
    let path = "/api/v1/workloads/app/pin";
    let order = r#"{"for":"2h","reason":"a demonstration"}"#;
    let (status, app) = house.send(Method::PUT, path, order).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(app["pins"][0]["reason"], "a demonstration");
    assert!(app["pins"][0]["until"].is_string());
    let app = house.until("app", Phase::Ready).await;
    assert_eq!((app.leases.pin, app.idle_at), (1, None));
    let (_, for_good) = house.send(Method::PUT, path, "").await.unwrap();
    assert_eq!(for_good["pins"], json!([{"reason": ""}]));
    for wrong in [r#"{"for":"soon"}"#, r#"{"for":"0s"}"#, r#"{"fore":"2h"}"#, "2h"] {
        let refused = problem(house.send(Method::PUT, path, wrong).await);
        assert_eq!((refused.status, refused.slug.as_str()), (400, "bad-request"), "{wrong}");
    }
    let large = format!("{{\"reason\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(problem(house.send(Method::PUT, path, &large).await).status, 413);
    for _ in 0..2 {
        let (status, app) = house.json(Method::DELETE, path).await;
        assert_eq!((status, &app["pins"]), (StatusCode::OK, &json!([])));
    }
}

#[tokio::test]
async fn a_workload_is_found_by_its_name_its_id_and_nothing_else() {
    let file = format!("{}\n[workload.twin]\ntarget = \"other/twin\"\n", crate::house::FILE);
    let house =
        House::of(&file, Vec::new(), Arc::default() as Arc<dormouse_store::MemoryStore>).await;
    for name in ["blog", "local~blog", "local%2Fblog"] {
        assert_eq!(house.workload(name).await.name, "blog");
    }
    assert_eq!(house.workload("twin").await.environment, "other");
    let missing = house.problem(Method::GET, "/api/v1/workloads/blgo").await;
    assert_eq!((missing.status, missing.slug.as_str()), (404, "no-such-workload"));
    assert_eq!(missing.hint.as_deref(), Some("did you mean `blog`?"));
    let missing = house.problem(Method::GET, "/api/v1/workloads/other~blog").await;
    assert_eq!(missing.status, 404);
    let hostile = house.problem(Method::GET, "/api/v1/workloads/%1b%5b2J%0d%0aX:%20y").await;
    assert!(!hostile.detail.contains('\u{1b}'), "{}", hostile.detail);
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_too() {
    let house = House::open().await;
    for (method, path, status, slug) in [
        (Method::GET, "/", 404, "no-such-endpoint"),
        (Method::GET, "/api/v1/nothing", 404, "no-such-endpoint"),
        (Method::GET, "/api/v1/workloads/app/wake", 405, "wrong-method"),
        (Method::POST, "/api/v1/workloads", 405, "wrong-method"),
        (Method::POST, "/api/v1/workloads/app/wake?wait=never", 400, "bad-request"),
        (Method::POST, "/api/v1/workloads/app/wake?wiat=1s", 400, "bad-request"),
        (Method::POST, "/api/v1/workloads/app/sleep?force=perhaps", 400, "bad-request"),
        (Method::GET, "/api/v1/workloads/app/logs?lines=-1", 400, "bad-request"),
    ] {
        let problem = house.problem(method.clone(), path).await;
        assert_eq!((problem.status, problem.slug.as_str()), (status, slug), "{method} {path}");
    }
}

#[tokio::test]
async fn logs_are_read_from_the_runtime() {
    let house = House::open().await;
    let (_, logs) = house.json(Method::GET, "/api/v1/workloads/app/logs?lines=5").await;
    assert_eq!(logs, json!({"workload": "local/app", "lines": ["app says hello"]}));
}

#[tokio::test]
async fn the_house_is_summed_up() {
    let house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let (_, summary) = house.json(Method::GET, "/api/v1/summary").await;
    assert_eq!(summary["workloads"], 3);
    assert_eq!((&summary["awake"], &summary["asleep"]), (&json!(1), &json!(2)));
    assert_eq!(summary["phases"]["ready"], 1);
    assert_eq!(summary["wakes"], 1);
    assert_eq!(summary["environments"], json!({"total": 2, "up": 2}));
    let (_, environments) = house.json(Method::GET, "/api/v1/environments").await;
    assert_eq!(environments[0]["name"], "local");
    assert_eq!(environments[0]["state"], "up");
    assert_eq!(environments[0]["address"], "unix:///nowhere.sock");
    assert_eq!(environments[0]["workloads"], 3);
    assert!(environments[0]["last_check"].is_string());
}

#[tokio::test]
async fn health_is_degraded_while_an_environment_does_not_answer() {
    let house = House::open().await;
    let (status, health) = house.json(Method::GET, "/health").await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("ok")));
    house.runtime.lose("connection refused").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let health = loop {
        let (status, health) = house.json(Method::GET, "/health").await;
        assert_eq!(status, StatusCode::OK);
        if health["status"] == "degraded" {
            break health;
        }
        assert!(tokio::time::Instant::now() < deadline);
    };
    let local = &health["services"]["local"];
    assert_eq!(local["ready"], false);
    assert_eq!(local["last_error"], "connection refused");
    assert!(local["last_check"].is_string());
}

#[tokio::test]
async fn a_reload_says_what_it_came_to() {
    let mut house = House::open().await;
    let client = house.client.clone();
    for outcome in ["changed", "unchanged"] {
        let call = client
            .call::<serde_json::Value>(dormouse::client::Call::new(Method::POST, "/api/v1/reload"));
        let answer = async {
            let request = house.reloads.recv().await.unwrap();
            request
                .send(match outcome {
                    "changed" => ReloadOutcome::Applied,
                    _ => ReloadOutcome::Unchanged,
                })
                .unwrap();
        };
        let (reloaded, ()) = tokio::join!(call, answer);
        assert_eq!(reloaded.unwrap().1, json!({"outcome": outcome, "version": 1}));
    }
    let call = client.fetch(dormouse::client::Call::new(Method::POST, "/api/v1/reload"));
    let answer = async {
        let finding = Finding::error("unknown-key", "nothing is called `hsots`");
        let reading = dormouse::reload::Reading { findings: vec![finding], ..Default::default() };
        let request = house.reloads.recv().await.unwrap();
        request.send(ReloadOutcome::Refused(Arc::new(reading))).unwrap();
    };
    let (refused, ()) = tokio::join!(call, answer);
    let refused = problem(refused);
    assert_eq!((refused.status, refused.slug.as_str()), (422, "config-invalid"));
    assert_eq!(refused.findings[0].slug, "unknown-key");
}

#[tokio::test]
async fn findings_of_files_and_labels_are_listed() {
    let house = House::open().await;
    let mut registry = (**house.registry.borrow()).clone();
    registry.findings =
        vec![Finding::warning("ignored-need", "it is not followed").about("local/app")];
    house.registry.send_replace(Arc::new(registry));
    let (_, list) = house.json(Method::GET, "/api/v1/config/findings").await;
    assert_eq!(list["findings"][0]["slug"], "ignored-need");
    assert_eq!(list["findings"][0]["severity"], "warning");
    assert_eq!(list["findings"][0]["workload"], "local/app");
}

#[tokio::test]
async fn every_endpoint_of_the_document_exists() {
    let house = House::open().await;
    let (_, document) = house.json(Method::GET, "/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 15, "{paths:?}");
    for (path, verbs) in paths {
        let path = path.replace("{name}", "no-such-name");
        for verb in verbs.as_object().unwrap().keys() {
            if path.ends_with("/events") || path.ends_with("/reload") {
                continue;
            }
            let method = Method::try_from(verb.to_uppercase().as_str()).unwrap();
            match house.client.fetch(dormouse::client::Call::new(method, &*path)).await {
                Ok(_) => {}
                Err(dormouse::client::ClientError::Problem(problem)) => {
                    let nothing = ["no-such-workload", "no-such-environment"];
                    assert!(nothing.contains(&problem.slug.as_str()), "{verb} {path}");
                }
                Err(error) => panic!("{verb} {path}: {error}"),
            }
        }
    }
}
