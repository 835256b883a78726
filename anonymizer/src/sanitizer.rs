//! The sanitizer: the only maker of `Sanitized` values.

mod body;
mod headers;
mod target;

use prophecy_core::route::route_of;
use prophecy_core::{Connection, Exchange, Metric, Operation};

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
    literal_segments: std::collections::BTreeSet<String>,
}

// === impl Sanitizer ===

impl Sanitizer {
    /// Returns a sanitizer.
    pub fn new(policy: Policy, key: Key) -> Self {
        let literal_segments = policy.literal_segments();
        Self { policy, key, literal_segments }
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
        if self.policy.base != Base::Synthetic {
            exchange.path = self.path(&exchange.path);
            exchange.query = exchange.query.map(|query| self.query(&query));
            exchange.authority = self.authority(&exchange.authority);
            exchange.method = self.method(exchange.method);
            exchange.request_body = self.body(exchange.request_body, &mut exchange.request_headers);
            exchange.response_body =
                self.body(exchange.response_body, &mut exchange.response_headers);
            exchange.request_headers = self.headers(exchange.request_headers);
            exchange.response_headers = self.headers(exchange.response_headers);
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

    /// Keeps a method of the registry, and replaces an invented one.
    fn method(&self, method: String) -> String {
        const METHODS: [&str; 10] = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        ];
        if METHODS.contains(&method.as_str()) {
            method
        } else {
            pseudonym::text(&self.key, &method)
        }
    }
}
