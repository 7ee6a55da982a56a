//! Facts about the Docker Engine, checked against the real one and the fake alike, so that the
//! fake cannot drift.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod lab;

mod answers;
mod events;
mod states;

/// Makes one test of each fact for the fake engine and one for the real one.
macro_rules! facts {
    ($($fact:ident),* $(,)?) => {
        mod fake {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                super::$fact(&super::Lab::fake().await).await;
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                if let Some(lab) = super::Lab::real().await {
                    super::$fact(&lab).await;
                }
            })*
        }
    };
}
use facts;
