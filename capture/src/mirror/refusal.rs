//! What the proxy says itself: 502, where the upstream does not accept connections.

use std::time::Duration;

use prophecy_core::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::relay::Witness;
use crate::clock;

/// Who speaks, and why.
const EXPLANATION: &str = "prophecy: the service behind this proxy does not accept connections\n";

/// How long the client may take to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Answers the first request of a client with 502, and closes.
///
/// What is not HTTP/1 gets no answer, because none would be understood.
pub(super) async fn refuse(
    client: &mut TcpStream,
    mut first_at: Option<Timestamp>,
    witness: &Witness,
) {
    let mut buffer = vec![0; 4 << 10];
    let method = loop {
        let Ok(length @ 1..) = client.read(&mut buffer).await else {
            return;
        };
        let at = first_at.take().unwrap_or_else(clock::now);
        let mut conversation = witness.lock();
        conversation.client_bytes(&buffer[..length], at);
        if let Some(method) = conversation.awaited_method() {
            break method.to_owned();
        }
        if conversation.is_opaque() {
            return;
        }
    };
    let answer = bad_gateway(&method);
    let at = clock::now();
    if client.write_all(answer.as_bytes()).await.is_err() {
        return witness.lock().undelivered_bytes(answer.as_bytes(), at);
    }
    witness.server_bytes(answer.as_bytes(), at);
    // Closing with unread bytes would reset the connection, and could take the answer with it.
    let read_rest = async {
        drop(client.shutdown().await);
        while let Ok(length @ 1..) = client.read(&mut buffer).await {
            witness.lock().client_bytes(&buffer[..length], clock::now());
        }
    };
    // A client that goes on sending after the answer is not waited for.
    drop(tokio::time::timeout(LINGER, read_rest).await);
}

fn bad_gateway(method: &str) -> String {
    let length = EXPLANATION.len();
    let body = if method == "HEAD" { "" } else { EXPLANATION };
    format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
