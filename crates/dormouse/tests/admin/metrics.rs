//! What a scrape tells.

use dormouse::client::Call;
use dormouse::metrics::FAMILIES;
use dormouse_wire::Phase;
use http::Method;
use std::sync::Arc;

use crate::house::{House, registry_of};

async fn scrape(house: &House) -> String {
    let (_, bytes) = house.client.fetch(Call::get("/metrics")).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test]
async fn every_metric_is_in_a_scrape_from_the_start() {
    let house = House::open().await;
    let text = scrape(&house).await;
    for family in FAMILIES {
        let name = format!("# TYPE dormouse_{} ", family.name);
        assert!(text.contains(&name), "{name}");
        assert!(text.contains(&format!("# HELP dormouse_{} ", family.name)));
    }
    assert!(text.ends_with("# EOF\n"));
    let version = env!("CARGO_PKG_VERSION");
    let info = format!("dormouse_build_info{{version=\"{version}\"}}");
    assert_eq!(value(&text, &info), Some(1.0));
}

#[tokio::test]
async fn wakes_rests_phases_and_leases_are_counted() {
    let house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    let text = scrape(&house).await;
    let app = "environment=\"local\",workload=\"app\"";
    let read =
        |name: &str, labels: &str| value(&text, &format!("dormouse_{name}{{{app}{labels}}}"));
    assert_eq!(read("wakes_total", ",cause=\"asked\",outcome=\"ready\""), Some(1.0));
    assert_eq!(read("wake_seconds_count", ",phase=\"start\""), Some(1.0));
    assert_eq!(read("workload_phase", ",phase=\"ready\""), Some(1.0));
    assert_eq!(read("workload_phase", ",phase=\"asleep\""), Some(0.0));
    assert_eq!(read("leases_opened_total", ",kind=\"request\""), Some(1.0));
    assert_eq!(read("leases_closed_total", ",kind=\"request\""), Some(1.0));
    assert!(read("asleep_seconds_total", "").is_some());
    let up = value(&text, "dormouse_environment_up{environment=\"local\"}");
    assert_eq!(up, Some(1.0));
    let calls = value(&text, "dormouse_engine_request_seconds_count{op=\"start\"}");
    assert_eq!(calls, Some(1.0));
    house.json(Method::POST, "/api/v1/workloads/app/sleep").await;
    house.until("app", Phase::Asleep).await;
    let text = scrape(&house).await;
    let rests = format!("dormouse_rests_total{{{app},rest=\"stop\",outcome=\"rested\"}}");
    assert_eq!(value(&text, &rests), Some(1.0));
}

#[tokio::test]
async fn the_series_of_a_workload_go_with_it() {
    let mut house = House::open().await;
    house.json(Method::POST, "/api/v1/workloads/app/wake?wait=10s").await;
    assert!(scrape(&house).await.contains("workload=\"app\""));
    let without = crate::house::FILE.split("[workload.app]").next().unwrap();
    let mut registry = registry_of(without);
    registry.version = 2;
    house.apply(Arc::new(registry)).await;
    let text = scrape(&house).await;
    assert!(!text.contains("workload=\"app\""), "{text}");
    assert!(text.contains("workload=\"blog\""));
}
