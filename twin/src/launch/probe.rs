//! Asking a service whether it is there.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks once: a path must answer below 400; without one, an accepted connection is enough.
///
/// # Errors
///
/// What was seen instead, in words.
pub async fn ask(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let connected = TcpStream::connect(address).await;
    let mut stream =
        connected.map_err(|_| format!("nothing accepts connections on port {}", address.port()))?;
    let Some(path) = path else { return Ok(()) };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let broken = |_| "it closes the connection of a health check".to_owned();
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = [0; 16];
    let mut length = 0;
    while length < 12 {
        match stream.read(&mut head[length..]).await.map_err(broken)? {
            0 => return Err("it closes the connection of a health check".to_owned()),
            count => length += count,
        }
    }
    let status: Option<u16> =
        std::str::from_utf8(&head[9..12]).ok().and_then(|digits| digits.parse().ok());
    match status {
        Some(status) if status < 400 => Ok(()),
        Some(status) => Err(format!("`{path}` answers {status}")),
        None => Err(format!("`{path}` does not answer in HTTP/1.1")),
    }
}
