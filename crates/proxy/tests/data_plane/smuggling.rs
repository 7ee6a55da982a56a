//! Requests that two parsers could read differently never reach the workload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;

use crate::corpus::CORPUS;
use crate::support::{App, World, digest, full};

#[tokio::test]
async fn the_workload_sees_as_many_requests_as_were_sent() {
    let whole = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&whole);
    let app = App::new(move |request| {
        let whole = Arc::clone(&counted);
        async move {
            assert!(!request.uri().path().contains("smuggled"));
            if digest(request.into_body()).await != "broken" {
                whole.fetch_add(1, Ordering::SeqCst);
            }
            Response::new(full("ok"))
        }
    })
    .await;
    let world = World::awake(&app).await;
    for (input, expected) in CORPUS {
        whole.store(0, Ordering::SeqCst);
        let mut raw = world.connect().await;
        raw.write(input).await;
        tokio::io::AsyncWriteExt::flush(&mut raw.stream).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..*expected {
            answers.push(raw.response().await.status);
        }
        let rest = if *expected == 0 || input.contains("HTTP/1.1\nHost") {
            String::from_utf8_lossy(&raw.rest().await).into_owned()
        } else {
            String::new()
        };
        assert!(answers.iter().all(|status| *status == 200), "{input:?}: {answers:?}");
        assert_eq!(whole.load(Ordering::SeqCst), *expected, "{input:?}");
        if *expected == 0 {
            let refused =
                ["HTTP/1.1 400", "HTTP/1.0 400"].iter().any(|line| rest.starts_with(line));
            assert!(refused, "{input:?}: {rest:?}");
            assert_eq!(rest.matches("HTTP/1.").count(), 1, "{input:?}: {rest:?}");
        }
    }
}
