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
    connection: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    ended: bool,
}

impl Connection {
    pub(super) async fn open(stream: Stream) -> Result<Self, CallError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| CallError::Broken { call: "connect", cause })?;
        Ok(Self { sender, driver: Driver { connection, ended: false } })
    }

    /// Whether another request can be sent, as far as can be told without sending it.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.driver.drive(self.sender.ready()).await.is_ok() && !self.driver.ended
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
            // After its end the connection has handed every error and every byte to `wanted`.
            if !self.ended {
                self.ended = Pin::new(&mut self.connection).poll(context).is_ready();
            }
            wanted.as_mut().poll(context)
        })
        .await
    }
}
