//! Posting to an address that was allowed: above all signed CloudEvents.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Request, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use prophecy_store::Event;
use tokio::net::TcpStream;

use crate::cloud_event::structured;
use crate::signature;

const PATIENCE: Duration = Duration::from_secs(10);

/// Posts an event, and returns the status; or why there is none, in words without content.
pub(crate) async fn post(
    to: &(Uri, SocketAddr),
    event: &Event,
    delivery_id: &str,
    secret: &str,
    unix_seconds: i64,
) -> Result<u16, &'static str> {
    let body = structured(event).to_string();
    let headers = [
        ("content-type", "application/cloudevents+json".to_owned()),
        ("webhook-id", delivery_id.to_owned()),
        ("ce-id", event.event.id.clone()),
        (signature::HEADER, signature::sign(secret, unix_seconds, body.as_bytes())),
    ];
    send(to, &headers, body).await
}

/// Posts a body, and returns the status; or why there is none, in words without content.
pub(crate) async fn send(
    to: &(Uri, SocketAddr),
    headers: &[(&'static str, String)],
    body: String,
) -> Result<u16, &'static str> {
    tokio::time::timeout(PATIENCE, exchange(to, headers, body))
        .await
        .unwrap_or(Err("no answer in time"))
}

async fn exchange(
    (uri, address): &(Uri, SocketAddr),
    headers: &[(&'static str, String)],
    body: String,
) -> Result<u16, &'static str> {
    let stream = TcpStream::connect(address).await.map_err(|_| "could not connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| "the connection ended")?;
    let driver = tokio::spawn(connection);
    let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|_| "the request could not be written")?;
    let answered = sender.send_request(request).await;
    driver.abort();
    answered.map(|answer| answer.status().as_u16()).map_err(|_| "the connection ended")
}
