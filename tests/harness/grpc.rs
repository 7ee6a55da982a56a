//! A gRPC client that sends and receives messages of plain bytes.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// A channel to one hostname at one address; it connects at the first call.
pub(crate) struct Client(Grpc<Channel>);

/// A message is its bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Client {
    pub(crate) fn of(address: SocketAddr, host: &str) -> Self {
        let origin: Uri = format!("http://{host}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().origin(origin);
        Self(Grpc::new(endpoint.connect_lazy()))
    }

    /// One message there, one back.
    pub(crate) async fn unary(
        &mut self,
        path: &'static str,
        message: Bytes,
    ) -> Result<Response<Bytes>, Status> {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        self.0.unary(Request::new(message), PathAndQuery::from_static(path), Plain).await
    }

    /// Messages there and back for as long as either side likes.
    pub(crate) async fn streaming(
        &mut self,
        path: &'static str,
        messages: impl futures_util::Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        self.0.streaming(Request::new(messages), path, Plain).await.map(Response::into_inner)
    }
}

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
