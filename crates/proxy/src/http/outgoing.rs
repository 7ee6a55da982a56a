//! A request on its way through. It is boxed from the beginning, because every function that it
//! passes and that waits would keep room for it.

use http::Request;
use http::request::Parts;
use hyper::body::Incoming;

use super::body::RequestBody;
use super::client::OpenRequest;

/// A request as the client sent it at first, and as the upstream is sent it in the end.
pub(crate) struct Outgoing {
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
}

impl Outgoing {
    pub(crate) fn new(request: Request<Incoming>, open: &OpenRequest) -> Box<Self> {
        let (parts, incoming) = request.into_parts();
        Box::new(Self { parts, body: RequestBody::new(incoming, open) })
    }

    pub(crate) fn into_request(self) -> Request<RequestBody> {
        Request::from_parts(self.parts, self.body)
    }

    /// The head alone, for a request that has no body and may be sent twice.
    pub(crate) fn copy_head(&self) -> Box<Self> {
        let mut parts = Request::new(()).into_parts().0;
        parts.method = self.parts.method.clone();
        parts.uri = self.parts.uri.clone();
        parts.version = self.parts.version;
        parts.headers = self.parts.headers.clone();
        Box::new(Self { parts, body: RequestBody::default() })
    }
}

impl From<Request<RequestBody>> for Box<Outgoing> {
    fn from(unsent: Request<RequestBody>) -> Self {
        let (parts, body) = unsent.into_parts();
        Box::new(Outgoing { parts, body })
    }
}
