//! Generated exchanges with a known truth.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use prophecy_core::{Completeness, Exchange, Protocol, System, Timestamp};

pub(crate) const MILLI: i64 = 1_000_000;

/// Workers that take requests up in the order in which they come.
pub(crate) struct Fifo {
    count: usize,
    free_at: BinaryHeap<Reverse<i64>>,
}

impl Fifo {
    pub(crate) fn new(count: usize) -> Self {
        Self { count, free_at: BinaryHeap::new() }
    }

    /// Returns when a request that comes now would be taken up.
    pub(crate) fn peek(&self, at: i64) -> i64 {
        let full = self.free_at.len() == self.count;
        let earliest = self.free_at.peek().filter(|_| full);
        earliest.map_or(at, |Reverse(free)| at.max(*free))
    }

    /// Returns when a request that comes now is taken up and when it is done.
    pub(crate) fn take(&mut self, at: i64, hold: i64) -> (i64, i64) {
        let full = self.free_at.len() == self.count;
        let free = if full { self.free_at.pop().map_or(at, |Reverse(free)| free) } else { at };
        let start = at.max(free);
        self.free_at.push(Reverse(start + hold));
        (start, start + hold)
    }
}

/// Returns an exchange of `GET /<destination>` from `started` to `ended` \[ns\].
pub(crate) fn exchange(
    exchange_id: u64,
    (source, destination): (&str, &str),
    started: i64,
    ended: i64,
) -> Exchange {
    Exchange {
        exchange_id,
        session_id: exchange_id,
        connection_id: exchange_id,
        trace_id: None,
        source: source.to_owned(),
        destination: destination.to_owned(),
        client: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        server: SocketAddr::from(([127, 0, 0, 1], 8_080)),
        protocol: Protocol::Http11,
        method: "GET".to_owned(),
        authority: destination.to_owned(),
        path: format!("/{destination}"),
        query: None,
        route: format!("GET /{destination}"),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        request_body: None,
        response_body: None,
        request_bytes: 0,
        response_bytes: 0,
        started_at: Timestamp(started),
        request_ended_at: Timestamp(started),
        response_started_at: Some(Timestamp(ended)),
        response_ended_at: Some(Timestamp(ended)),
        status: Some(200),
        completeness: Completeness::Complete,
    }
}

/// Returns a system of these services; the first is the entry, and has these further fields.
pub(crate) fn system(services: &[&str], fields: &str) -> System {
    let mut text = format!(
        "apiVersion: prophecy/v1\nkind: System\nname: test\nentry: {}\nservices:\n",
        services[0]
    );
    for (index, service) in services.iter().enumerate() {
        let fields = if index == 0 { fields } else { "" };
        text += &format!("  {service}: {{ url: \"http://127.0.0.1:1\"{fields} }}\n");
    }
    System::from_yaml(&text).unwrap()
}
