//! Sends one request on the connection of its session, or on a new one if that is busy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PlannedRequest;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes of an answer that are kept for comparison.
const KEPT_BYTES: usize = 1 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// The body, cut at a mebibyte.
    pub body: Bytes,
    /// All of the body's bytes.
    pub bytes: u64,
    /// When its head came.
    pub first_byte_at: Instant,
    /// When its last byte came.
    pub ended_at: Instant,
}

/// Connections to one target, by the captured connection that they stand for.
#[derive(Debug)]
pub(super) struct Sender {
    target: SocketAddr,
    idle: Mutex<BTreeMap<u64, SendRequest<Full<Bytes>>>>,
}

// === impl Sender ===

impl Sender {
    pub(super) fn new(target: SocketAddr) -> Arc<Self> {
        Arc::new(Self { target, idle: Mutex::new(BTreeMap::new()) })
    }

    /// Sends a request and reads its answer; an error is a short word for what went wrong.
    ///
    /// Also returns when the request was handed to the connection.
    pub(super) async fn send(
        &self,
        planned: &PlannedRequest,
    ) -> (Instant, Result<Answer, &'static str>) {
        let sent_at = Instant::now();
        match timeout(ANSWER_LIMIT, self.exchange(planned)).await {
            Ok(answer) => (sent_at, answer),
            Err(_) => (sent_at, Err("no answer within 30 s")),
        }
    }

    async fn exchange(&self, planned: &PlannedRequest) -> Result<Answer, &'static str> {
        let request = self.request(planned)?;
        let idle =
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).remove(&planned.connection);
        let idle = idle.filter(|connection| !connection.is_closed());
        let mut reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if connection.ready().await.is_err() {
            // The server closed it while it was idle.
            connection = self.connect().await?;
            reused = false;
        }
        let response = match connection.send_request(request.clone()).await {
            Ok(response) => response,
            // The close of an idle connection may cross the request on its way; nothing was answered.
            // A new connection that breaks has seen the request, which must not be made twice.
            Err(error)
                if reused
                    && (error.is_canceled()
                        || error.is_incomplete_message()
                        || error.is_closed()) =>
            {
                connection = self.connect().await?;
                connection.send_request(request).await.map_err(|_| "the connection broke")?
            }
            Err(_) => return Err("the connection broke"),
        };
        let first_byte_at = Instant::now();
        let status = response.status().as_u16();
        let content_type = response.headers().get(hyper::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        let mut bytes = 0;
        let mut incoming = response.into_body();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|_| "the answer was cut off")?;
            if let Some(data) = frame.data_ref() {
                bytes += data.len() as u64;
                let room = KEPT_BYTES.saturating_sub(body.len());
                body.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        let ended_at = Instant::now();
        if !connection.is_closed() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(planned.connection)
                .or_insert(connection);
        }
        Ok(Answer { status, content_type, body: body.into(), bytes, first_byte_at, ended_at })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, &'static str> {
        let stream = TcpStream::connect(self.target).await.map_err(|_| "no connection")?;
        // Without it small requests wait for an acknowledgment; failing to set it only costs time.
        drop(stream.set_nodelay(true));
        let handshake =
            hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| "no connection")?;
        tokio::spawn(async move {
            // How a connection ends shows in the answers on it.
            drop(connection.await);
        });
        Ok(sender)
    }

    fn request(&self, planned: &PlannedRequest) -> Result<Request<Full<Bytes>>, &'static str> {
        let uri: Uri =
            planned.path_and_query.parse().map_err(|_| "the target is not a valid URI")?;
        let mut request = Request::builder().method(planned.method.as_str()).uri(uri);
        let (mut has_host, mut has_trace) = (false, false);
        for header in &planned.headers {
            has_host |= header.name == "host";
            has_trace |= header.name == "traceparent";
            request = request.header(header.name.as_str(), header.value.as_str());
        }
        if !has_trace {
            // Services that pass it on make their calls easy to link; others ignore it. Not sampled.
            let id = planned.exchange_id.wrapping_add(1);
            request = request.header("traceparent", format!("00-{id:032x}-{id:016x}-00"));
        }
        if !has_host {
            request = request.header("host", self.target.to_string());
        }
        let body = Full::new(Bytes::from(planned.body.clone()));
        request.body(body).map_err(|_| "a header is not valid")
    }
}
