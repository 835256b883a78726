//! Calling another service: a bounded pool of connections, timeouts, retries with backoff.

mod endpoint;
mod pool;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use thiserror::Error;

pub(crate) use self::endpoint::Endpoint;
use self::pool::{Pool, SendError};
use crate::config::ClientConfig;

/// One service that is called.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    pool: Pool,
    timeout: Duration,
    retries: u32,
    backoff: Duration,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// The JSON body, if any.
    pub(crate) body: Option<Value>,
    /// `traceparent`.
    pub(crate) traceparent: String,
    /// `x-request-id`.
    pub(crate) request_id: String,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// The status, below 500.
    pub(crate) status: StatusCode,
    /// The body as JSON, or as a string where it is not.
    pub(crate) body: Value,
}

/// Why a call failed, at its last attempt.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// The URI is not valid.
    #[error("the path and query do not make a valid request")]
    Invalid,
    /// No connection, or it broke.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The service failed.
    #[error("answered {0}")]
    Status(StatusCode),
}

// === impl Client ===

impl Client {
    /// Makes a client; it connects when it is first used.
    ///
    /// # Panics
    ///
    /// If the URL was not checked.
    pub(crate) fn new(config: &ClientConfig) -> Self {
        let endpoint = Endpoint::parse(&config.url).expect("the URL was checked");
        Self {
            pool: Pool::new(endpoint.address.clone(), config.pool),
            endpoint,
            timeout: config.timeout.0,
            retries: config.retries,
            backoff: config.backoff.0,
        }
    }

    /// Calls the service, again after each failure while there are retries left.
    ///
    /// # Errors
    ///
    /// [`CallError`] of the last attempt.
    pub(crate) async fn call(&self, outgoing: &Outgoing) -> Result<Reply, CallError> {
        let mut pause = self.backoff;
        let mut retries_left = self.retries;
        loop {
            match self.attempt(outgoing).await {
                Err(_) if retries_left > 0 => {
                    retries_left -= 1;
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, outgoing: &Outgoing) -> Result<Reply, CallError> {
        let request = self.request(outgoing).map_err(|_| CallError::Invalid)?;
        // The wait for a connection is not part of the timeout: a pool that is too small shows as
        // latency, as it does in most clients.
        let slot = self.pool.slot().await;
        let exchange = tokio::time::timeout(self.timeout, self.pool.exchange(slot, request));
        let (status, body) = exchange.await.map_err(|_| CallError::Timeout(self.timeout))??;
        if status.is_server_error() {
            return Err(CallError::Status(status));
        }
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned()));
        Ok(Reply { status, body })
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(outgoing.method.clone())
            .uri(format!("{}{}", self.endpoint.prefix, outgoing.path))
            .header(HOST, &self.endpoint.authority)
            .header(ACCEPT, "application/json")
            .header("traceparent", &outgoing.traceparent)
            .header("x-request-id", &outgoing.request_id);
        let mut bytes = Bytes::new();
        if let Some(body) = &outgoing.body {
            request = request.header(CONTENT_TYPE, "application/json");
            bytes = Bytes::from(body.to_string());
        }
        request.body(Full::new(bytes))
    }
}
