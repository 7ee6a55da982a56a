//! One HTTP/1.1 connection, driven by whoever uses it: no task of its own, so dropping a call ends
//! everything that the call had begun.

use std::future::poll_fn;
use std::pin::{Pin, pin};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::error::CallError;
use super::transport::Stream;

/// The most that hyper may buffer of one head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A connection that nobody else uses.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// An answer that is read as it comes, with the connection that it comes over.
pub(in crate::docker) struct BodyStream {
    call: &'static str,
    driver: Driver,
    body: Incoming,
}

struct Driver {
    /// Absent once it has ended. It must not outlive its end: whoever waits for it would wait on.
    connection: Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>,
}

impl Connection {
    pub(super) async fn open(stream: Stream) -> Result<Self, CallError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| CallError::Broken { call: "connect", cause })?;
        Ok(Self { sender, driver: Driver { connection: Some(connection) } })
    }

    /// Whether another request can be sent, as far as can be told without sending it.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.driver.drive(self.sender.ready()).await.is_ok() && self.driver.connection.is_some()
    }

    pub(super) async fn send(
        &mut self,
        call: &'static str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, CallError> {
        let sent = self.driver.drive(self.sender.try_send_request(request)).await;
        sent.map_err(|mut error| {
            let is_unsent = error.take_message().is_some();
            let cause = error.into_error();
            if is_unsent {
                CallError::Unsent { call, cause }
            } else {
                CallError::Broken { call, cause }
            }
        })
    }

    pub(super) async fn read(
        &mut self,
        call: &'static str,
        mut body: Incoming,
        bytes_max: usize,
    ) -> Result<Bytes, CallError> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > bytes_max {
            return Err(CallError::TooLong { call, bytes_max });
        }
        let mut read = BytesMut::with_capacity(announced);
        while let Some(frame) = self.driver.drive(body.frame()).await {
            let frame = frame.map_err(|cause| CallError::Broken { call, cause })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if read.len() + data.len() > bytes_max {
                return Err(CallError::TooLong { call, bytes_max });
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

impl BodyStream {
    pub(super) fn new(call: &'static str, connection: Connection, body: Incoming) -> Self {
        Self { call, driver: connection.driver, body }
    }

    /// The next piece, or `None` at the end. Nothing is lost when the future is dropped.
    pub(in crate::docker) async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        while let Some(frame) = self.driver.drive(self.body.frame()).await {
            let frame = frame.map_err(|cause| CallError::Broken { call: self.call, cause })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl Driver {
    /// Polls the connection beside what waits for it.
    async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            // At its end the connection has handed every error and every byte to `wanted`.
            if let Some(connection) = &mut self.connection
                && Pin::new(connection).poll(context).is_ready()
            {
                self.connection = None;
            }
            wanted.as_mut().poll(context)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// A connection that the other end closed right behind its first answer.
    async fn closed_behind_an_answer() -> Connection {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let mut connection = Connection::open(Box::new(ours)).await.unwrap();
        let server = async {
            let mut request = [0; 1 << 10];
            assert!(theirs.read(&mut request).await.unwrap() > 0);
            theirs.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            drop(theirs);
        };
        let (response, ()) = tokio::join!(connection.send("first", Request::default()), server);
        connection.read("first", response.unwrap().into_body(), 1).await.unwrap();
        connection
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_behind_its_answer_is_not_ready_and_says_so_at_once() {
        let mut connection = closed_behind_an_answer().await;
        assert!(!timeout(SOON, connection.is_ready()).await.expect("at once"));
    }

    #[tokio::test]
    async fn what_is_sent_over_a_closed_connection_comes_back_at_once() {
        let mut connection = closed_behind_an_answer().await;
        let sent = timeout(SOON, connection.send("second", Request::default())).await;
        let error = sent.expect("at once").expect_err("nobody answers");
        assert!(error.is_cut(), "{error}");
    }
}
