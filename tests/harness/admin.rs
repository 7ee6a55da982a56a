//! A small typed client of the admin API.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dormouse_wire::{
    Environment, Health, Phase, PinOrder, Summary, Watch, Workload, WorkloadDetails,
};
use http::Request;
use http_body_util::Full;
use serde::de::DeserializeOwned;

use super::client::{Answer, exchange, fetch, get};
use super::{PATIENCE, eventually_some};

/// The admin side of one house.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
}

impl Admin {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, as `--url` takes it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every workload.
    pub(crate) async fn workloads(&self) -> Vec<Workload> {
        self.read("/api/v1/workloads").await
    }

    /// One workload.
    pub(crate) async fn workload(&self, name: &str) -> Workload {
        self.explain(name).await.workload
    }

    /// One workload, where somebody has defined it.
    pub(crate) async fn find(&self, name: &str) -> Option<Workload> {
        let answer = self.call("GET", &format!("/api/v1/workloads/{name}"), "").await;
        (answer.status != 404).then(|| serde_json::from_slice(&answer.body).unwrap())
    }

    /// One workload, and why it is as it is.
    pub(crate) async fn explain(&self, name: &str) -> WorkloadDetails {
        self.read(&format!("/api/v1/workloads/{name}")).await
    }

    /// The phase of one workload.
    pub(crate) async fn phase(&self, name: &str) -> Phase {
        self.workload(name).await.phase
    }

    /// The house in a few numbers.
    pub(crate) async fn summary(&self) -> Summary {
        self.read("/api/v1/summary").await
    }

    /// Whether everything answers.
    pub(crate) async fn health(&self) -> Health {
        self.read("/health").await
    }

    /// Every environment.
    pub(crate) async fn environments(&self) -> Vec<Environment> {
        self.read("/api/v1/environments").await
    }

    /// The watches of the file.
    pub(crate) async fn watches(&self) -> Vec<Watch> {
        self.read("/api/v1/watches").await
    }

    /// Whether anybody answers here at all.
    pub(crate) async fn is_up(&self) -> bool {
        let request = get(&self.address.to_string(), "/health");
        exchange(self.address, request).await.is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until a workload is in a phase, and answers it.
    pub(crate) async fn until(&self, name: &str, phase: Phase) -> Workload {
        self.until_within(PATIENCE, name, phase).await
    }

    /// Waits until a workload is in a phase, no longer than `deadline`, and answers it.
    pub(crate) async fn until_within(
        &self,
        deadline: Duration,
        name: &str,
        phase: Phase,
    ) -> Workload {
        let what = format!("{name} is {}", phase.as_str());
        let look = async || Some(self.workload(name).await).filter(|it| it.phase == phase);
        eventually_some(deadline, &what, look).await
    }

    /// Asks for a wake and waits for its end, no longer than `wait`.
    pub(crate) async fn wake(&self, name: &str, wait: Duration) -> Answer {
        let path = format!("/api/v1/workloads/{name}/wake?wait={}s", wait.as_secs());
        self.call("POST", &path, "").await
    }

    /// Asks for a sleep; refused while the workload is in use.
    pub(crate) async fn sleep(&self, name: &str) -> Answer {
        self.call("POST", &format!("/api/v1/workloads/{name}/sleep"), "").await
    }

    /// Orders a sleep, whoever uses the workload.
    pub(crate) async fn sleep_by_force(&self, name: &str) -> Answer {
        self.call("POST", &format!("/api/v1/workloads/{name}/sleep?force=true"), "").await
    }

    /// Starts the idle period anew.
    pub(crate) async fn touch(&self, name: &str) -> Answer {
        self.call("POST", &format!("/api/v1/workloads/{name}/touch"), "").await
    }

    /// Holds a workload awake for a while, such as `2h`.
    pub(crate) async fn pin(&self, name: &str, period: &str) -> Answer {
        let order = PinOrder { period: Some(period.to_owned()), reason: "a story".to_owned() };
        let order = serde_json::to_string(&order).unwrap();
        self.call("PUT", &format!("/api/v1/workloads/{name}/pin"), &order).await
    }

    /// Ends a pin.
    pub(crate) async fn unpin(&self, name: &str) -> Answer {
        self.call("DELETE", &format!("/api/v1/workloads/{name}/pin"), "").await
    }

    /// Any call, with a JSON body where it is not empty.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("host", self.address.to_string());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        fetch(self.address, request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.call("GET", path, "").await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        serde_json::from_slice(&answer.body)
            .unwrap_or_else(|error| panic!("GET {path}: {error} in {}", answer.text()))
    }
}
