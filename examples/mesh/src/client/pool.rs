//! Connections to one address: at most so many, kept alive, each for one exchange at a time.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A bounded pool.
#[derive(Debug)]
pub(super) struct Pool {
    address: String,
    slots: Semaphore,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// The right to use one connection, given back when dropped.
pub(super) type Slot<'a> = SemaphorePermit<'a>;

/// Why nothing came back.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    /// Nobody listens.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection broke, or what it carried was not HTTP.
    #[error("the exchange with {address} broke off")]
    Exchange {
        /// Where to.
        address: String,
        /// What the HTTP library says.
        source: hyper::Error,
    },
}

// === impl Pool ===

impl Pool {
    /// Makes a pool of at most `size` connections.
    pub(super) fn new(address: String, size: usize) -> Self {
        Self { address, slots: Semaphore::new(size), idle: Mutex::default() }
    }

    /// Waits for the right to use a connection, in order of arrival.
    pub(super) async fn slot(&self) -> Slot<'_> {
        self.slots.acquire().await.expect("the semaphore is never closed")
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    ///
    /// Each variant of [`SendError`].
    pub(super) async fn exchange(
        &self,
        slot: Slot<'_>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), SendError> {
        let broke = |source| SendError::Exchange { address: self.address.clone(), source };
        let mut request = request;
        let (sender, response) = loop {
            let (mut sender, was_idle) = self.connection().await?;
            match sender.try_send_request(request).await {
                Ok(response) => break (sender, response),
                // The server may have closed an idle connection. A request that was given back was
                // not sent, so it is safe to send it on another.
                Err(mut error) => match error.take_message().filter(|_| was_idle) {
                    Some(unsent) => request = unsent,
                    None => return Err(broke(error.into_error())),
                },
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await.map_err(broke)?.to_bytes();
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        }
        drop(slot);
        Ok((status, body))
    }

    async fn connection(&self) -> Result<(SendRequest<Full<Bytes>>, bool), SendError> {
        // The lock is not held over the wait.
        let pop = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(mut sender) = pop() {
            if sender.ready().await.is_ok() {
                return Ok((sender, true));
            }
        }
        let cannot = |source| SendError::Connect { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(cannot)?;
        stream.set_nodelay(true).map_err(cannot)?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake
            .map_err(|source| SendError::Exchange { address: self.address.clone(), source })?;
        // How a connection ends shows in the exchange it carried.
        tokio::spawn(async move { connection.await.ok() });
        Ok((sender, false))
    }
}
