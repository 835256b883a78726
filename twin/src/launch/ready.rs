//! Waiting until a service is ready, and noticing at once when it never will be.

use std::net::SocketAddr;
use std::time::Duration;

use prophecy_core::system::Ready;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::StartArmError;
use super::process::Process;

const PAUSE: Duration = Duration::from_millis(25);

/// Waits until a service answers, ends, or has had its time.
pub(super) async fn wait(
    process: &mut Process,
    ready: &Ready,
    address: SocketAddr,
) -> Result<(), StartArmError> {
    let deadline = Instant::now() + ready.within.0;
    loop {
        let probe = timeout(Duration::from_secs(2), probe(address, ready.http.as_deref())).await;
        let found = match probe {
            Ok(Ok(())) => {
                // Another program may listen on the port while ours could not.
                if let Some(status) = process.ended() {
                    return Err(ended(process, status));
                }
                return Ok(());
            }
            Ok(Err(found)) => found,
            Err(_) => "it accepts connections but does not answer".to_owned(),
        };
        if let Some(status) = process.ended() {
            return Err(ended(process, status));
        }
        if Instant::now() >= deadline {
            return Err(StartArmError::NotReady {
                service: process.service().to_owned(),
                seconds: ready.within.0.as_secs_f64(),
                found,
                log: process.last_words(),
            });
        }
        sleep(PAUSE).await;
    }
}

fn ended(process: &Process, status: String) -> StartArmError {
    let log = process.last_words();
    StartArmError::Ended { service: process.service().to_owned(), status, log }
}

/// Asks once; an error says what was seen.
async fn probe(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let connected = TcpStream::connect(address).await;
    let mut stream =
        connected.map_err(|_| format!("nothing accepts connections on port {}", address.port()))?;
    let Some(path) = path else { return Ok(()) };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let broken = |_| "it closes the connection of a readiness check".to_owned();
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = [0; 16];
    let mut length = 0;
    while length < 12 {
        match stream.read(&mut head[length..]).await.map_err(broken)? {
            0 => return Err("it closes the connection of a readiness check".to_owned()),
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
