//! A WebSocket that says back what it hears.

use futures_util::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::body::{AnswerBody, whole};

/// Answers the handshake, and echoes until the other side closes.
pub(crate) fn answer(mut request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        let mut response = Response::new(whole("this is a WebSocket\n"));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => echo(TokioIo::new(upgraded)).await,
            Err(error) => println!("testapp could not upgrade: {error}"),
        }
    });
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", http::HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", http::HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

async fn echo(stream: TokioIo<hyper::upgrade::Upgraded>) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let data = message.is_text() || message.is_binary();
        if data && socket.send(message).await.is_err() {
            return;
        }
    }
}
