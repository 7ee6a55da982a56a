//! R27: every operation of the admin side of the real binary, as its own OpenAPI lists them, asked
//! without a token, with a wrong one, under a foreign hostname and from another site's page: each
//! is refused, and nothing is woken.

use bytes::Bytes;
use dormouse_wire::Phase;
use http::Request;
use http_body_util::Full;

use crate::harness::client::{Answer, Stream, exchange};
use crate::harness::house::House;
use crate::harness::local::process;
use crate::harness::report::Report;

const TOKEN: &str = "the-right-token-of-R27";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_strangers_are_refused_on_the_admin_side() {
    let mut report = Report::of("R27");
    let tokens = format!("admin_tokens = [{{ token = {TOKEN:?}, scope = \"admin\" }}]\n");
    let house = House::start(&(tokens + &process("web", &[], ""))).await;
    let own = house.admin.address().to_string();
    let right = format!("Bearer {TOKEN}");
    let operations = operations(&house, &right).await;
    report.case(if operations.len() >= 15 { Ok(()) } else { Err(format!("only {operations:?}")) });
    for (method, path) in &operations {
        let strangers: [(&str, &[(&str, &str)]); 7] = [
            ("no token", &[("host", &own)]),
            ("a wrong token", &[("host", &own), ("authorization", "Bearer wrong")]),
            ("half a token", &[("host", &own), ("authorization", &right[..right.len() - 1])]),
            ("the token as a password", &[("host", &own), ("authorization", "Basic OnRva2Vu")]),
            ("a foreign hostname", &[("host", "evil.example"), ("authorization", &right)]),
            (
                "another site's image",
                &[
                    ("host", &own),
                    ("authorization", &right),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                ],
            ),
            (
                "another site's script",
                &[("host", &own), ("authorization", &right), ("origin", "https://evil.example")],
            ),
        ];
        for (who, headers) in strangers {
            let status = ask(&house, method, path, headers).await;
            // Reading is refused to other sites by the browser itself: no answer lets them in.
            let may_read = who == "another site's script" && method == "GET";
            let liveness = path == "/health" && who.contains("token");
            let refused = [401, 403].contains(&status);
            report.case(if refused || may_read || liveness {
                Ok(())
            } else {
                Err(format!("{method} {path} with {who}: {status}"))
            });
        }
    }
    let headers = [("host", &*own), ("authorization", &*right)];
    let answer = call(&house, "GET", "/api/v1/workloads/web", &headers).await;
    let phase = serde_json::from_slice::<dormouse_wire::Workload>(&answer.body).unwrap().phase;
    report.case(if phase == Phase::Asleep { Ok(()) } else { Err(format!("it is {phase:?}")) });
    let cors = answer.header("access-control-allow-origin");
    report.case(if cors.is_empty() { Ok(()) } else { Err(format!("it lets {cors} in")) });
    report.finish(format_args!("calls by strangers, of {} operations", operations.len()));
}

/// Every operation that there is, as method and path.
async fn operations(house: &House, right: &str) -> Vec<(String, String)> {
    let own = house.admin.address().to_string();
    let headers = [("host", &*own), ("authorization", right)];
    let document = call(house, "GET", "/openapi.json", &headers).await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut operations = vec![("GET".to_owned(), "/nothing-here".to_owned())];
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let named = path.replace("{name}", "web");
            operations.push((method.to_uppercase(), named));
        }
    }
    operations
}

async fn ask(house: &House, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    // Some of them answer without end.
    Stream::open(house.admin.address(), request(method, path, headers)).await.status
}

async fn call(house: &House, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    exchange(house.admin.address(), request(method, path, headers)).await.unwrap()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}
