//! What becomes of whole exchanges: nothing leaks, and a replay still works.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod laws;
mod leaks;
mod policies;
mod replays;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{Completeness, Exchange, Header, Protocol, Timestamp};

/// Returns a sanitizer under a built-in policy.
fn sanitizer(policy: &str) -> Sanitizer {
    Sanitizer::new(Policy::named(policy).unwrap(), Key::from_bytes([42; 32]))
}

/// Returns a sanitizer under a policy file.
fn custom(yaml: &str) -> Sanitizer {
    Sanitizer::new(Policy::from_yaml(yaml).unwrap(), Key::from_bytes([42; 32]))
}

/// Returns a plain exchange without anything personal.
fn exchange() -> Exchange {
    Exchange {
        exchange_id: 1,
        session_id: 2,
        connection_id: 3,
        trace_id: None,
        source: "client".to_owned(),
        destination: "shop".to_owned(),
        client: "127.0.0.1:4000".parse().unwrap(),
        server: "127.0.0.1:80".parse().unwrap(),
        protocol: Protocol::Http11,
        method: "POST".to_owned(),
        authority: "localhost".to_owned(),
        path: "/".to_owned(),
        query: None,
        route: String::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        request_body: None,
        response_body: None,
        request_bytes: 0,
        response_bytes: 0,
        started_at: Timestamp(0),
        request_ended_at: Timestamp(1),
        response_started_at: Some(Timestamp(2)),
        response_ended_at: Some(Timestamp(3)),
        status: Some(200),
        completeness: Completeness::Complete,
    }
}

/// Returns an exchange with this request body.
fn with_body(kind: &str, body: &str) -> Exchange {
    Exchange {
        request_headers: vec![Header::new("content-type", kind)],
        request_body: Some(body.as_bytes().to_vec()),
        request_bytes: body.len() as u64,
        ..exchange()
    }
}

/// Returns the request body after sanitizing.
fn body_of(sanitizer: &Sanitizer, exchange: Exchange) -> Option<String> {
    let sanitized = sanitizer.exchange(exchange).into_inner();
    sanitized.request_body.map(|body| String::from_utf8(body).unwrap())
}
