//! Applications behind the data plane: HTTP/1.1 or HTTP/2 servers made of one function.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) type AppBody = UnsyncBoxBody<Bytes, Infallible>;

/// A server that stops, with all its connections, when it is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl App {
    /// Speaks HTTP/1.1.
    pub(crate) async fn new<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        Self::at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn at<F, R>(address: &str, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        Self::serve(address, move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await
                    .ok();
            }
        })
        .await
    }

    /// Speaks HTTP/2 with prior knowledge.
    pub(crate) async fn http2<F, R>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        Self::serve("127.0.0.1:0", move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(1000)
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            }
        })
        .await
    }

    /// Does what a function does with each connection.
    pub(crate) async fn serve<F, R>(address: &str, connection: F) -> Self
    where
        F: Fn(tokio::net::TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = listen(address);
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).ok();
                counted.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(connection(stream));
                while tasks.try_join_next().is_some() {}
            }
        });
        Self { address, connections, task }
    }

    /// Ends it at once.
    pub(crate) async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// With a backlog for crowds, and at once at an address that was just in use.
fn listen(address: &str) -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    socket.listen(1024).unwrap()
}

pub(crate) fn full(body: impl Into<Bytes>) -> AppBody {
    Full::new(body.into()).boxed_unsync()
}

/// A body of frames as they come.
pub(crate) fn streamed(
    frames: impl stream::Stream<Item = Frame<Bytes>> + Send + 'static,
) -> AppBody {
    use futures_util::StreamExt;
    StreamBody::new(frames.map(Ok::<_, Infallible>)).boxed_unsync()
}

/// Length and hash of a body, as text.
pub(crate) async fn digest(mut body: Incoming) -> String {
    let mut hasher = DefaultHasher::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return "broken".into() };
        if let Some(data) = frame.data_ref() {
            hasher.write(data);
            length += data.len();
        }
    }
    format!("{length} {:x}", hasher.finish())
}
