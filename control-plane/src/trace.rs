//! Spans of requests, sent to a collector in batches: OTLP over HTTP as JSON.
//!
//! A request never waits for its span: what the collector does not take in time is dropped and counted.
//!
//! Source: OpenTelemetry Protocol 1.9, OTLP/HTTP JSON encoding; W3C Trace Context, level 1, section 3.2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, Uri};
use prophecy_core::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::gateway::App;
use crate::service::post;
use crate::token::random_hex;

/// Spans that wait at most.
const WAITING: usize = 4_096;

/// Spans of one batch.
const BATCH: usize = 512;

/// How long a batch is gathered.
const GATHER: Duration = Duration::from_secs(1);

/// Where spans go, if anywhere.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    sender: Option<mpsc::Sender<Value>>,
    dropped: AtomicU64,
}

/// Spans on their way.
#[derive(Debug)]
pub(crate) struct Outbox {
    receiver: mpsc::Receiver<Value>,
    collector: SocketAddr,
}

/// What is known of a request when it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    pub(crate) operation: &'a str,
    pub(crate) method: &'a str,
    pub(crate) route: &'a str,
    pub(crate) status: u16,
    pub(crate) request_id: &'a str,
    pub(crate) begun: Timestamp,
    pub(crate) ended: Timestamp,
}

// === impl Tracer ===

impl Tracer {
    /// Makes a tracer that sends to a collector.
    pub(crate) fn to(collector: Option<SocketAddr>) -> (Self, Option<Outbox>) {
        let Some(collector) = collector else { return (Self::default(), None) };
        let (sender, receiver) = mpsc::channel(WAITING);
        let outbox = Outbox { receiver, collector };
        (Self { sender: Some(sender), dropped: AtomicU64::new(0) }, Some(outbox))
    }

    /// Returns how many spans were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells of an answered request.
    pub(crate) fn tell(&self, headers: &HeaderMap, answered: &Answered<'_>) {
        let Some(sender) = &self.sender else { return };
        let Ok(luck) = random_hex() else { return };
        let caller = headers.get("traceparent").and_then(|text| context(text.to_str().ok()?));
        let (trace, parent) = caller.unwrap_or_else(|| (luck[..32].to_owned(), String::new()));
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let mut span = json!({
            "traceId": trace, "spanId": &luck[32..48], "name": answered.operation, "kind": 2,
            "startTimeUnixNano": answered.begun.0.to_string(),
            "endTimeUnixNano": answered.ended.0.to_string(),
            "attributes": [
                text("http.request.method", answered.method),
                text("http.route", answered.route),
                text("prophecy.request", answered.request_id),
                {
                    "key": "http.response.status_code",
                    "value": { "intValue": answered.status.to_string() },
                },
            ],
            "status": if answered.status >= 500 { json!({ "code": 2 }) } else { json!({}) },
        });
        if !parent.is_empty() {
            span["parentSpanId"] = Value::String(parent);
        }
        if sender.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends spans until the server ends, and what is left then.
pub(crate) async fn run(app: Arc<App>, mut outbox: Outbox) {
    while !app.is_ending() {
        app.nap(GATHER).await;
        loop {
            let mut spans = Vec::new();
            while spans.len() < BATCH
                && let Ok(span) = outbox.receiver.try_recv()
            {
                spans.push(span);
            }
            if spans.is_empty() {
                break;
            }
            let count = spans.len() as u64;
            if !send(outbox.collector, spans).await {
                app.tracer.dropped.fetch_add(count, Ordering::Relaxed);
                break;
            }
        }
    }
}

async fn send(collector: SocketAddr, spans: Vec<Value>) -> bool {
    let service = json!([{ "key": "service.name", "value": { "stringValue": "prophecy" } }]);
    let body = json!({
        "resourceSpans": [{
            "resource": { "attributes": service },
            "scopeSpans": [{ "scope": { "name": "prophecy" }, "spans": spans }],
        }],
    });
    let Ok(uri) = Uri::try_from(format!("http://{collector}/v1/traces")) else { return false };
    let headers = [("content-type", "application/json".to_owned())];
    let status = post::send(&(uri, collector), &headers, body.to_string()).await;
    status.is_ok_and(|status| (200..300).contains(&status))
}

/// Takes a `traceparent` apart: the trace, and the span that called.
fn context(text: &str) -> Option<(String, String)> {
    let mut parts = text.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|byte| byte != b'0')
    };
    let known = version.len() == 2 && version != "ff" && hex(trace, 32) && hex(span, 16);
    known.then(|| (trace.to_owned(), span.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_standard_allows() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let whole = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(context(&whole), Some((trace.to_owned(), "b7ad6b7169203331".to_owned())));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(context(bad), None, "{bad}");
        }
    }
}
