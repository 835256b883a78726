//! Waiting until a service is ready, and noticing at once when it never will be.

use std::net::SocketAddr;
use std::time::Duration;

use prophecy_core::system::Ready;
use tokio::time::{Instant, sleep, timeout};

use super::StartArmError;
use super::probe::ask;
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
        let probe = timeout(Duration::from_secs(2), ask(address, ready.http.as_deref())).await;
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
