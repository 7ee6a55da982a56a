//! Who is kept out: pages of other sites, foreign names, callers without a token.

use std::sync::Arc;

use dormouse::config::{AdminToken, Scope, Secret};
use dormouse_store::MemoryStore;

use crate::house::{FILE, House, raw};

const LIST: &str = "GET /api/v1/workloads";
const WAKE: &str = "POST /api/v1/workloads/app/wake";

async fn status(house: &House, what: &str, headers: &[&str]) -> u16 {
    let mut request = format!("{what} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str("\r\n");
    raw(house.address, &request).await.0
}

async fn guarded() -> House {
    let token = |token: &str, scope| AdminToken { token: Secret::new(token), scope };
    let tokens = vec![
        token("to-read", Scope::Read),
        token("to-operate", Scope::Operate),
        token("to-do-all", Scope::Admin),
    ];
    House::of(FILE, tokens, Arc::new(MemoryStore::default())).await
}

#[tokio::test]
async fn a_foreign_name_is_refused() {
    let house = House::open().await;
    let port = house.address.port();
    for host in ["localhost", "127.0.0.1", "[::1]:1"] {
        assert_eq!(status(&house, LIST, &[&format!("Host: {host}")]).await, 200, "{host}");
    }
    assert_eq!(status(&house, LIST, &[&format!("Host: 127.0.0.1:{port}")]).await, 200);
    for host in ["evil.example", &format!("evil.example:{port}"), "192.0.2.1"] {
        let host = format!("Host: {host}");
        for path in [LIST, WAKE, "GET /metrics", "GET /health", "GET /nothing"] {
            assert_eq!(status(&house, path, &[&host]).await, 403, "{path} {host}");
        }
    }
    assert_eq!(status(&house, LIST, &[]).await, 400);
    assert_eq!(status(&house, LIST, &["Host: localhost", "Host: evil.example"]).await, 400);
    let absolute = "GET http://evil.example/api/v1/workloads";
    assert_eq!(status(&house, absolute, &["Host: localhost"]).await, 403);
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let house = House::open().await;
    for origin in ["http://evil.example", "null", "http://localhost:3000"] {
        let origin = format!("Origin: {origin}");
        let headers = ["Host: localhost", origin.as_str()];
        for act in [WAKE, "PUT /api/v1/workloads/app/pin", "POST /api/v1/reload"] {
            assert_eq!(status(&house, act, &headers).await, 403, "{act} {origin}");
        }
    }
    let own = ["Host: localhost", "Origin: http://localhost"];
    assert_eq!(status(&house, WAKE, &own).await, 202);
    let embedded = ["Host: localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"];
    assert_eq!(status(&house, LIST, &embedded).await, 403);
    assert!(house.workload("blog").await.last_wake.is_none());
}

#[tokio::test]
async fn without_a_token_nothing_is_told_where_one_is_set() {
    let house = guarded().await;
    for path in [LIST, WAKE, "GET /metrics", "GET /openapi.json", "GET /nothing"] {
        let request = format!("{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, head, body) = raw(house.address, &request).await;
        assert_eq!(status, 401, "{path}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(body.contains("\"slug\":\"token-missing\""), "{body}");
    }
    for wrong in ["Bearer nope", "Bearer", "Bearer ", "Basic to-read", "Bearer to-rea", "to-read"] {
        let header = format!("Authorization: {wrong}");
        assert_eq!(status(&house, LIST, &["Host: localhost", &header]).await, 401, "{wrong}");
    }
    assert_eq!(status(&house, "GET /health", &["Host: localhost"]).await, 200);
}

#[tokio::test]
async fn a_token_allows_what_its_scope_says() {
    let house = guarded().await;
    let reload = "POST /api/v1/reload";
    for (token, list, wake, reloaded) in
        [("to-read", 200, 403, 403), ("to-operate", 200, 202, 403), ("to-do-all", 200, 200, 0)]
    {
        let header = format!("Authorization: Bearer {token}");
        let headers = ["Host: localhost", header.as_str()];
        assert_eq!(status(&house, LIST, &headers).await, list, "{token}");
        if token == "to-do-all" {
            let own = dormouse_wire::Phase::Ready;
            let client = crate::house::client(house.address, Some(token));
            loop {
                let call = dormouse::client::Call::get("/api/v1/workloads/app");
                let (_, app): (_, dormouse_wire::Workload) = client.call(call).await.unwrap();
                if app.phase == own {
                    break;
                }
            }
        }
        assert_eq!(status(&house, WAKE, &headers).await, wake, "{token}");
        if reloaded != 0 {
            assert_eq!(status(&house, reload, &headers).await, reloaded, "{token}");
        }
    }
}
