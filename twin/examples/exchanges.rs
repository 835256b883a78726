//! Writes a dataset of many exchanges: `cargo run --release -p prophecy-twin --example exchanges -- COUNT FOLDER`.
//!
//! Four services: `front`, with 24 workers and a queue, asks `cart` once and `stock` once or twice;
//! `stock` asks `db`. 200 requests per second; each exchange has headers, and half of the requests a
//! trace. `FOLDER.yaml` is the system's manifest.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use prophecy_anonymizer::{Key, Policy, Sanitizer};
use prophecy_core::{Completeness, Exchange, Header, Ledger, Philox, Protocol, Seed, Timestamp};
use prophecy_datasets::{DatasetOptions, DatasetWriter};

const SYSTEM: &str = "\
apiVersion: prophecy/v1
kind: System
name: many
entry: front
services:
  front: { url: \"http://127.0.0.1:1\" }
  cart: { url: \"http://127.0.0.1:1\" }
  stock: { url: \"http://127.0.0.1:1\" }
  db: { url: \"http://127.0.0.1:1\" }
";

const RATE_HZ: f64 = 200.0;
const WORKERS: usize = 24;
const MILLI: f64 = 1e6;

/// Requests that are being made up, and the exchanges that did not end before the newest of them.
struct Traffic {
    random: Philox,
    at: i64,
    free_at: BinaryHeap<Reverse<i64>>,
    ids: u64,
    /// Ordered by end, as a capture writes them.
    pending: BinaryHeap<Reverse<(i64, u64)>>,
    exchanges: Vec<Option<Exchange>>,
    first_pending: u64,
}

// === impl Traffic ===

impl Traffic {
    fn new() -> Self {
        Self {
            random: Seed(1).stream(0, 0, "exchanges"),
            at: 1_700_000_000_000_000_000,
            free_at: BinaryHeap::new(),
            ids: 0,
            pending: BinaryHeap::new(),
            exchanges: Vec::new(),
            first_pending: 0,
        }
    }

    fn hold(&mut self, median_ms: f64) -> i64 {
        (median_ms * MILLI * (0.5 * self.random.normal()).exp()) as i64 + 1
    }

    fn request(&mut self) {
        self.at += (self.random.exponential() * 1e9 / RATE_HZ) as i64 + 1;
        let full = self.free_at.len() == WORKERS;
        let free = if full { self.free_at.pop().map_or(0, |Reverse(at)| at) } else { 0 };
        let trace = self.random.next_u64();
        let trace = trace.is_multiple_of(2).then(|| u128::from(trace | 1).to_be_bytes());
        let arrived = self.at;
        let mut now = arrived.max(free) + self.hold(8.0);
        let item = self.random.below(5_000);
        let end = now + self.hold(6.0);
        self.exchange(["front", "cart"], format!("/cart/{item}"), [now, end], trace);
        now = end + self.hold(8.0);
        for _ in 0..=self.random.below(2) {
            let asked = now + self.hold(3.0);
            let answered = asked + self.hold(12.0);
            let end = answered + self.hold(3.0);
            self.exchange(["stock", "db"], format!("/rows/{item}"), [asked, answered], trace);
            self.exchange(["front", "stock"], format!("/stock/{item}"), [now, end], trace);
            now = end + self.hold(8.0);
        }
        self.free_at.push(Reverse(now));
        let path = ["/items", "/basket"][self.random.below(2)];
        self.exchange(["client", "front"], format!("{path}/{item}"), [arrived, now], trace);
    }

    fn exchange(
        &mut self,
        edge: [&str; 2],
        path: String,
        [started, ended]: [i64; 2],
        trace: Option<[u8; 16]>,
    ) {
        let id = self.ids;
        self.ids += 1;
        let failed = self.random.uniform() < 0.001;
        let header = |name: &str, value: &str| Header::new(name, value);
        self.exchanges.push(Some(Exchange {
            exchange_id: id,
            session_id: id % 4_096,
            connection_id: id % 4_096,
            trace_id: trace,
            source: edge[0].to_owned(),
            destination: edge[1].to_owned(),
            client: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            server: SocketAddr::from(([127, 0, 0, 1], 8_080)),
            protocol: Protocol::Http11,
            method: "GET".to_owned(),
            authority: format!("{}.internal", edge[1]),
            route: prophecy_core::route::route_of("GET", &path),
            path,
            query: None,
            request_headers: vec![
                header("host", edge[1]),
                header("accept", "application/json"),
                header("user-agent", "many/1.0"),
            ],
            response_headers: vec![
                header("content-type", "application/json"),
                header("content-length", "512"),
            ],
            request_body: None,
            response_body: None,
            request_bytes: 0,
            response_bytes: 512,
            started_at: Timestamp(started),
            request_ended_at: Timestamp(started + 20_000),
            response_started_at: Some(Timestamp(ended - 1)),
            response_ended_at: Some(Timestamp(ended)),
            status: Some(if failed { 500 } else { 200 }),
            completeness: Completeness::Complete,
        }));
        self.pending.push(Reverse((ended, id)));
    }

    /// Returns an exchange that ended before the newest request came.
    fn ended(&mut self) -> Option<Exchange> {
        let Reverse((end, id)) = *self.pending.peek()?;
        if end > self.at {
            return None;
        }
        self.pending.pop();
        let exchange = self.exchanges[(id - self.first_pending) as usize].take();
        // What was written at the front makes room, now and then.
        let done = self.exchanges.iter().take_while(|exchange| exchange.is_none()).count();
        if done > 4_096 {
            self.exchanges.drain(..done);
            self.first_pending += done as u64;
        }
        exchange
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, folder] = arguments.as_slice() else {
        return Err("usage: exchanges COUNT FOLDER".into());
    };
    let count: u64 = count.parse()?;
    let sanitizer = Sanitizer::new(
        Policy::named("synthetic").ok_or("the policy is built in")?,
        Key::from_bytes([1; 32]),
    );
    fs::write(format!("{folder}.yaml"), SYSTEM)?;
    let options = DatasetOptions {
        sources: vec!["made up".to_owned()],
        policy_name: sanitizer.policy().name().to_owned(),
        policy_digest: sanitizer.policy().digest(),
        key_id: sanitizer.key_id(),
        part_rows: 50_000,
    };
    let mut writer = DatasetWriter::create(Path::new(folder), options)?;
    let mut traffic = Traffic::new();
    let mut written = 0;
    while written < count {
        traffic.request();
        while let Some(exchange) = traffic.ended().filter(|_| written < count) {
            writer.exchange(sanitizer.exchange(exchange))?;
            written += 1;
        }
    }
    writer.finish(&Ledger::default())?;
    println!("wrote {written} exchanges to `{folder}`");
    Ok(())
}
