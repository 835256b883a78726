//! The sanitizer: the only maker of `Sanitized` values.

mod body;
mod headers;
mod target;

use std::collections::BTreeSet;

use prophecy_core::route::route_of;
use prophecy_core::{Connection, Exchange, Header, Metric, Operation};

use crate::key::Key;
use crate::policy::{Base, Policy};
use crate::pseudonym;
use crate::sanitized::Sanitized;

/// Sanitizes rows under a policy and a key.
///
/// # Determinism
///
/// The same policy, key and input give the same output.
#[derive(Clone, Debug)]
pub struct Sanitizer {
    policy: Policy,
    key: Key,
    literal_segments: BTreeSet<String>,
    denied_segments: BTreeSet<String>,
}

// === impl Sanitizer ===

impl Sanitizer {
    /// Returns a sanitizer.
    pub fn new(policy: Policy, key: Key) -> Self {
        let literal_segments = policy.literal_segments();
        let denied_segments = policy.denied_segments();
        Self { policy, key, literal_segments, denied_segments }
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the public number of the key.
    pub fn key_id(&self) -> String {
        self.key.id()
    }

    /// Sanitizes an exchange, and sets its route from the sanitized path.
    pub fn exchange(&self, mut exchange: Exchange) -> Sanitized<Exchange> {
        if !self.policy.keeps_all() {
            exchange.path = self.path(&exchange.path);
            exchange.query = exchange.query.map(|query| self.query(&query));
            exchange.authority = self.authority(&exchange.authority);
            exchange.method = self.method(exchange.method);
            let Exchange { request_body, request_bytes, request_headers, .. } = &mut exchange;
            self.replace_body(request_body, request_bytes, request_headers);
            let Exchange { response_body, response_bytes, response_headers, .. } = &mut exchange;
            self.replace_body(response_body, response_bytes, response_headers);
            exchange.request_headers = self.headers(exchange.request_headers);
            exchange.response_headers = self.headers(exchange.response_headers);
        }
        if self.policy.base != Base::Synthetic {
            exchange.client.set_ip(pseudonym::address(&self.key, exchange.client.ip()));
            exchange.server.set_ip(pseudonym::address(&self.key, exchange.server.ip()));
        }
        exchange.route = route_of(&exchange.method, &exchange.path);
        Sanitized::new(exchange)
    }

    /// Sanitizes a connection.
    pub fn connection(&self, mut connection: Connection) -> Sanitized<Connection> {
        if self.policy.base != Base::Synthetic {
            connection.client.set_ip(pseudonym::address(&self.key, connection.client.ip()));
            connection.server.set_ip(pseudonym::address(&self.key, connection.server.ip()));
        }
        Sanitized::new(connection)
    }

    /// Sanitizes an operation; its statement is normalized already, so literals are gone.
    pub fn operation(&self, operation: Operation) -> Sanitized<Operation> {
        Sanitized::new(operation)
    }

    /// Sanitizes a metric; names and labels are ours, so nothing in it is captured.
    pub fn metric(&self, metric: Metric) -> Sanitized<Metric> {
        Sanitized::new(metric)
    }

    /// Sanitizes a body.
    ///
    /// A body that was whole stays whole: its count follows the length of its pseudonym, so that
    /// a replay does not take it for a cut one.
    fn replace_body(&self, body: &mut Option<Vec<u8>>, bytes: &mut u64, headers: &[Header]) {
        let Some(captured) = body.take() else { return };
        let length = captured.len() as u64;
        if length < *bytes {
            // Half a value may not look like what it is half of.
            return;
        }
        *body = self.body(captured, headers);
        if let Some(kept) = body.as_ref().filter(|_| length == *bytes) {
            *bytes = kept.len() as u64;
        }
    }

    /// Keeps a method of the registry, and replaces an invented one.
    fn method(&self, method: String) -> String {
        const METHODS: [&str; 10] = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        ];
        if self.policy.base == Base::Synthetic || METHODS.contains(&method.as_str()) {
            method
        } else {
            pseudonym::text(&self.key, &method)
        }
    }
}
