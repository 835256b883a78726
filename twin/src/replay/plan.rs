//! From captured exchanges to requests with deadlines.

use prophecy_core::{Completeness, Exchange, Header, Protocol, Seed};

/// A request to be sent at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRequest {
    /// The number of the captured exchange.
    pub exchange_id: u64,
    /// When to send it, from the start \[ns\].
    pub offset_nanos: u64,
    /// The session it belongs to.
    pub session: u64,
    /// The connection that it was captured on.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The request target: path and query.
    pub path_and_query: String,
    /// Headers, without those that concern one connection or the length.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// Headers that belong to one connection or are made anew (RFC 9110, section 7.6.1).
const NOT_REPLAYED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Plans the replay of the exchanges that clients made with `entry`, by time.
///
/// `speed` divides all offsets. Of every `share`, whole sessions are kept, chosen by `seed`, so that
/// a twin of one instance gets the load of one instance.
///
/// A request whose body was cut, or that asks for a tunnel, cannot be sent again and is left out;
/// the second number returned counts those.
///
/// # Panics
///
/// If `speed` is not positive.
pub fn plan(
    exchanges: &[Exchange],
    entry: &str,
    speed: f64,
    share: f64,
    seed: Seed,
) -> (Vec<PlannedRequest>, u64) {
    assert!(speed > 0.0, "a replay goes forward, not at {speed}");
    let at_entry = |exchange: &&Exchange| {
        exchange.destination == entry && exchange.completeness != Completeness::ResponseOnly
    };
    let chosen = |exchange: &&Exchange| {
        share >= 1.0 || seed.stream(0, exchange.session_id, "share").uniform() < share
    };
    let start = exchanges.iter().filter(at_entry).map(|exchange| exchange.started_at).min();
    let Some(start) = start else { return (Vec::new(), 0) };
    let mut left_out = 0;
    let mut planned = Vec::new();
    for exchange in exchanges.iter().filter(at_entry).filter(chosen) {
        let body = exchange.request_body.clone().unwrap_or_default();
        let cut = (body.len() as u64) < exchange.request_bytes;
        let http1 = matches!(exchange.protocol, Protocol::Http10 | Protocol::Http11);
        if cut
            || !http1
            || exchange.method == "CONNECT"
            || exchange.request_header("upgrade").is_some()
        {
            left_out += 1;
            continue;
        }
        let path_and_query = match &exchange.query {
            Some(query) => format!("{}?{query}", exchange.path),
            None => exchange.path.clone(),
        };
        let kept = |header: &&Header| !NOT_REPLAYED.contains(&header.name.as_str());
        planned.push(PlannedRequest {
            exchange_id: exchange.exchange_id,
            offset_nanos: (exchange.started_at.nanos_since(start) as f64 / speed) as u64,
            session: exchange.session_id,
            connection: exchange.connection_id,
            method: exchange.method.clone(),
            path_and_query,
            headers: exchange.request_headers.iter().filter(kept).cloned().collect(),
            body,
        });
    }
    planned.sort_by_key(|request| (request.offset_nanos, request.exchange_id));
    (planned, left_out)
}
