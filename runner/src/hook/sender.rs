//! How a hook is called: within a bounded time, and only where it may.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use prophecy_core::Timestamp;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Answer, Effect, Hook, HookRequest, NoAnswer, SIGNATURE_HEADER, sign};

/// The most events that are on their way at once.
const EVENTS_UNDER_WAY_LIMIT: usize = 64;

/// The addresses that may be called: loopback, and what is listed.
#[derive(Clone, Debug, Default)]
pub struct AddressList {
    listed: BTreeSet<IpAddr>,
}

/// How long to wait before each retry: twice as long each time, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first retry.
    pub first: Duration,
    /// At most.
    pub most: Duration,
}

/// What came of calling a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The last answer.
    pub answer: Answer,
    /// What it means for the rollout.
    pub effect: Effect,
    /// How often it was tried.
    pub attempt_count: u32,
}

/// Calls hooks.
#[derive(Clone, Debug)]
pub struct HookSender {
    allowed: AddressList,
    backoff: Backoff,
    clock: fn() -> Timestamp,
    events: Arc<Semaphore>,
}

// === impl AddressList ===

impl AddressList {
    /// Allows loopback and these addresses.
    pub fn with(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { listed: addresses.into_iter().map(|address| address.to_canonical()).collect() }
    }

    /// Returns whether an address may be called.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.listed.contains(&address)
    }

    /// Connects to where a URL leads, if that may be called. The address that was checked is the one that is
    /// called: a name is looked up only once.
    pub(crate) async fn connect(&self, url: &Uri) -> Result<TcpStream, NoAnswer> {
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(80);
        let found = lookup_host((host, port)).await.map_err(|_| NoAnswer::Unreachable)?;
        let allowed: Vec<SocketAddr> = found.filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() {
            return Err(NoAnswer::NotAllowed);
        }
        TcpStream::connect(allowed.as_slice()).await.map_err(|_| NoAnswer::Unreachable)
    }
}

// === impl Backoff ===

impl Backoff {
    /// Returns the wait before a retry, the first being 0.
    pub fn before(self, retry: u32) -> Duration {
        self.first.saturating_mul(1 << retry.min(20)).min(self.most)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), most: Duration::from_secs(5) }
    }
}

// === impl HookSender ===

impl HookSender {
    /// Calls hooks at these addresses, with the clock of the system.
    pub fn new(allowed: AddressList, backoff: Backoff) -> Self {
        Self::with_clock(allowed, backoff, system_clock)
    }

    /// Calls hooks at these addresses, with another clock for signatures.
    pub fn with_clock(allowed: AddressList, backoff: Backoff, clock: fn() -> Timestamp) -> Self {
        let events = Arc::new(Semaphore::new(EVENTS_UNDER_WAY_LIMIT));
        Self { allowed, backoff, clock, events }
    }

    /// Returns the addresses that may be called.
    pub(crate) fn allowed(&self) -> &AddressList {
        &self.allowed
    }

    /// Calls a hook, with its retries, and says what its answer means.
    ///
    /// Silence, 429 and 5xx are tried again. A status of a hook that is polled is not: it will be
    /// asked again anyway. The whole takes at most [`Hook::longest`].
    pub async fn deliver(&self, hook: &Hook, request: &HookRequest) -> Delivery {
        let mut attempt_count = 0;
        loop {
            attempt_count += 1;
            let answer = self.attempt(hook, request, attempt_count).await;
            if attempt_count > hook.retries || !is_worth_a_retry(hook, answer) {
                return Delivery { answer, effect: hook.kind.meaning(answer), attempt_count };
            }
            tokio::time::sleep(self.backoff.before(attempt_count - 1)).await;
        }
    }

    /// Calls a hook without waiting for it, or returns `None` if too many calls are under way.
    ///
    /// The handle need not be kept: the call goes on without it.
    pub fn notify(&self, hook: &Hook, request: &HookRequest) -> Option<JoinHandle<Delivery>> {
        let permit = Arc::clone(&self.events).try_acquire_owned().ok()?;
        let (sender, hook, request) = (self.clone(), hook.clone(), request.clone());
        Some(tokio::spawn(async move {
            let delivery = sender.deliver(&hook, &request).await;
            drop(permit);
            delivery
        }))
    }

    async fn attempt(&self, hook: &Hook, request: &HookRequest, attempt: u32) -> Answer {
        let exchange = self.exchange(hook, request, attempt);
        match tokio::time::timeout(hook.timeout, exchange).await {
            Ok(Ok(status)) => Answer::Status(status),
            Ok(Err(missing)) => Answer::Missing(missing),
            Err(_) => Answer::Missing(NoAnswer::TimedOut),
        }
    }

    async fn exchange(
        &self,
        hook: &Hook,
        request: &HookRequest,
        attempt: u32,
    ) -> Result<u16, NoAnswer> {
        let stream = self.allowed.connect(&hook.url).await?;
        let handshake = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await;
        let (mut calls, connection) = handshake.map_err(|_| NoAnswer::Broken)?;
        let at = (self.clock)();
        let http = http_request(hook, request, attempt, at).ok_or(NoAnswer::Broken)?;
        let mut call = pin!(calls.send_request(http));
        let mut connection = pin!(connection);
        let mut is_closed = false;
        // The status is all that counts: whatever body follows is cut off with the connection. One
        // that closes right after an answer has still answered, so the call has the last word.
        let response = loop {
            tokio::select! {
                biased;
                response = &mut call => break response,
                _ = &mut connection, if !is_closed => is_closed = true,
            }
        };
        response.map(|response| response.status().as_u16()).map_err(|_| NoAnswer::Broken)
    }
}

fn http_request(
    hook: &Hook,
    request: &HookRequest,
    attempt: u32,
    at: Timestamp,
) -> Option<Request<Full<Bytes>>> {
    let body = request.body(hook, attempt, at);
    let path = hook.url.path_and_query().map_or("/", |path| path.as_str());
    let mut http = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, hook.url.authority()?.as_str())
        .header(USER_AGENT, concat!("prophecy/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", request.idempotency_key(hook));
    if let Some(secret) = &hook.secret {
        let unix_seconds = u64::try_from(at.0 / 1_000_000_000).unwrap_or(0);
        http = http.header(SIGNATURE_HEADER, sign(secret, unix_seconds, &body));
    }
    http.body(Full::new(Bytes::from(body))).ok()
}

fn is_worth_a_retry(hook: &Hook, answer: Answer) -> bool {
    match answer {
        Answer::Missing(NoAnswer::NotAllowed) => false,
        Answer::Missing(_) => true,
        Answer::Status(429 | 500..=599) => !hook.kind.is_polled(),
        Answer::Status(_) => false,
    }
}

fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
